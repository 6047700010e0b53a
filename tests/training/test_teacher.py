"""Runs that teach: what is looked up, and what is said to one user alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark.folder import Benchmark
from visuallens.errors import RunFileError
from visuallens.training.teacher import digest_of, open_teacher, taught_scores

Scores = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", examples=15, users=5)
    return Benchmark(folder)


def write(path: Path, scores: Scores) -> Path:
    lines = []
    for example_id, own in scores.items():
        best_first = sorted(own.items(), key=lambda one: -one[1])
        for rank, (candidate_id, score) in enumerate(best_first, 1):
            lines.append(f"{example_id} Q0 {candidate_id} {rank} {score!r} teacher\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def scores_of(benchmark: Benchmark, seed: int) -> Scores:
    generator = np.random.default_rng(seed)
    return {
        one.request.id: {each.id: float(generator.normal()) for each in one.request.candidates}
        for one in benchmark.examples("train")
    }


def test_scores_of_any_scale_are_standardised(benchmark: Benchmark, tmp_path: Path) -> None:
    scores = scores_of(benchmark, 0)
    example_id, own = next(iter(scores.items()))
    larger = scores | {example_id: {one: 100 + 7 * score for one, score in own.items()}}
    some = open_teacher(write(tmp_path / "a.run", scores), benchmark)
    other = open_teacher(write(tmp_path / "b.run", larger), benchmark)
    assert some is not None
    assert other is not None
    ids = [*own][::-1]
    taught = taught_scores(some, example_id, ids)
    np.testing.assert_allclose(taught, taught_scores(other, example_id, ids), atol=1e-5)
    assert (taught.mean(), taught.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(1, 1e-5))


def test_what_is_ruled_out_is_the_last_and_no_more() -> None:
    scores = {"a": -np.inf, "b": 1.0, "c": 3.0}
    np.testing.assert_allclose(
        taught_scores(lambda _: scores, "x", ["a", "b", "c"]), [-1.069, -0.267, 1.336], atol=1e-3
    )


def test_taste_strengthens_what_is_not_said_to_all(benchmark: Benchmark, tmp_path: Path) -> None:
    scores = scores_of(benchmark, 1)
    plain = open_teacher(write(tmp_path / "a.run", scores), benchmark)
    strengthened = open_teacher(tmp_path / "a.run", benchmark, 3.0)
    assert plain is not None
    assert strengthened is not None
    said: dict[str, list[float]] = {}
    for example_id, own in scores.items():
        for one, score in zip(own, taught_scores(plain, example_id, [*own]), strict=True):
            said.setdefault(one, []).append(float(score))
    assert max(map(len, said.values())) > 1
    for example_id, own in scores.items():
        to_one = taught_scores(plain, example_id, [*own])
        expected = to_one + 3 * (to_one - [np.mean(said[one]) for one in own])
        expected = (expected - expected.mean()) / expected.std()
        found = taught_scores(strengthened, example_id, [*own])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_no_run_teaches_nothing(benchmark: Benchmark) -> None:
    assert open_teacher(None, benchmark) is None
    assert digest_of(None) == {}


def test_a_run_of_other_examples_is_refused(benchmark: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(RunFileError):
        open_teacher(write(tmp_path / "a.run", {"stranger": {"a": 1.0}}), benchmark)
