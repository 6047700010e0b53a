from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import read_lists
from visuallens.benchmark.run_file import align, manifest_path, read_run, run_lines
from visuallens.errors import RunFileError

RUN = "test-0 Q0 3 1 0.5 t\ntest-0 Q0 2 2 -0.25 t\ntest-1 Q0 4 1 2 t\ntest-1 Q0 2 2 2 t\n"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    asks = [Ask("a", [1], [2, 3], [3]), Ask("b", [1], [2, 4], [4])]
    return write_toy(tmp_path_factory.mktemp("runs") / "toy", {"test": asks, "dev": asks[:1]})


def written(tmp_path: Path, text: str, **manifest: object) -> Path:
    path = tmp_path / "a.run"
    path.write_text(text, encoding="utf-8")
    if manifest:
        manifest_path(path).write_text(json.dumps(manifest), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    ranked = [("b", 0.1 + 0.2), ("a", float(np.float32(0.1))), ("c", -math.inf)]
    lines = "".join(run_lines("q", ranked, "mine"))
    assert lines.splitlines()[0] == "q Q0 b 1 0.30000000000000004 mine"
    run = read_run(written(tmp_path, lines))
    assert (run.tag, run.example_ids, len(run), run.manifest) == ("mine", ("q",), 1, None)
    assert run.scores_of("q") == {"b": 0.1 + 0.2, "a": float(np.float32(0.1)), "c": -math.inf}
    with pytest.raises(RunFileError, match="does not answer 'other'"):
        run.scores_of("other")


@pytest.mark.parametrize("name", ["a b", "", "a\tb", "a\n"])
def test_ids_with_blanks_cannot_be_written(name: str) -> None:
    with pytest.raises(RunFileError, match="cannot stand in a run file"):
        list(run_lines("q", [(name, 1.0)], "mine"))


def test_no_nan_is_written() -> None:
    with pytest.raises(RunFileError, match="score of a is NaN"):
        list(run_lines("q", [("a", math.nan)], "mine"))


def test_scores_come_in_the_order_of_the_benchmark(toy: Benchmark, tmp_path: Path) -> None:
    run = read_run(written(tmp_path, RUN), toy, "test")
    assert align(run, read_lists(toy, "test"), toy).tolist() == [-0.25, 0.5, 2.0, 2.0]


def test_runs_of_other_programs_are_read(toy: Benchmark, tmp_path: Path) -> None:
    # Tabs, blank lines, ranks from 0, in no order.
    lines = ["test-1 Q0 2 1 2 t", "", "test-0 Q0 2 1 -0.25 t", "test-0 Q0 3 0 0.5 t"]
    lines += ["test-1  0  4  0  2  t"]
    text = "\n".join(lines).replace(" ", "\t")
    run = read_run(written(tmp_path, text), toy, "test")
    assert run.scores_of("test-0") == {"3": 0.5, "2": -0.25}
    assert align(run, read_lists(toy, "test"), toy).tolist() == [-0.25, 0.5, 2.0, 2.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("test-0 Q0 3 1 0.5\n", "line 1: it has 5 fields, not 6"),
        ("test-0 Q0 3 1 0.5 t\n\ntest-0 Q0 2 x 0.5 t\n", "line 3: invalid literal"),
        ("test-0 Q0 3 1 high t\n", "line 1: could not convert"),
        ("test-0 Q0 3 1 nan t\n", "line 1: the score is NaN"),
        ("\n\ntest-0 Q0 3 1 0.5 t\ntest-0 Q0 2 2 nan t\n", "line 4: the score is NaN"),
        ("\ntest-0 Q0 2 2 0.6 t\n\ntest-0 Q0 3 1 0.5 t\n", "line 2: it scores above"),
        ("\n\ntest-0 Q0 3 1 0.5 t\ntest-0 Q0 3 2 0.5 t\n", "line 4: the candidate comes twice"),
        (f"test-0 Q0 3 {'9' * 20} 0.5 t\n", "line 1: the rank is not between 0 and"),
        (f"test-0 Q0 3 1 1 t\ntest-0 Q0 2 {2**63 - 1} 0 t\n", "line 2: the rank is not between"),
        ("\ntest-0 Q0 3 -1 0.5 t\n", "line 2: the rank is not between"),
        ("test-0 Q0 3 1 0.5 t\ntest-0 Q0 2 1 0.5 t\n", "line 2: the rank comes twice"),
        ("test-0 Q0 3 1 0.5 t\ntest-0 Q0 2 3 0.5 t\n", "line 2: a rank is left out"),
        ("test-0 Q0 3 2 0.5 t\ntest-0 Q0 2 3 0.5 t\n", "line 1: a rank is left out"),
        ("test-0 Q0 3 1 0.5 t\ntest-0 Q0 3 2 0.5 t\n", "line 2: the candidate comes twice"),
        ("test-0 Q0 3 1 0.5 t\ntest-0 Q0 2 2 0.6 t\n", "line 2: it scores above"),
    ],
)
def test_broken_runs_are_refused_by_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RunFileError, match=words) as refused:
        read_run(written(tmp_path, text))
    assert "a.run" in str(refused.value)


