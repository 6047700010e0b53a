"""Joint training end to end, on a tiny benchmark with drawn photos and tiny backbones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
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
    open_tiny,
    open_trained,
    small_settings,
    write_nano,
)
from tests.models.backbones import tiny_causal

from visuallens import registry
from visuallens.benchmark.folder import Benchmark, FoundExample
from visuallens.cli.rank import command as rank
from visuallens.cli.train import command as train
from visuallens.errors import AdapterError, TrainingError
from visuallens.models.backbones.adapters import merge_adapter
from visuallens.models.backbones.local import LocalBackbone
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.visuallens import VisualLensRanker
from visuallens.training.joint import JointTask
from visuallens.training.loop import fit
from visuallens.training.requests import MatchingQuestion, RefinedWords
from visuallens.training.teacher import Teacher
from visuallens.types import Profile

SHORT = (
    "training.loop.steps=2",
    "training.loop.batch_size=2",
    "training.loop.accumulation=1",
    "training.loop.warmup_steps=0",
    "training.loop.tensorboard=false",
    "training.joint.dev_examples=3",
    "matching.max_tokens=600",
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
    return write_nano(tmp_path_factory.mktemp("weights") / "nano")


def task_of(
    tiny: Path,
    library: Path,
    weights: Path,
    *overrides: str,
    name: str = "nano",
    refined: RefinedWords | None = None,
    teacher: Teacher | None = None,
) -> tuple[JointTask, LocalBackbone]:
    settings = small_settings(*SHORT, *overrides)
    backbone = open_tiny(name, weights, settings)
    profiles = open_profiles(tiny, library, settings)
    return JointTask(backbone, profiles, settings, refined, teacher), backbone


def scores_of(
    backbone: LocalBackbone, profiles: BenchmarkProfiles, draw: Callable[[Profile], Profile]
) -> dict[str, float]:
    """Rank the first request of test."""
    ranker = VisualLensRanker(profiles.resources(lambda: backbone, draw))
    request = next(profiles.benchmark.requests("test"))
    return {ranked.candidate.id: ranked.score for ranked in ranker.rank(request).candidates}


def test_two_steps_and_the_saved_adapter_ranks_the_same(
    tiny: Path, library: Path, weights: Path, tmp_path: Path
) -> None:
    settings = small_settings(*SHORT)
    task, backbone = task_of(tiny, library, weights)
    fitted = fit(task, settings.training.loop, tmp_path, seed=1)
    assert fitted.steps == 2
    assert 0 < fitted.best <= 1
    record = json.loads((tmp_path / "model" / "visuallens.json").read_text())
    assert record["config"]["training"]["joint"]["match_weight"] == 2
    assert record["config"]["trained_on"]["benchmark"] == "tiny"
    again = open_trained(weights, settings, tmp_path / "model")
    assert again.is_matcher
    profiles = open_profiles(tiny, library, settings)
    draw = task._requests.draw
    here = scores_of(backbone, profiles, draw)
    assert scores_of(again, profiles, draw) == pytest.approx(here, abs=1e-5)


def test_four_examples_are_learned(tiny: Path, library: Path, weights: Path) -> None:
    text = ("matching.image=false", "matching.captions=false", "matching.max_tokens=256")
    task, _ = task_of(tiny, library, weights, *text)
    trained = [weight for weight in task.model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    seen = []
    for _ in range(25):
        # One seed: one order of the candidates and one photo of each example.
        losses = task.losses([0, 1, 2, 3], seed=5)
        seen.append({name: float(part.detach().mean()) for name, part in losses.parts.items()})
        losses.each.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    assert seen[-1]["matching"] < seen[0]["matching"] / 3
    assert seen[-1]["aspects"] < seen[0]["aspects"] / 3


def test_a_teacher_is_followed_whatever_the_order(tiny: Path, library: Path, weights: Path) -> None:
    scores = {
        example.request.id: {one.id: one.rating or 0.0 for one in example.request.candidates}
        for example in Benchmark(tiny).examples("train")
    }
    text = ("matching.image=false", "matching.captions=false", "matching.max_tokens=256")
    alone = ("training.joint.teacher_weight=1", "training.joint.labels=names")
    task, _ = task_of(tiny, library, weights, *text, *alone, teacher=scores.__getitem__)
    found = task._requests.take([0])[0]
    asked = task._requests.question(found, np.random.default_rng(3))
    rating = {one.name: one.rating or 0.0 for one in found.prompts.candidates}
    by_rating = np.array([rating[name] for name in asked.names])
    np.testing.assert_allclose(
        asked.taught, (by_rating - by_rating.mean()) / by_rating.std(), atol=1e-5
    )
    trained = [weight for weight in task.model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    seen = []
    for step in range(12):
        losses = task.losses([0, 1], seed=step)
        assert set(losses.parts) == {"aspects", "matching", "teacher"}
        seen.append(float(losses.parts["teacher"].mean().detach()))
        losses.each.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    assert seen[-1] < seen[0] - 0.02


def test_a_teacher_that_did_not_rank_an_example_is_refused(
    tiny: Path, library: Path, weights: Path
) -> None:
    task, _ = task_of(tiny, library, weights, teacher=lambda _: {})
    with pytest.raises(TrainingError, match="no score for"):
        task.losses([0], seed=0)


def test_the_losses_of_an_example_are_its_own(tiny: Path, library: Path, weights: Path) -> None:
    task, _ = task_of(tiny, library, weights)
    task.model.eval()
    with torch.no_grad():
        together = task.losses([2, 0, 3], seed=9)
        for row, number in enumerate([2, 0, 3]):
            alone = task.losses([number], seed=9)
            torch.testing.assert_close(alone.each[0], together.each[row], atol=1e-4, rtol=1e-4)
            for name, part in alone.parts.items():
                torch.testing.assert_close(part[0], together.parts[name][row], atol=1e-4, rtol=1e-4)
        other = task.losses([2], seed=10)
    assert float(other.each[0]) != pytest.approx(float(together.each[0]), abs=1e-6)


def test_the_joint_loss_is_the_sum(tiny: Path, library: Path, weights: Path) -> None:
    task, _ = task_of(tiny, library, weights)
    task.model.eval()
    with torch.no_grad():
        losses = task.losses([0, 1], seed=3)
        torch.testing.assert_close(
            losses.each, losses.parts["aspects"] + 2 * losses.parts["matching"]
        )
        assert bool((losses.parts["aspects"] > 0).all())


def test_without_joint_training_matching_is_alone(tiny: Path, library: Path, weights: Path) -> None:
    task, _ = task_of(tiny, library, weights, "training.joint.joint=false")
    losses = task.losses([0], seed=3)
    assert set(losses.parts) == {"matching"}
    torch.testing.assert_close(losses.each, losses.parts["matching"])


def test_the_logits_are_those_of_the_ranker(tiny: Path, library: Path, weights: Path) -> None:
    # The softmax over the labels of a prompt is the same, whether it comes from logits or from
    # log-probabilities over the vocabulary.
    task, backbone = task_of(tiny, library, weights)
    task.model.eval()
    made = task._requests.take([0, 1])
    prompts = [one.prompts.write(range(5)) for one in made]
    images = [one.prompts.image for one in made]
    assert backbone.trained_labels is not None
    logs = backbone.score_labels(images, prompts, backbone.trained_labels.cut(5))
    questions = [
        MatchingQuestion(image, prompt, one.relevant[:5])
        for image, prompt, one in zip(images, prompts, made, strict=True)
    ]
    with torch.no_grad():
        logits = task._label_logits(questions)
    lifts = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    np.testing.assert_allclose(logits.log_softmax(-1).numpy(), lifts, atol=1e-4)


def test_names_are_learned_and_the_saved_adapter_ranks_the_same(
    tiny: Path, library: Path, weights: Path, tmp_path: Path
) -> None:
    names = ("training.joint.labels=names", "training.joint.form=listwise")
    settings = small_settings(*SHORT, *names)
    task, backbone = task_of(tiny, library, weights, *names)
    trained = [weight for weight in task.model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    seen = []
    for _ in range(12):
        losses = task.losses([0, 1], seed=5)
        seen.append(float(losses.parts["matching"].detach().mean()))
        losses.each.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    assert seen[-1] < seen[0] - 1
    task.save(tmp_path / "model")
    task.model.eval()
    draw, profiles = task._requests.draw, open_profiles(tiny, library, settings)
    here = scores_of(backbone, profiles, draw)
    again = open_trained(weights, settings, tmp_path / "model")
    assert scores_of(again, profiles, draw) == pytest.approx(here, abs=1e-5)
    with pytest.raises(AdapterError, match="scored against the base model"):
        merge_adapter(again, tmp_path / "merged")


def test_the_logits_of_names_are_those_of_the_ranker(
    tiny: Path, library: Path, weights: Path
) -> None:
    task, backbone = task_of(tiny, library, weights, "training.joint.labels=names")
    with torch.no_grad():  # else the adapter changes nothing yet
        for name, weight in task.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    task.model.eval()
    (made,) = task._requests.take([0])
    question = task._requests.question(made, np.random.default_rng(0))
    with torch.no_grad():
        logits = task._match_logits([question])[0]
    resources = open_profiles(tiny, library, task._settings).resources(
        lambda: backbone, task._requests.draw
    )
    (found,) = task._profiles.benchmark.some("train", [0])
    ranking = VisualLensRanker(resources).rank(found.example.request)
    scores = {one.candidate.name: one.score for one in ranking.candidates}
    lifts = logits.log_softmax(-1) + np.log(len(scores))
    assert np.ptp(lifts.numpy()) > 1e-3
    expected = dict(zip(question.names, lifts.tolist(), strict=True))
    assert scores == pytest.approx(expected, abs=1e-4)


def test_an_example_without_words_has_no_aspect_loss(
    tiny: Path, library: Path, weights: Path
) -> None:
    task, _ = task_of(tiny, library, weights, refined={})
    losses = task.losses([0, 1], seed=3)
    assert losses.parts["aspects"].tolist() == [0, 0]
    torch.testing.assert_close(losses.each, 2 * losses.parts["matching"])


def test_a_text_only_backbone_learns_matching_alone(
    tiny: Path, library: Path, tmp_path: Path
) -> None:
    tiny_causal.write(tmp_path / "causal")
    task, _ = task_of(tiny, library, tmp_path / "causal", name="causal")
    losses = task.losses([0, 1], seed=3)
    assert set(losses.parts) == {"matching"}
    assert 0 < task.evaluate()["score"] <= 1


@pytest.mark.parametrize("form", ["sigmoid", "softmax", "listwise"])
@pytest.mark.parametrize("labels", ["new", "names"])
def test_every_form_of_the_loss_reaches_every_kind_of_trained_weight(
    tiny: Path, library: Path, weights: Path, form: str, labels: str
) -> None:
    how = (f"training.joint.form={form}", f"training.joint.labels={labels}")
    task, _ = task_of(tiny, library, weights, *how)
    task.losses([0, 1], seed=3).each.mean().backward()
    moved = [
        name
        for name, weight in task.model.named_parameters()
        if weight.grad is not None and float(weight.grad.abs().max()) > 0
    ]
    for kind in ("lora_B", "projector", *(["trainable_tokens"] if labels == "new" else [])):
        assert any(kind in name for name in moved)


def test_dev_is_measured_and_test_never_read(
    tiny: Path, library: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    some = Benchmark.some

    def noted(self: Benchmark, split: str, rows: Iterable[int]) -> Iterator[FoundExample]:
        read.append(split)
        return some(self, split, rows)

    monkeypatch.setattr(Benchmark, "some", noted)
    task, _ = task_of(tiny, library, weights)
    task.losses([0], seed=1)
    metrics = task.evaluate()
    assert metrics["score"] == metrics["mrr"] > 0
    assert set(metrics) == {"score", "mrr", "hit@1", "hit@3", "hit@10"}
    assert task.evaluate() == metrics
    assert set(read) == {"train", "dev"}


def test_a_split_without_examples_is_refused(library: Path, weights: Path, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "one", examples=1, users=3, photos=False)
    with pytest.raises(TrainingError, match="the dev split of tiny has no examples"):
        task_of(folder, library, weights)


def test_a_library_without_the_photos_is_refused_with_the_way_out(
    tiny: Path, weights: Path, photo_folder: Path, tmp_path: Path
) -> None:
    index_photos(tmp_path / "library.sqlite", photo_folder)
    with pytest.raises(TrainingError, match="no photo of tiny is indexed") as refused:
        task_of(tiny, tmp_path / "library.sqlite", weights)
    assert f"visuallens index {Benchmark(tiny).photos_folder} --library" in str(refused.value)


def test_a_label_outside_the_vocabulary_is_refused(
    tiny: Path, library: Path, weights: Path
) -> None:
    settings = small_settings(*SHORT)
    backbone = open_tiny("nano", weights, settings)
    labels = backbone.trained_labels
    assert labels is not None
    backbone.trained_labels = replace(labels, token_ids=(*labels.token_ids[:-1], 10**6))
    profiles = open_profiles(tiny, library, settings)
    with pytest.raises(TrainingError, match="the label <I100> is outside its vocabulary"):
        JointTask(backbone, profiles, settings)


def test_an_adapter_with_other_labels_is_refused(tiny: Path, library: Path, weights: Path) -> None:
    settings = small_settings(*SHORT)
    backbone = open_tiny("nano", weights, settings)
    other = small_settings(*SHORT, "training.joint.labels=letters")
    profiles = open_profiles(tiny, library, other)
    with pytest.raises(TrainingError, match=r"--set training\.joint\.labels=new"):
        JointTask(backbone, profiles, other)


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the colour model."""
    monkeypatch.setattr(
        registry,
        "load",
        lambda kind, name, load=registry.load: (
            ColourModel if name == "colours" else load(kind, name)
        ),
    )


