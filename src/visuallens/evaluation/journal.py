"""What a run has answered so far, one line of JSON for each question, so that it can go on.

A killed process leaves at most its last line unfinished; that question is asked again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from visuallens.errors import RunFileError

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Answered:
    """One question that was answered.

    Attributes:
        example_id: of the question.
        ranked: candidate ids and scores, best first.
        latency_ms: how long the ranker took.
        counts: see `Ranking.counts`.
        used: what the backbone's account grew by.
    """

    example_id: str
    ranked: tuple[tuple[str, float], ...]
    latency_ms: float
    counts: Mapping[str, int]
    used: Mapping[str, float]


class Journal:
    """Opens the journal of a run, or begins it.

    Args:
        path: of the journal; its folder exists.
        made_with: what the run is made with; JSON.

    Attributes:
        example_ids: of the questions that are answered, in order.

    Raises:
        RunFileError: the journal is of a run that was made with something else, or cannot be read
            or written.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any]) -> None:  # Any: JSON
        self.path = path
        self.example_ids: list[str] = []
        head = json.dumps(made_with, sort_keys=True, ensure_ascii=False)
        try:
            whole = self._measure(json.loads(head))
            # Unbuffered: what could not be written must not be tried again when it is closed.
            self._file = path.open("r+b" if whole else "wb", buffering=0)
            self._file.truncate(whole)
            self._file.seek(whole)
            if not whole:
                self._write(head)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, answered: Answered) -> None:
        """Keep one more answer; it survives a kill from then on."""
        try:
            self._write(json.dumps(asdict(answered), ensure_ascii=False))
        except OSError as error:
            raise self._unwritable(error) from error
        self.example_ids.append(answered.example_id)

    def read(self) -> Iterator[Answered]:
        """Yield all answers, in order."""
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield _answered(line)

    def _measure(self, made_with: Mapping[str, Any]) -> int:
        """Count the bytes of the lines that are whole; refuse those of another run."""
        if not self.path.exists():
            return 0
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                try:
                    if number == 0:
                        refuse_other(self.path, json.loads(line), made_with)
                    else:
                        self.example_ids.append(_answered(line).example_id)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise RunFileError(
                        self.path,
                        f"it is broken ({error})",
                        "Delete it to begin anew.",
                        line=number + 1,
                    ) from error
                whole += len(line)
        return whole

    def _unwritable(self, error: OSError) -> RunFileError:
        advice = "Free some space, then give the same command again: it goes on where it was."
        return RunFileError(self.path, f"it cannot be written ({error})", advice)

    def _write(self, line: str) -> None:
        left = memoryview(line.encode() + b"\n")
        while left:
            left = left[self._file.write(left) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


# Any, here and below: JSON.
def refuse_other(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was made with something else.

    Args:
        path: of the run or its journal.
        there: what it was made with.
        here: what is asked for now.

    Raises:
        RunFileError: the two differ; names the first keys that do.

    Choice: the version may differ, and the one that finished the run is recorded.
    """
    theirs, ours = _flat(there), _flat(here)
    keys = [
        key
        for key in sorted(ours.keys() | theirs.keys())
        if key != "version" and ours.get(key) != theirs.get(key)
    ]
    if keys:
        shown = "; ".join(
            f"{key}: there {json.dumps(theirs.get(key))}, here {json.dumps(ours.get(key))}"
            for key in keys[:_SHOWN]
        )
        more = f"; and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        raise RunFileError(
            path,
            f"it was made with something else ({shown}{more})",
            "Choose another --out, or delete it to begin anew.",
        )


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            values |= _flat(value, f"{above}{key}.")
        else:
            values[above + key] = value
    return values


def _answered(line: str | bytes) -> Answered:
    record = json.loads(line)
    ranked = tuple((str(candidate_id), float(score)) for candidate_id, score in record["ranked"])
    return Answered(
        record["example_id"], ranked, record["latency_ms"], record["counts"], record["used"]
    )