def test_a_run_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    with pytest.raises(RunFileError, match="cannot be read"):
        read_run(path)
    path.write_bytes(b"\xff\xfe\x00 Q0 \xff 1 1 t\n")
    with pytest.raises(RunFileError, match="no text"):
        read_run(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RUN.replace("test-1", "test-9"), "'test-9' is no example of the test split"),
        (RUN[:40], "it answers 1 of 2 examples"),
        (RUN.replace("Q0 4 1", "Q0 7 1"), "'test-1' lacks 1 of its 2 candidates and has 1"),
        (RUN.replace("test-1 Q0 2 2 2 t\n", ""), "'test-1' lacks 1 of its 2 candidates and has 0"),
        (RUN + "test-1 Q0 9 3 0 t\n", "'test-1' lacks 0 of its 2 candidates and has 1"),
    ],
)
def test_runs_of_something_else_are_refused(
    toy: Benchmark, tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(RunFileError, match=words):
        read_run(written(tmp_path, text), toy, "test")


def test_the_manifest_must_fit(toy: Benchmark, tmp_path: Path) -> None:
    checksum = toy.about["checksum"]
    assert read_run(written(tmp_path, RUN, checksum=checksum, split="test"), toy).manifest
    for words, record in (
        ("it is a run of other 123, not of toy", {"checksum": "123", "benchmark": "other"}),
        ("it answers the dev split, not test", {"checksum": checksum, "split": "dev"}),
        ("it is not the run that a.run.json speaks of", {"sha256": "0"}),
    ):
        with pytest.raises(RunFileError, match=words):
            read_run(written(tmp_path, RUN, **record), toy, "test")
    manifest_path(tmp_path / "a.run").write_text("[]")
    with pytest.raises(RunFileError, match="no record of a run"):
        read_run(tmp_path / "a.run")
    manifest_path(tmp_path / "a.run").write_text("{")
    with pytest.raises(RunFileError, match=r"a\.run\.json: it cannot be read"):
        read_run(tmp_path / "a.run")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"split": "foo"}, "its 'split' is \"foo\", not one of train, dev, test"),
        ({"split": ["test"]}, r"its 'split' is \[\"test\"\], not one of"),
        ({"split": None}, "its 'split' is null, not one of"),
        ({"checksum": [1]}, r"its 'checksum' is \[1\], not a text"),
        ({"sha256": {}}, r"its 'sha256' is \{\}, not a text"),
        ({"benchmark": 1}, "its 'benchmark' is 1, not a text"),
        ({"sample": "x"}, "its 'sample' is \"x\", not a whole number"),
        ({"sample": 1.5}, "its 'sample' is 1.5, not a whole number"),
        ({"sample": True}, "its 'sample' is true, not a whole number"),
        ({"sample": 0}, "its 'sample' is 0, not a whole number"),
    ],
)
def test_a_manifest_of_wrong_values_is_refused(
    toy: Benchmark, tmp_path: Path, record: dict[str, object], words: str
) -> None:
    with pytest.raises(RunFileError, match=rf"a\.run\.json: {words}"):
        read_run(written(tmp_path, RUN, **record), toy)


def test_a_manifest_may_leave_open_what_is_not_known(toy: Benchmark, tmp_path: Path) -> None:
    nothing = {"benchmark": None, "checksum": None, "sha256": None, "sample": None}
    assert len(read_run(written(tmp_path, RUN, **nothing), toy)) == 2


def test_a_drawn_sample_need_not_answer_everything(toy: Benchmark, tmp_path: Path) -> None:
    half = "".join(RUN.splitlines(keepends=True)[2:])
    run = read_run(written(tmp_path, half, sample=1), toy, "test")
    scores = align(run, read_lists(toy, "test"), toy)
    assert np.isnan(scores[:2]).all()
    assert scores[2:].tolist() == [2.0, 2.0]
    with pytest.raises(RunFileError, match="it answers 1 of 2 examples"):
        read_run(written(tmp_path, half, sample=2), toy, "test")