@pytest.mark.usefixtures("colours")
def test_the_command_trains_goes_on_and_says_what_is_wrong(
    tiny: Path, library: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    settings = [*SMALL, *SHORT, f"backbone.model={weights}", "backbone.name=nano"]
    command = ["joint", str(tiny), "--library", str(library), "--user", USER]
    command += ["--out", str(out), "--json", *(f"--set={one}" for one in settings)]
    done = CliRunner().invoke(train, command, catch_exceptions=False)
    record = json.loads(done.stdout)
    assert record["adapter"] == str(out / "model")
    assert (record["steps"], record["examples"]) == (2, Benchmark(tiny).count("train"))
    assert record["vanished_photos"] == 0
    assert (out / "model" / "adapter_model.safetensors").is_file()
    assert (out / "settings.json").is_file()
    again = CliRunner().invoke(train, command, catch_exceptions=False)
    assert json.loads(again.stdout) == record
    monkeypatch.setattr("visuallens.training.hardware.is_main_process", lambda: False)
    assert CliRunner().invoke(train, command, catch_exceptions=False).stdout == ""
    other = CliRunner().invoke(train, [*command, "--set=training.joint.joint=false"])
    assert isinstance(other.exception, TrainingError)
    assert "training.joint.joint" in str(other.exception)


@pytest.mark.usefixtures("colours")
def test_the_command_learns_refined_words_and_keeps_to_its_data(
    tiny: Path, library: Path, weights: Path, tmp_path: Path
) -> None:
    settings = [*SMALL, *SHORT, f"backbone.model={weights}", "backbone.name=nano"]
    settings.append("training.aspects.selector=statistical")
    shared = [str(tiny), "--library", str(library), "--user", USER, "--json"]
    shared += [f"--set={one}" for one in settings]
    refined = tmp_path / "refined"
    invoke = CliRunner().invoke
    invoke(train, ["aspects", *shared, "--out", str(refined)], catch_exceptions=False)
    joint = ["joint", *shared, "--out", str(tmp_path / "run")]
    done = invoke(train, [*joint, "--aspects", str(refined)], catch_exceptions=False)
    assert json.loads(done.stdout)["steps"] == 2
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    assert data["checksum"] == Benchmark(tiny).about["checksum"]
    assert len(data["aspects"]) == 64
    without = invoke(train, joint)
    assert isinstance(without.exception, TrainingError)
    assert "a run on other data" in str(without.exception)


@pytest.mark.usefixtures("colours")
def test_the_command_is_taught_by_a_control_and_keeps_to_it(
    tiny: Path, library: Path, weights: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "ease.run"
    ranking = ["--control", "ease", "--split", "train", "--out", str(teacher)]
    CliRunner().invoke(rank, [str(tiny), *ranking], catch_exceptions=False)
    settings = [*SMALL, *SHORT, f"backbone.model={weights}", "backbone.name=nano"]
    settings.append("training.joint.teacher_taste=1")
    joint = ["joint", str(tiny), "--library", str(library), "--user", USER, "--json"]
    joint += [f"--set={one}" for one in settings]
    joint += ["--out", str(tmp_path / "run"), "--teacher", str(teacher)]
    done = CliRunner().invoke(train, joint, catch_exceptions=False)
    assert json.loads(done.stdout)["steps"] == 2
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [one for one in map(json.loads, lines) if one["kind"] == "step"]
    assert all(one["teacher"] > 0 for one in steps)
    for made in tmp_path.glob("ease.run*"):
        made.unlink()
    popular = [str(tiny), "--control", "popularity", *ranking[2:]]
    CliRunner().invoke(rank, popular, catch_exceptions=False)
    other = CliRunner().invoke(train, joint)
    assert isinstance(other.exception, TrainingError)
    assert "a run on other data" in str(other.exception)
