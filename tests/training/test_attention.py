"""The ranker `attention` trained end to end, on a tiny benchmark with drawn photos."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.benchmark.tiny import write_tiny
from tests.indexed import USER, ColourModel, index_photos, open_profiles, small_settings

from visuallens import registry
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.metrics import first_relevant_rank
from visuallens.cli.train.attention import command
from visuallens.config import Settings
from visuallens.errors import TrainingError
from visuallens.models.attention_folder import load_matcher
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.attention import AttentionRanker
from visuallens.training.attention import AttentionTask
from visuallens.training.loop import fit

SHORT = (
    "training.loop.steps=2",
    "training.loop.batch_size=4",
    "training.loop.accumulation=1",
    "training.loop.warmup_steps=0",
    "training.loop.tensorboard=false",
    "training.attention.folds=2",
    "training.attention.image_dims=8",
    "training.attention.text_dims=6",
    "training.attention.factors=4",
    "training.attention.width=8",
    "training.attention.heads=2",
)

Scores = Mapping[str, Mapping[str, float]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", examples=24, users=8)


@pytest.fixture(scope="module")
def library(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.sqlite"
    index_photos(path, tiny / "photos")
    return path


def task_of(
    tiny: Path, library: Path, *overrides: str, teacher: Scores | None = None
) -> tuple[AttentionTask, BenchmarkProfiles, Settings]:
    settings = small_settings(*SHORT, *overrides)
    profiles = open_profiles(tiny, library, settings)
    model = ColourModel()
    scores_of = None if teacher is None else teacher.__getitem__
    task = AttentionTask(profiles, model.sentences, settings, model.id, scores_of)
    return task, profiles, settings


def test_two_steps_and_what_was_saved_ranks_as_in_training(
    tiny: Path, library: Path, tmp_path: Path
) -> None:
    task, profiles, settings = task_of(tiny, library)
    fitted = fit(task, settings.training.loop, tmp_path, seed=1)
    assert fitted.steps == 2
    loaded = load_matcher(tmp_path / "model", ColourModel().id)
    ranker = AttentionRanker(profiles.resources(matcher=lambda: loaded))
    ranks = [
        first_relevant_rank(ranker.rank(example.request), example.ground_truth)
        for example in profiles.benchmark.examples("dev")
    ]
    assert np.mean([1 / rank for rank in ranks]) == pytest.approx(fitted.best)
    record = json.loads((tmp_path / "model" / "attention.json").read_text())
    assert record["config"]["trained_on"]["benchmark"] == "tiny"
    assert record["encoder"] == ColourModel().id


def test_the_head_learns_from_memories_that_do_not_know_the_user(tiny: Path, library: Path) -> None:
    task, _, _ = task_of(tiny, library)
    found = task._recollections
    chosen = found._maker._tastes.chosen
    for asked in task._train:
        fold = found.fold(asked, np.random.default_rng(0))
        others = [user for user, own in found._fold_of.items() if own != fold[0]]
        alone = chosen[asked.user_id].difference(*(chosen[user] for user in others))
        keys = found._maker.make(others).image_keys
        for row in alone:  # what only this user chose is no landmark
            assert not torch.isclose(keys, found._images[row]).all(dim=1).any()
        known = found._folds[fold].photos
        torch.testing.assert_close(known, found._maker.make(others).recall_photos(found._images))


def test_new_candidates_are_unknown_to_the_memory_of_their_loss(tiny: Path, library: Path) -> None:
    task, _, _ = task_of(tiny, library, "training.attention.new_candidates=true")
    found = task._recollections
    generator = np.random.default_rng(0)
    for asked in task._train:
        fold = found.fold(asked, generator)
        seen = found.batch([asked], [fold])
        counted = seen.mask[0].numpy()
        assert counted[asked.relevant[: len(counted)]].any()
        held_out = np.flatnonzero(found._half_of == fold[1]).tolist()
        assert set(asked.candidates[counted].tolist()) <= set(held_out)
        others = [user for user, own in found._fold_of.items() if own != fold[0]]
        memory = found._maker.make(others, held_out)
        torch.testing.assert_close(found._folds[fold].photos, memory.recall_photos(found._images))
        for candidate in held_out:
            for row in found._maker._tastes.shown[candidate]:
                key = found._images[int(row)]
                assert not torch.isclose(memory.image_keys, key).all(dim=1).any()
    assert task.losses([0, 1], seed=0).each.isfinite().all()


def test_the_ranker_scores_as_the_head_does_in_training(tiny: Path, library: Path) -> None:
    task, profiles, _ = task_of(tiny, library, "training.attention.attended_photos=3")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in task._head.parameters():  # trained weights, so that every input counts
            weight.copy_(torch.randn(weight.shape, generator=generator) / 3)
    task._head.eval()
    ranker = AttentionRanker(profiles.resources(matcher=lambda: task.matcher))
    for asked, example in zip(task._dev, task._dev_examples, strict=True):
        with torch.no_grad():
            scores = task._head(task._recollections.batch([asked], [None]))[0].tolist()
        ids = [candidate.id for candidate in example.request.candidates]
        ranking = ranker.rank(example.request)
        found = {one.candidate.id: one.score for one in ranking.candidates}
        assert found == pytest.approx(dict(zip(ids, scores, strict=True)), abs=1e-4)
        assert len({round(score, 3) for score in scores}) > len(scores) / 2


def test_without_history_no_photo_is_read(tiny: Path, library: Path) -> None:
    task, _, _ = task_of(tiny, library, "training.attention.history=false")
    assert all(not len(asked.photos) for asked in task._train)
    seen = task._recollections.batch(task._train[:2], [None, None])
    assert not seen.taste.any()
    assert not seen.photo_mask.any()
    assert task.losses([0, 1], seed=0).each.isfinite().all()


@pytest.mark.parametrize("form", ["sigmoid", "softmax", "listwise"])
def test_each_form_of_the_loss_has_gradients(tiny: Path, library: Path, form: str) -> None:
    task, _, _ = task_of(tiny, library, f"training.attention.form={form}")
    task.losses([0, 1, 2], seed=0).each.mean().backward()
    gradient = task.matcher.head.weights.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_losses_do_not_depend_on_the_batch(tiny: Path, library: Path) -> None:
    task, _, _ = task_of(tiny, library)
    together = task.losses([0, 1, 2], seed=3).each
    alone = torch.cat([task.losses([number], seed=3).each for number in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_teacher_is_followed(tiny: Path, library: Path) -> None:
    # The teacher scores by rating: distilled from it alone, ratings come to decide.
    scores = {
        example.request.id: {one.id: one.rating or 0.0 for one in example.request.candidates}
        for example in Benchmark(tiny).examples("train")
    }
    alone = ("training.attention.teacher_weight=1", "training.attention.layers=0")
    task, _, _ = task_of(tiny, library, *alone, teacher=scores)
    optimiser = torch.optim.Adam(task.model.parameters(), lr=0.02)
    found = []
    for _ in range(30):
        losses = task.losses(range(task.size), seed=0)
        optimiser.zero_grad()
        losses.each.mean().backward()
        optimiser.step()
        found.append(float(losses.parts["teacher"].mean().detach()))
    assert found[-1] < found[0] - 0.02


def test_a_teacher_that_did_not_rank_every_candidate_is_refused(tiny: Path, library: Path) -> None:
    scores: dict[str, dict[str, float]] = {
        example.request.id: {} for example in Benchmark(tiny).examples("train")
    }
    with pytest.raises(TrainingError, match="no score for"):
        task_of(tiny, library, teacher=scores)


def test_more_folds_than_users_are_refused(tiny: Path, library: Path) -> None:
    with pytest.raises(TrainingError, match="fewer than 40 folds"):
        task_of(tiny, library, "training.attention.folds=40")


def test_a_library_without_the_photos_is_refused(
    tiny: Path, tmp_path: Path, photo_folder: Path
) -> None:
    index_photos(tmp_path / "library.sqlite", photo_folder)
    with pytest.raises(TrainingError, match="visuallens index"):
        task_of(tiny, tmp_path / "library.sqlite")


def test_the_command_trains_and_goes_on(
    tiny: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.BUILT_IN["models"], "colours", "tests.indexed:ColourModel")
    sets = [
        part
        for one in (
            *SHORT,
            "index.model=colours",
            "retrieval.max_photos=4",
            "profile.grid_side=2",
        )
        for part in ("--set", one)
    ]
    place = ["--library", str(library), "--user", USER, "--out", str(tmp_path / "run"), *sets]
    found = CliRunner().invoke(command, [str(tiny), *place, "--json"], catch_exceptions=False)
    record = json.loads(found.output)
    assert record["steps"] == 2
    assert 0 < record["mrr"] <= 1
    assert load_matcher(Path(record["model"])).memory.landmarks == record["landmarks"]
    again = CliRunner().invoke(command, [str(tiny), *place], catch_exceptions=False)
    assert "--ranker attention --adapter" in again.output
