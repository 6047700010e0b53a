"""Run files: what a ranker answered to the questions of a split, in TREC's run format.

    example_id Q0 candidate_id rank score tag

`trec_eval`, ir-measures and ranx read such files, and those of others are read here. Beside a run
of ours, FILE.json says what it was made with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import CandidateLists, Flags, Ints, read_lists
from visuallens.benchmark.writing import file_checksum
from visuallens.errors import RunFileError

Floats = NDArray[np.float64]

_COLUMNS = ("example_id", "q0", "candidate_id", "rank", "score", "tag")
_AGAIN = "Write it again: visuallens rank"
_FIELDS = "Each line is: example_id Q0 candidate_id rank score tag"

_MAX_RANK = 2**31 - 1
_NO_RANK = f"the rank is not between 0 and {_MAX_RANK:,}"


@dataclass(frozen=True, eq=False)
class RunFile:
    """A run that was read; the candidates of an example lie together, best first.

    Attributes:
        path: where it was read.
        tag: name of the run.
        example_ids: (examples,) in the order of the file.
        starts: (examples,) where the candidates of each begin.
        candidate_ids: (items,) of everything that was ranked.
        candidates: (lines,) numbers into `candidate_ids`.
        scores: (lines,) higher is better; never NaN.
        manifest: what FILE.json holds; None where there is none.
    """

    path: Path
    tag: str
    example_ids: tuple[str, ...]
    starts: Ints
    candidate_ids: tuple[str, ...]
    candidates: Ints
    scores: Floats
    manifest: Mapping[str, Any] | None  # Any: JSON

    def __len__(self) -> int:
        return len(self.example_ids)

    @property
    def lengths(self) -> Ints:
        """(examples,) candidates of each."""
        return np.diff(self.starts, append=len(self.scores))

    def scores_of(self, example_id: str) -> dict[str, float]:
        """Look up the scores of one example.

        Args:
            example_id: one of `example_ids`.

        Returns:
            Candidate id → score, best first.

        Raises:
            RunFileError: the run does not answer that example.
        """
        at = self._places.get(example_id)
        if at is None:
            raise RunFileError(self.path, f"it does not answer {example_id!r}", _AGAIN)
        own = slice(self.starts[at], self.starts[at] + self.lengths[at])
        named = (self.candidate_ids[one] for one in self.candidates[own].tolist())
        return dict(zip(named, self.scores[own].tolist(), strict=True))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {example_id: at for at, example_id in enumerate(self.example_ids)}


def manifest_path(path: Path) -> Path:
    """Locate what a run was made with, beside it."""
    return path.with_name(path.name + ".json")


def run_lines(example_id: str, ranked: Iterable[tuple[str, float]], tag: str) -> Iterator[str]:
    """Write the ranking of one example as lines of a run file.

    Args:
        example_id: without blanks, as all ids.
        ranked: candidate ids and scores, best first.
        tag: name of the run.

    Yields:
        One line a candidate, with its end; a score is written so that the same number is read.

    Raises:
        RunFileError: an id has a blank or is empty, or a score is NaN.
    """
    for rank, (candidate_id, score) in enumerate(ranked, start=1):
        for name in (example_id, candidate_id, tag):
            if not name or name.split() != [name]:
                raise RunFileError(
                    example_id, f"{name!r} cannot stand in a run file", "Ids hold no blanks."
                )
        if math.isnan(score):
            raise RunFileError(
                example_id, f"the score of {candidate_id} is NaN", "Mend or choose another ranker."
            )
        yield f"{example_id} Q0 {candidate_id} {rank} {float(score)!r} {tag}\n"


def read_run(path: Path, benchmark: Benchmark | None = None, split: str | None = None) -> RunFile:
    """Read a run file, ours or somebody else's, and check all of it.

    Args:
        path: of the run; FILE.json beside it is read as well, if there is one.
        benchmark: that it must answer; None: not compared with one.
        split: of the benchmark; None: the one that FILE.json names, else "test".

    Returns:
        The run.

    Raises:
        RunFileError: it is empty or broken, ranks or candidates come twice, ranks and scores
            disagree, a score is NaN, it was changed since FILE.json was written, or it is a run of
            another benchmark, split, or of other examples or candidates.
    """
    manifest = read_manifest(path)
    table = _table(path)
    run = _grouped(path, table, manifest)
    if manifest is not None and manifest.get("sha256") not in (None, file_checksum(path)):
        raise RunFileError(
            path, f"it is not the run that {manifest_path(path).name} speaks of", _AGAIN
        )
    if benchmark is not None:
        align(run, read_lists(benchmark, split or split_of(run)), benchmark)
    return run


# Any: JSON.
def read_manifest(path: Path) -> Mapping[str, Any] | None:
    """Read what a run was made with.

    Args:
        path: of the run.

    Returns:
        What FILE.json holds; None where there is none, as beside runs of other programs.

    Raises:
        RunFileError: it is no JSON object, or what it says of the run cannot be so.
    """
    beside = manifest_path(path)
    try:
        record = json.loads(beside.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFileError(beside, f"it cannot be read ({error})", _AGAIN) from error
    if not isinstance(record, dict):
        raise RunFileError(beside, "it is no record of a run", _AGAIN)
    for key, (wanted, fits) in _WANTED.items():
        if key in record and not fits(record[key]):
            said = json.dumps(record[key])
            raise RunFileError(beside, f"its {key!r} is {said}, not {wanted}", _AGAIN)
    return record


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: object) -> bool:
    # True is an int, too.
    return value is None or (isinstance(value, int) and value is not True and value > 0)


_WANTED: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "benchmark": ("a text", _is_text),
    "checksum": ("a text", _is_text),
    "sha256": ("a text", _is_text),
    "sample": ("a whole number from 1", _is_count),
    "split": (f"one of {', '.join(schema.SPLITS)}", lambda value: value in schema.SPLITS),
}
"""What a manifest says of its run, as far as it is read here; null where there is nothing."""


def split_of(run: RunFile) -> str:
    """Name the split that a run answers, as its manifest says; "test" where none is there."""
    return str((run.manifest or {}).get("split", "test"))


def align(run: RunFile, lists: CandidateLists, benchmark: Benchmark) -> Floats:
    """Bring the scores of a run into the order of the candidate lists, and check that they fit.

    Args:
        run: as read.
        lists: of the split that it should answer.
        benchmark: that the lists are of.

    Returns:
        (candidates,) scores; NaN in all lists that a run of a drawn sample does not answer.

    Raises:
        RunFileError: the run is of another benchmark or split, or its examples or candidates are
            not those of the lists.
    """
    _refuse_other(run, lists, benchmark)
    places = {example_id: at for at, example_id in enumerate(lists.example_ids)}
    rows = np.array([places.get(one, -1) for one in run.example_ids], np.int64)
    if (rows < 0).any():
        example_id = run.example_ids[int(np.argmin(rows))]
        raise _misfit(run, f"{example_id!r} is no example of the {lists.split} split")
    sample = (run.manifest or {}).get("sample")
    if len(rows) != (len(lists) if sample is None else sample):
        asked = len(lists) if sample is None else sample
        raise _misfit(run, f"it answers {len(rows):,} of {asked:,} examples")
    answered = np.zeros(len(lists), np.bool_)
    answered[rows] = True
    inside = np.flatnonzero(np.repeat(answered, lists.lengths))
    numbers = {candidate_id: at for at, candidate_id in enumerate(lists.candidate_ids)}
    items = len(numbers)
    known = np.array([numbers.get(one, items) for one in run.candidate_ids], np.int64)
    ours = lists.rows[inside] * (items + 1) + lists.candidates[inside]
    theirs = np.repeat(rows, run.lengths) * (items + 1) + known[run.candidates]
    by_ours, by_theirs = np.argsort(ours), np.argsort(theirs)
    if not np.array_equal(ours[by_ours], theirs[by_theirs]):
        raise _misfit(run, _difference(ours, theirs, items + 1, lists))
    scores = np.full(len(lists.candidates), np.nan)
    scores[inside[by_ours]] = run.scores[by_theirs]
    return scores


def _difference(ours: Ints, theirs: Ints, width: int, lists: CandidateLists) -> str:
    """Say in which example a run first has other candidates than the benchmark."""
    missing, unknown = np.setdiff1d(ours, theirs), np.setdiff1d(theirs, ours)
    first = int(np.concatenate((missing, unknown)).min()) // width
    lacks = int((missing // width == first).sum())
    strange = int((unknown // width == first).sum())
    return (
        f"{lists.example_ids[first]!r} lacks {lacks:,} of its {lists.lengths[first]:,} candidates "
        f"and has {strange:,} that are none of its own"
    )


def _refuse_other(run: RunFile, lists: CandidateLists, benchmark: Benchmark) -> None:
    manifest = run.manifest or {}
    checksum = manifest.get("checksum")
    if checksum not in (None, benchmark.about["checksum"]):
        raise _misfit(
            run,
            f"it is a run of {manifest.get('benchmark')} {str(checksum)[:12]}, not of "
            f"{benchmark.name} {benchmark.about['checksum'][:12]}",
        )
    if manifest.get("split", lists.split) != lists.split:
        raise _misfit(run, f"it answers the {manifest['split']} split, not {lists.split}")


def _misfit(run: RunFile, problem: str) -> RunFileError:
    return RunFileError(
        run.path, problem, "Name the benchmark and split that it is of, or rank them anew."
    )


# Any, here and below: pyarrow is untyped.
def _table(path: Path) -> Any:  # noqa: ANN401
    """Read the columns of a run; a file that is not in our own form is read line by line.

    There, a column "line" says where each row was, for blank lines are passed over.
    """
    ids = pa.dictionary(pa.int32(), pa.string())
    types = [ids, ids, ids, pa.int64(), pa.float64(), ids]
    try:
        if path.stat().st_size == 0:
            raise RunFileError(path, "it is empty", _AGAIN)
        return csv.read_csv(
            path,
            read_options=csv.ReadOptions(column_names=list(_COLUMNS), use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter=" ", quote_char=False, ignore_empty_lines=False
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict(zip(_COLUMNS, types, strict=True)), null_values=[]
            ),
        ).unify_dictionaries()
    except pa.ArrowInvalid:
        return _by_lines(path)
    except OSError as error:
        raise RunFileError(path, f"it cannot be read ({error})", "Check the path.") from error


def _by_lines(path: Path) -> Any:  # noqa: ANN401
    columns: dict[str, list[Any]] = {name: [] for name in (*_COLUMNS, "line")}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                fields = line.split()
                if not fields:
                    continue
                if len(fields) != len(_COLUMNS):
                    problem = f"it has {len(fields)} fields, not {len(_COLUMNS)}"
                    raise RunFileError(path, problem, _FIELDS, line=number)
                try:
                    rank, score = int(fields[3]), float(fields[4])
                except ValueError as error:
                    raise RunFileError(path, str(error), _FIELDS, line=number) from error
                if not 0 <= rank <= _MAX_RANK:
                    raise RunFileError(path, _NO_RANK, _FIELDS, line=number)
                row = (*fields[:3], rank, score, fields[5], number)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    except UnicodeDecodeError as error:
        raise RunFileError(path, f"it is no text ({error})", _AGAIN) from error
    if not columns["line"]:
        raise RunFileError(path, "it is empty", _AGAIN)
    return pa.table(columns)


def _grouped(path: Path, table: Any, manifest: Mapping[str, Any] | None) -> RunFile:  # noqa: ANN401
    """Bring the lines of each example together, best first, and check them."""
    example_ids, examples = _encoded(table["example_id"])
    candidate_ids, candidates = _encoded(table["candidate_id"])
    ranks = table["rank"].to_numpy().astype(np.int64)
    scores = table["score"].to_numpy().astype(np.float64)
    lines = np.arange(1, len(ranks) + 1)
    if "line" in table.column_names:
        lines = table["line"].to_numpy()
    _refuse_first(path, np.isnan(scores), "the score is NaN", lines)
    _refuse_first(path, (ranks < 0) | (ranks > _MAX_RANK), _NO_RANK, lines)
    order = np.arange(len(ranks))
    if (np.diff(examples * (ranks.max() + 1) + ranks) <= 0).any():
        order = np.lexsort((ranks, examples))
    examples, ranks = examples[order], ranks[order]
    candidates, scores, lines = candidates[order], scores[order], lines[order]
    starts = np.flatnonzero(np.diff(examples, prepend=-1))
    lengths = np.diff(starts, append=len(examples))
    places = np.arange(len(examples)) - np.repeat(starts, lengths) + 1
    same = np.diff(examples, prepend=-1) == 0
    _refuse_first(path, same & (np.diff(ranks, prepend=0) == 0), "the rank comes twice", lines)
    # Some programs count ranks from 0.
    begun = np.repeat(np.minimum(ranks[starts], 1), lengths)
    _refuse_first(path, ranks != places - 1 + begun, "a rank is left out", lines)
    above = np.append(False, scores[1:] > scores[:-1])
    _refuse_first(path, same & above, "it scores above the candidate before it", lines)
    pairs = examples * max(len(candidate_ids), 1) + candidates
    by_pair = np.argsort(pairs, kind="stable")
    again = np.zeros(len(pairs), np.bool_)
    again[by_pair[1:]] = np.diff(pairs[by_pair]) == 0
    _refuse_first(path, again, "the candidate comes twice", lines)
    return RunFile(
        path=path,
        tag=str(table["tag"][0].as_py()),
        example_ids=tuple(example_ids[one] for one in examples[starts].tolist()),
        starts=starts,
        candidate_ids=candidate_ids,
        candidates=candidates,
        scores=scores,
        manifest=manifest,
    )


def _refuse_first(path: Path, wrong: Flags, problem: str, lines: Ints) -> None:
    """Refuse a file, naming the first of the lines that are wrong."""
    if wrong.any():
        raise RunFileError(path, problem, _AGAIN, line=int(lines[wrong].min()))


def _encoded(column: Any) -> tuple[tuple[str, ...], Ints]:  # noqa: ANN401
    whole = column.combine_chunks() if pa.types.is_dictionary(column.type) else column
    if not pa.types.is_dictionary(whole.type):
        whole = pc.dictionary_encode(whole).combine_chunks()
    return tuple(whole.dictionary.to_pylist()), whole.indices.to_numpy().astype(np.int64)
