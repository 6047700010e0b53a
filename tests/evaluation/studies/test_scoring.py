from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark.folder import Benchmark
from visuallens.config import load_settings
from visuallens.evaluation.controls import ControlSettings, Popularity
from visuallens.evaluation.evaluate import Drawing
from visuallens.evaluation.runs import Asked, write_run
from visuallens.evaluation.studies.plan import Cell, Step
from visuallens.evaluation.studies.results import Row, Value
from visuallens.evaluation.studies.scoring import AGAINST, QUESTIONS, Line, fill
from visuallens.evaluation.studies.tables import verdict
from visuallens.rankers.base import Ranker
from visuallens.rankers.baselines import RandomRanker, RatingRanker

DRAWING = Drawing(200, 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("scoring") / "tiny", photos=False)


def cell(tiny: Path, folder: Path, name: str, ranker: Ranker, sample: int | None = None) -> Cell:
    run = folder / f"{name}.run"
    write_run(ranker, Benchmark(tiny), run, Asked("train", load_settings(), sample))
    asked = ("--examples", str(sample)) if sample else ()
    return Cell(tiny, run, (Step(("rank", *asked), run),))


def test_differences_are_the_method_minus_the_row(tiny: Path, tmp_path: Path) -> None:
    popular = Popularity(Benchmark(tiny), ControlSettings())
    cells = [
        cell(tiny, tmp_path, "method", popular),
        cell(tiny, tmp_path, "random", RandomRanker()),
        cell(tiny, tmp_path, "rating", RatingRanker()),
        cell(tiny, tmp_path, "sampled", RatingRanker(), 5),
    ]
    rows = fill([Line(Row(one.run.stem), one) for one in cells], cells[0], DRAWING)
    method, *others, sampled = rows
    assert AGAINST not in method.values
    for row in others:
        against = row.values[AGAINST]
        mrrs = [one.values["mrr"].value for one in (method, row)]
        assert against.value == pytest.approx(mrrs[0] - mrrs[1])
        assert against.interval is not None
        assert against.interval[0] <= against.value <= against.interval[1]
    assert sampled.values[QUESTIONS].value == 5
    assert method.values[QUESTIONS].value == Benchmark(tiny).count("train")


def test_p_values_are_corrected_over_the_table(tiny: Path, tmp_path: Path) -> None:
    method = cell(tiny, tmp_path, "method", RandomRanker())
    other = cell(tiny, tmp_path, "rating", RatingRanker())
    (alone,) = fill([Line(Row("rating"), other)], method, DRAWING)
    twice = fill([Line(Row("rating"), other), Line(Row("again"), other)], method, DRAWING)
    (one, *_) = (row.values[AGAINST].p_value for row in twice)
    raw = alone.values[AGAINST].p_value
    assert raw is not None
    assert one == pytest.approx(min(1, 2 * raw))


def test_who_answers_other_questions_than_the_method_costs_no_table(
    tiny: Path, tmp_path: Path
) -> None:
    runs, answered = [], []
    for seed in (0, 1):
        runs.append(tmp_path / f"{seed}.run")
        settings = load_settings(None, [f"seed={seed}"])
        write_run(RatingRanker(), Benchmark(tiny), runs[-1], Asked("train", settings, 1))
        answered.append(runs[-1].read_text().split()[0])
    assert answered[0] != answered[1]
    person, method = (Cell(tiny, run, ()) for run in runs)
    (row,) = fill([Line(Row("a person"), person)], method, DRAWING)
    assert row.missing is not None
    assert "answered by all" in row.missing


def test_the_sentence_below_a_table_goes_by_corrected_p_values() -> None:
    def row(label: str, value: float, p: float) -> Row:
        return Row(label, values={AGAINST: Value(value, (value - 0.1, value + 0.1), p_value=p)})

    rows = [row("a", 0.2, 0.01), row("b", -0.2, 0.04), row("c", 0.2, 0.2), Row("d")]
    assert verdict(rows, "Ours") == (
        "In MRR, at p < 0.05 corrected: Ours is above a. Ours is below b. "
        "Ours cannot be told from c."
    )
    assert verdict([Row("d")], "Ours") == ""
