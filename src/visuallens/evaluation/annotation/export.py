"""Reading what a person exported from an annotation page, as a run like any other (§6.3).

    {"format": "visuallens-annotation", "version": 1, "benchmark": ..., "checksum": ...,
     "split": ..., "annotator": ...,
     "questions": [{"example_id": ..., "ranked": [best, ...], "unranked": [...]}, ...]}

What a person ranked gets descending scores and all that they left out shares the lowest, so the
seed of the question decides among the rest, as among all equal scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from visuallens.benchmark import schema
from visuallens.benchmark.run_file import RunFile, read_run
from visuallens.errors import RunFileError

FORMAT = "visuallens-annotation"
VERSION = 1

_AGAIN = "Export it again from its page: visuallens annotate"
_HEAD_BYTES = 256
_BLANK = b"\xef\xbb\xbf \t\r\n"

_Text = Annotated[str, StringConstraints(min_length=1)]
_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Answer(BaseModel):
    """One question; ids of candidates."""

    model_config = ConfigDict(frozen=True, strict=True)

    example_id: _Text
    ranked: tuple[_Text, ...]
    unranked: tuple[_Text, ...]


class _Export(BaseModel):
    """A file as the page exports it; keys that are not read here are let through."""

    model_config = ConfigDict(frozen=True, strict=True)

    benchmark: _Text
    checksum: _Text
    split: _Text
    annotator: _Name
    questions: tuple[_Answer, ...]


def read_answers(path: Path) -> RunFile:
    """Read a run of either kind: a run file, or what a person exported."""
    return read_export(path) if is_export(path) else read_run(path)


def is_export(path: Path) -> bool:
    """Tell an export from a run file: it is a JSON object, which no line of a run is."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES).lstrip(_BLANK).startswith(b"{")
    except OSError:
        return False


def read_export(path: Path) -> RunFile:
    """Read an export as a run.

    Args:
        path: of the JSON file.

    Returns:
        A run of the questions that were answered, with the annotator as its tag. Its manifest
        names the benchmark, so `align` compares it, its examples and candidates as those of a run.

    Raises:
        RunFileError: it is no export, of a newer version, broken, answers nothing, or an example or
            a candidate comes twice.

    Choice: a question in which nothing is ranked is not answered. Nobody can tell whether the
        person saw it, and a random order says nothing about people.
    """
    export = _parsed(path)
    answers = [one for one in export.questions if one.ranked]
    if not answers:
        raise RunFileError(path, "it answers no question", "Rank something, then export it.")
    _refuse_twice(path, (one.example_id for one in answers), "it")
    for one in answers:
        _refuse_twice(path, (*one.ranked, *one.unranked), repr(one.example_id))
    lengths = np.array([len(one.ranked) + len(one.unranked) for one in answers], np.int64)
    named = [id_ for one in answers for id_ in (*one.ranked, *one.unranked)]
    numbers = {id_: at for at, id_ in enumerate(dict.fromkeys(named))}
    return RunFile(
        path=path,
        tag=export.annotator,
        example_ids=tuple(one.example_id for one in answers),
        starts=np.cumsum(lengths) - lengths,
        candidate_ids=tuple(numbers),
        candidates=np.array([numbers[id_] for id_ in named], np.int64),
        scores=np.array([score for one in answers for score in _scores(one)], np.float64),
        manifest={
            "format": FORMAT,
            "benchmark": export.benchmark,
            "checksum": export.checksum,
            "split": export.split,
            "sample": len(answers),
            "annotator": export.annotator,
        },
    )


def annotator_of(run: RunFile) -> str | None:
    """Name who made a run; None for runs that are no exports."""
    manifest = run.manifest or {}
    return manifest["annotator"] if manifest.get("format") == FORMAT else None


def _scores(answer: _Answer) -> Sequence[float]:
    """Score ranked candidates from their number down to 1, and the others 0."""
    return [*range(len(answer.ranked), 0, -1), *([0] * len(answer.unranked))]


def _parsed(path: Path) -> _Export:
    try:
        text = path.read_text("utf-8-sig")
        record = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise RunFileError(path, f"it cannot be read as JSON ({error})", _AGAIN) from error
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise RunFileError(path, f"its format is {found!r}, not {FORMAT!r}", _AGAIN)
    if record.get("version") != VERSION:
        raise RunFileError(
            path,
            f"it is of version {record.get('version')!r}, this VisualLens reads {VERSION}",
            "Export it with, or upgrade to, the VisualLens that made the page.",
        )
    try:
        export = _Export.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFileError(path, f"its {where!r} is wrong: {first['msg']}", _AGAIN) from error
    if export.split not in schema.SPLITS:
        wanted = ", ".join(schema.SPLITS)
        raise RunFileError(path, f"its 'split' is {export.split!r}, not one of {wanted}", _AGAIN)
    return export


def _refuse_twice(path: Path, ids: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            raise RunFileError(path, f"{id_!r} comes twice in {where}", _AGAIN)
        seen.add(id_)
