"""UniMP trained end to end, on a tiny benchmark with drawn photos and tiny language models."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tests.benchmark.tiny import write_tiny
from tests.indexed import (
    SMALL,
    USER,
    ColourModel,
    index_photos,
    open_profiles,
    small_settings,
)
from tests.models.backbones import tiny_causal

from visuallens import registry
from visuallens.benchmark.folder import Benchmark
from visuallens.cli.train.unimp import command
from visuallens.config import BackboneSettings, Settings
from visuallens.errors import BackboneError, RequestError, TrainingError
from visuallens.models.unimp import UniMP
from visuallens.models.unimp_folder import unimp
from visuallens.models.unimp_layers import GatedCrossAttention
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.unimp import UniMPRanker
from visuallens.training.loop import fit
from visuallens.training.unimp import UniMPTask, focal_loss, open_untrained
from visuallens.types import Ranking, RankingRequest

SHORT = (
    "training.loop.steps=2",
    "training.loop.batch_size=2",
    "training.loop.accumulation=1",
    "training.loop.warmup_steps=0",
    "training.loop.tensorboard=false",
    "training.unimp.dev_examples=3",
    "training.unimp.every=1",
    "training.unimp.heads=2",
    "training.unimp.head_dim=8",
    "matching.max_tokens=300",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", examples=15, users=5)


@pytest.fixture(scope="module")
def library(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.sqlite"
    index_photos(path, tiny / "photos")
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "causal"
    tiny_causal.write(folder)
    return folder


def settings_of(weights: Path, *overrides: str) -> Settings:
    own = (f"backbone.model={weights}", f"backbone.name={weights.name}", "backbone.device=cpu")
    return small_settings(*SHORT, *own, *overrides)


def task_of(
    tiny: Path, library: Path, weights: Path, *overrides: str
) -> tuple[UniMPTask, UniMP, BenchmarkProfiles]:
    settings = settings_of(weights, *overrides)
    profiles = open_profiles(tiny, library, settings)
    request = next(profiles.benchmark.requests("dev"))
    dim = profiles.profile(request).embeddings.shape[1]
    model = open_untrained(settings, photo_dim=dim, encoder=ColourModel().id)
    return UniMPTask(model, profiles, settings), model, profiles


def ranked(model: UniMP, profiles: BenchmarkProfiles, request: RankingRequest) -> Ranking:
    return UniMPRanker(profiles.resources(lambda: model)).rank(request)


def attentions(model: UniMP) -> list[GatedCrossAttention]:
    return [block for block in model.network.blocks if isinstance(block, GatedCrossAttention)]


def by_id(ranking: Ranking) -> dict[str, float]:
    return {ranked.candidate.id: ranked.score for ranked in ranking.candidates}


def test_the_focal_loss_is_what_it_is_by_hand() -> None:
    # Probabilities 1/2, 1/4, 1/4. One label true: (1 - 1/2)^2 * -ln 1/2 = 1/4 ln 2.
    # Two labels true: the mean of that and (1 - 1/4)^2 * -ln 1/4 = 9/16 * 2 ln 2.
    logits = torch.log(torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]]))
    relevant = torch.tensor([[True, False, False], [True, True, False]])
    one, two = focal_loss(logits, relevant, 2.0).tolist()
    assert one == pytest.approx(math.log(2) / 4)
    assert two == pytest.approx((1 / 4 + 9 / 8) * math.log(2) / 2)
    # Without the weight it is cross-entropy.
    assert focal_loss(logits, relevant, 0.0).tolist() == pytest.approx(
        [math.log(2), 1.5 * math.log(2)]
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_focal_loss_of_a_certain_answer_has_a_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([[True, False]]), gamma).sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_the_focal_weight_is_part_of_the_gradient() -> None:
    # d/dx of (1 - p)^2 * -ln p for p = sigmoid(x) = 1/2: (2 (1-p) ln p * p - (1-p)^2) (1-p)
    # = (1/2 ln 1/2 - 1/4) / 2.
    logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([[True, False]]), 2.0).sum().backward()
    assert logits.grad is not None
    assert float(logits.grad[0, 0]) == pytest.approx((math.log(0.5) / 2 - 1 / 4) / 2)


def test_two_steps_and_what_was_saved_ranks_the_same(
    tiny: Path, library: Path, weights: Path, tmp_path: Path
) -> None:
    task, model, profiles = task_of(tiny, library, weights)
    fitted = fit(task, settings_of(weights).training.loop, tmp_path, seed=1)
    assert fitted.steps == 2
    assert 0 < fitted.best <= 1
    record = json.loads((tmp_path / "model" / "unimp.json").read_text())
    assert record["config"]["training"]["unimp"]["gamma"] == 2
    assert record["config"]["trained_on"]["benchmark"] == "tiny"
    assert record["encoder"] == ColourModel().id
    again = unimp(BackboneSettings(name="unimp", adapter=tmp_path / "model", device="cpu"))
    request = next(profiles.benchmark.requests("test"))
    one, two = (ranked(some, profiles, request) for some in (model, again))
    assert one.ranker == "unimp"
    assert len(one.candidates) == len(request.candidates)
    assert by_id(one) == pytest.approx(by_id(two), abs=1e-5)
    assert any("not known to be trained" in note for note in one.notes)
    assert not any("not known to be trained" in note for note in two.notes)


def test_two_examples_are_learned(tiny: Path, library: Path, weights: Path) -> None:
    task, model, _ = task_of(tiny, library, weights)
    trained = [weight for weight in task.model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=2e-2)
    seen = []
    for _ in range(20):
        # One seed: one order of the candidates of each example.
        losses = task.losses([0, 1], seed=5)
        seen.append(float(losses.each.detach().mean()))
        losses.each.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    # Several ground truths share the probability, so the loss has a floor above zero.
    assert seen[-1] < seen[0] / 3
    assert all(float(block.gate.detach().abs()) > 0.01 for block in attentions(model))


def test_the_losses_of_an_example_are_its_own(tiny: Path, library: Path, weights: Path) -> None:
    task, model, _ = task_of(tiny, library, weights)
    with torch.no_grad():
        for block in attentions(model):
            block.gate.fill_(1.0)
        together = task.losses([2, 0, 3], seed=9)
        for row, number in enumerate([2, 0, 3]):
            alone = task.losses([number], seed=9)
            torch.testing.assert_close(alone.each[0], together.each[row], atol=1e-4, rtol=1e-4)
        other = task.losses([2], seed=10)
    assert float(other.each[0]) != pytest.approx(float(together.each[0]), abs=1e-6)
    assert bool((together.parts["matching"] > together.each).all())


def test_the_history_is_in_the_photos_alone(tiny: Path, library: Path, weights: Path) -> None:
    task, model, _ = task_of(tiny, library, weights)
    (asked,) = task._take([0])
    prompt = asked.request.prompts.write(range(3))
    assert "<I1>" in prompt
    assert "<I3>" in prompt
    assert "Aspect words:" not in prompt
    assert "Captions:" not in prompt
    assert asked.photos.shape == (4, model.shape.photo_dim)


def test_other_photos_give_another_ranking_once_the_gates_are_open(
    tiny: Path, library: Path, weights: Path
) -> None:
    _, model, profiles = task_of(tiny, library, weights)
    with torch.no_grad():
        for block in attentions(model):
            block.gate.fill_(2.0)
    one = next(profiles.benchmark.requests("test"))
    other = next(profiles.benchmark.requests("dev"))
    swapped = replace(one, history=other.history)
    assert by_id(ranked(model, profiles, one)) != pytest.approx(
        by_id(ranked(model, profiles, swapped)), abs=1e-4
    )
    nothing = replace(one, history=replace(one.history, photos=()))
    assert len(ranked(model, profiles, nothing).candidates) == len(one.candidates)


def test_more_candidates_than_labels_are_ranked_in_windows(
    tiny: Path, library: Path, weights: Path
) -> None:
    _, model, profiles = task_of(tiny, library, weights, "training.unimp.labels=letters")
    first = next(profiles.benchmark.requests("test"))
    many = tuple(
        replace(first.candidates[at % len(first.candidates)], id=f"c{at}") for at in range(60)
    )
    ranking = ranked(model, profiles, replace(first, candidates=many))
    assert {one.candidate.id for one in ranking.candidates} == {one.id for one in many}
    assert ranking.counts["prompts"] > 1


def test_evaluation_is_the_same_twice_and_leaves_the_mode(
    tiny: Path, library: Path, weights: Path
) -> None:
    task, _, _ = task_of(tiny, library, weights)
    task.model.train()
    metrics = task.evaluate()
    assert task.model.training
    assert metrics["score"] == metrics["mrr"] > 0
    assert task.evaluate() == metrics


def test_the_ranker_refuses_what_does_not_fit(tiny: Path, library: Path, weights: Path) -> None:
    _, model, profiles = task_of(tiny, library, weights)
    request = next(profiles.benchmark.requests("test"))
    with pytest.raises(RequestError, match="--backbone unimp"):
        UniMPRanker(profiles.resources()).rank(request)
    with pytest.raises(RequestError, match="--backbone unimp"):
        UniMPRanker(profiles.resources(lambda: model.language)).rank(request)
    with pytest.raises(BackboneError, match="photos that eyes@2 embedded"):
        ranked(replace(model, encoder="eyes@2"), profiles, request)
    with pytest.raises(RequestError, match="no candidates"):
        ranked(model, profiles, replace(request, candidates=()))


def test_lora_and_its_size_come_from_the_settings(tiny: Path, library: Path, weights: Path) -> None:
    task, model, _ = task_of(tiny, library, weights, "training.unimp.lora=true")
    assert model.shape.lora is not None
    assert model.shape.lora.rank == 4
    assert any("lora_" in name for name, one in task.model.named_parameters() if one.requires_grad)


def test_an_adapter_or_a_model_elsewhere_is_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError, match=r"Leave backbone\.adapter out"):
        open_untrained(
            settings_of(weights, f"backbone.adapter={tmp_path}"), photo_dim=3, encoder="eyes@1"
        )
    monkeypatch.setitem(
        registry.BUILT_IN["backbones"], "elsewhere", "tests.models.toy_backbone:ToyBackbone"
    )
    elsewhere = small_settings("backbone.name=elsewhere")
    with pytest.raises(TrainingError, match="--backbone nano or causal"):
        open_untrained(elsewhere, photo_dim=3, encoder="eyes@1")


def test_empty_splits_and_foreign_libraries_are_refused(
    tiny: Path, library: Path, weights: Path, photo_folder: Path, tmp_path: Path
) -> None:
    one = write_tiny(tmp_path / "one", examples=1, users=3, photos=False)
    settings = settings_of(weights)
    model = open_untrained(settings, photo_dim=192, encoder="eyes@1")
    with pytest.raises(TrainingError, match="the dev split of tiny has no examples"):
        UniMPTask(model, open_profiles(one, library, settings), settings)
    index_photos(tmp_path / "library.sqlite", photo_folder)
    foreign = open_profiles(tiny, tmp_path / "library.sqlite", settings)
    with pytest.raises(TrainingError, match="no photo of tiny is indexed"):
        UniMPTask(model, foreign, settings)


def test_the_command_trains_and_goes_on(
    tiny: Path, library: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = registry.load
    monkeypatch.setattr(
        registry,
        "load",
        lambda kind, name: ColourModel if name == "colours" else load(kind, name),
    )
    out = tmp_path / "run"
    settings = [*SMALL, *SHORT, f"backbone.model={weights}"]
    asked = [str(tiny), "--library", str(library), "--user", USER, "--backbone", "causal"]
    asked += ["--out", str(out), *(f"--set={one}" for one in settings)]
    done = CliRunner().invoke(command, [*asked, "--json"], catch_exceptions=False)
    record = json.loads(done.stdout)
    assert (record["steps"], record["examples"]) == (2, Benchmark(tiny).count("train"))
    assert record["parameters"]["trained"] > 0
    assert record["adapter"] == str(out / "model")
    assert (out / "model" / "unimp.safetensors").is_file()
    assert (out / "settings.json").is_file()
    again = CliRunner().invoke(command, [*asked, "--json"], catch_exceptions=False)
    # Nothing is left to do, so nothing had to be shortened.
    assert json.loads(again.stdout) == {**record, "shortened_requests": 0}
    text = CliRunner().invoke(command, asked, catch_exceptions=False).stdout
    assert "--ranker unimp --backbone unimp --adapter" in text
    other = CliRunner().invoke(command, [*asked, "--set=training.unimp.gamma=1"])
    assert isinstance(other.exception, TrainingError)
    assert "training.unimp.gamma" in str(other.exception)
