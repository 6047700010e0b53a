from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.annotated import Record, export_of, write_export
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import read_lists
from visuallens.benchmark.run_file import align, run_lines
from visuallens.errors import RunFileError
from visuallens.evaluation.annotation.export import annotator_of, is_export, read_export
from visuallens.evaluation.evaluate import evaluate

TEST = [
    Ask("a", [9], [1, 2, 3, 4], [2]),
    Ask("b", [9], [1, 2, 3, 4], [3], seed=5),
    Ask("c", [9], [5, 6], [6]),
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return write_toy(tmp_path_factory.mktemp("export") / "toy", {"test": TEST, "dev": TEST[:1]})


def test_ranked_candidates_descend_and_the_others_share_the_last_place(
    toy: Benchmark, tmp_path: Path
) -> None:
    record = export_of(toy, " Ada ", {"test-2": ["6", "5"], "test-0": ["3", "2"], "test-1": []})
    path = write_export(tmp_path / "ada.json", record)
    assert is_export(path)
    run = read_export(path)
    assert (run.tag, annotator_of(run)) == ("Ada", "Ada")
    # Where nothing is ranked, nothing is answered.
    assert run.example_ids == ("test-2", "test-0")
    assert run.scores_of("test-0") == {"3": 2, "2": 1, "1": 0, "4": 0}
    scores = align(run, read_lists(toy, "test"), toy)
    nan = float("nan")
    expected = [0, 1, 2, 0, nan, nan, nan, nan, 1, 2]
    assert np.array_equal(scores, np.array(expected), equal_nan=True)


def test_an_export_is_one_more_run(toy: Benchmark, tmp_path: Path) -> None:
    record = export_of(toy, "Ada", {"test-0": ["3", "2"], "test-2": ["6"]})
    ada = write_export(tmp_path / "ada.json", record)
    lines = [
        *run_lines("test-0", [("3", 9), ("2", 8), ("1", 0), ("4", 0)], "r"),
        *run_lines("test-1", [("3", 9), ("2", 8), ("1", 0), ("4", 0)], "r"),
        *run_lines("test-2", [("6", 9), ("5", 8)], "r"),
    ]
    (tmp_path / "r.run").write_text("".join(lines))
    found = evaluate(toy, [ada, tmp_path / "r.run"], metrics=["hit@1", "mrr"])
    assert (found.examples, found.asked) == (2, 3)
    # Ranks 2 and 1: MRR (1/2 + 1) / 2.
    first, second = found.runs
    assert first.metrics == second.metrics == {"hit@1": 1 / 2, "mrr": 3 / 4}
    assert found.agreement == ()


@pytest.mark.parametrize("seed", range(6))
def test_the_seed_of_the_question_orders_what_is_not_ranked(tmp_path: Path, seed: int) -> None:
    asks = [Ask("a", [9], [1, 2, 3, 4], [2], seed=seed)]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    path = write_export(tmp_path / "ada.json", export_of(toy, "Ada", {"test-0": ["3"]}))
    (found,) = evaluate(toy, [path], metrics=["mrr"]).runs
    # 3 comes first; of the others, those whose place in the shuffle is lower come before 2.
    shuffle = np.random.default_rng(seed).permutation(4)
    before = sum(shuffle[at] < shuffle[1] for at in (0, 3))
    assert found.metrics["mrr"] == pytest.approx(1 / (2 + before))


def changed(record: Record, **question: object) -> Record:
    first, *others = record["questions"]
    return {**record, "questions": [{**first, **question}, *others]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: {**one, "format": "other"}, "its format is 'other', not 'visuallens-ann"),
        (lambda one: {"questions": one["questions"]}, "its format is None"),
        (lambda one: {**one, "version": 2}, "it is of version 2, this VisualLens reads 1"),
        (lambda one: {**one, "questions": []}, "it answers no question"),
        (lambda one: {**one, "questions": {}}, "its 'questions' is wrong"),
        (lambda one: {**one, "annotator": "  "}, "its 'annotator' is wrong"),
        (lambda one: {**one, "checksum": None}, "its 'checksum' is wrong"),
        (lambda one: {**one, "split": "exam"}, "its 'split' is 'exam', not one of train"),
        (lambda one: {**one, "questions": one["questions"] * 2}, "'test-0' comes twice in it"),
        (lambda one: changed(one, ranked=["3", "3"]), "'3' comes twice in 'test-0'"),
        (lambda one: changed(one, ranked=["1"]), "'1' comes twice in 'test-0'"),
        (lambda one: changed(one, ranked=[3]), "its 'questions.0.ranked.0' is wrong"),
        (lambda one: changed(one, ranked=[]), "it answers no question"),
        (lambda one: changed(one, ranked=["99"]), "has 1 that are none of its own"),
        (lambda one: changed(one, unranked=["1"]), "lacks 2 of its 4 candidates"),
        (lambda one: changed(one, example_id="test-9"), "'test-9' is no example of the test"),
        (lambda one: {**one, "checksum": "f" * 64}, "it is a run of toy ffffffffffff, not of toy"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    toy: Benchmark, tmp_path: Path, change: object, words: str
) -> None:
    assert callable(change)
    record = export_of(toy, "Ada", {"test-0": ["3"]})
    path = write_export(tmp_path / "ada.json", change(record))
    with pytest.raises(RunFileError, match=words) as caught:
        evaluate(toy, [path])
    assert str(path) in str(caught.value)


def test_an_export_of_another_split_is_not_mixed_in(toy: Benchmark, tmp_path: Path) -> None:
    test = write_export(tmp_path / "a.json", export_of(toy, "Ada", {"test-0": ["3"]}))
    record = export_of(toy, "Bo", {"test-0": ["3"]}, split="dev")
    dev = write_export(tmp_path / "b.json", changed(record, example_id="dev-0"))
    assert evaluate(toy, [dev]).split == "dev"
    with pytest.raises(RunFileError, match="it answers the dev split, not test"):
        evaluate(toy, [test, dev])


@pytest.mark.parametrize("text", ['{"format": "visu', "{}}", "{", '{"a": "\udcff"}', "[" * 10])
def test_broken_json_is_refused(toy: Benchmark, tmp_path: Path, text: str) -> None:
    path = tmp_path / "ada.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunFileError, match="cannot be read as JSON"):
        read_export(path)


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ada.json"
    path.write_text('{"a":' * 100_000)
    with pytest.raises(RunFileError, match="cannot be read as JSON"):
        read_export(path)


def test_run_files_are_no_exports(tmp_path: Path) -> None:
    run, marked = tmp_path / "a.run", tmp_path / "marked.json"
    run.write_text("test-0 Q0 3 1 0.5 t\n")
    assert not is_export(run)
    assert not is_export(tmp_path / "gone")
    assert not is_export(tmp_path)
    # Editors put a mark and blanks before what they save.
    marked.write_text("\ufeff\n {}", encoding="utf-8")
    assert is_export(marked)
