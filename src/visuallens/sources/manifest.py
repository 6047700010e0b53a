"""A table of photos, with their users, dates, places and captions, as visual histories (§3).

Columns: `path` (required; relative to the table's folder), `user_id`, `taken_at` (ISO 8601),
`latitude`, `longitude`, `caption`. Formats: JSON lines, CSV, Parquet. Other columns are ignored.
"""

from __future__ import annotations

import csv
import json
import math
import stat
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from itertools import chain
from pathlib import Path
from typing import Any

from visuallens.errors import SourceError
from visuallens.images import display_path, explain_os_error
from visuallens.prompts.caption import MAX_CAPTION_WORDS
from visuallens.sources.base import FoundFile
from visuallens.types import GeoPoint, Refusal, RefusalReason

# Any: a cell holds whatever the table holds; each is validated in this module, once.
Row = dict[str, Any]

_BATCH_ROWS = 1024
_NO_PATH = "it has no column 'path'"
_NO_PATH_ADVICE = "Name the column that holds the photos' file names 'path'."


class _BadCellError(ValueError):
    """One cell cannot be understood."""

    def __init__(self, column: str, problem: str) -> None:
        self.column = column
        self.problem = problem
        super().__init__(f"{column}: {problem}")


class ManifestSource:
    """Photos listed in a table, in the order of its rows.

    Choice: a row whose file is gone becomes a Refusal MISSING and a row with a malformed cell a
        Refusal UNREADABLE that names row and column, and the run goes on: one bad row of a
        million is no reason to stop, and a date or owner that was meant but misspelt must not be
        dropped silently. Without a column `path` the table is no manifest: SourceError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self) -> Iterator[FoundFile | Refusal]:
        """Find the photos row by row.

        Returns:
            A lazy iterator; a table without rows gives nothing.

        Raises:
            SourceError: the table is missing or unreadable, or has no column `path`; also later,
                naming the row, if the table breaks off in the middle.
        """
        read = _READERS.get(self._path.suffix.lower(), _read_jsonl)
        return self._find_rows(_peek(self._guard(read(self._path))))

    def _find_rows(self, rows: Iterable[Row | _BadCellError]) -> Iterator[FoundFile | Refusal]:
        for number, row in enumerate(rows, start=1):
            shown = display_path(self._path)
            try:
                if isinstance(row, _BadCellError):
                    raise row
                shown = display_path(self._path.parent / _path_cell(row))
                yield _find_row(self._path.parent, row)
            except _BadCellError as error:
                where = f"row {number} of {display_path(self._path.name)}"
                detail = f"{where}, column {error.column!r}: {error.problem}"
                yield Refusal(shown, RefusalReason.UNREADABLE, detail)

    def _guard(self, rows: Iterator[Row | _BadCellError]) -> Iterator[Row | _BadCellError]:
        try:
            yield from rows
        except OSError as error:
            _, detail = explain_os_error(error)
            advice = "Check the path of the manifest."
            raise SourceError(display_path(self._path), detail, advice) from error


def _peek(rows: Iterator[Row | _BadCellError]) -> Iterator[Row | _BadCellError]:
    """Read the first row, so that an unusable table shows at once."""
    first = next(rows, None)
    return iter(()) if first is None else chain((first,), rows)


def _find_row(folder: Path, row: Row) -> FoundFile | Refusal:
    path = folder / _path_cell(row)
    user_id, taken_at, location = _user_cell(row), _date_cell(row), _location_cells(row)
    caption = _caption_cell(row)
    try:
        facts = path.stat()
    except OSError as error:
        return Refusal(display_path(path), *explain_os_error(error))
    except ValueError as error:
        raise _BadCellError("path", "this file name cannot be used on this system") from error
    if not stat.S_ISREG(facts.st_mode):
        return Refusal(display_path(path), RefusalReason.UNREADABLE, "a folder, not a file")
    return FoundFile(path, facts.st_size, facts.st_mtime_ns, user_id, taken_at, location, caption)


def _is_empty(value: object) -> bool:
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or (isinstance(value, str) and not value.strip())


def _path_cell(row: Row) -> str:
    value = row.get("path")
    if not isinstance(value, str) or not value.strip():
        raise _BadCellError("path", "it is empty; give the photo's file name")
    if "\0" in value:
        raise _BadCellError("path", "this file name cannot be used on this system")
    return value


def _user_cell(row: Row) -> str | None:
    value = row.get("user_id")
    if _is_empty(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _BadCellError("user_id", f"{value!r} is neither text nor a whole number")
    return str(value).strip()


def _date_cell(row: Row) -> datetime | None:
    value = row.get("taken_at")
    if _is_empty(value):
        return None
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.timetz())
    if isinstance(value, date):
        return datetime.combine(value, time())
    try:
        return datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        problem = f"{value!r} is not a date; write it as 2024-05-31T18:30:00+02:00"
        raise _BadCellError("taken_at", problem) from error


def _location_cells(row: Row) -> GeoPoint | None:
    latitude = _degrees_cell(row, "latitude", 90)
    longitude = _degrees_cell(row, "longitude", 180)
    if latitude is None and longitude is None:
        return None
    if latitude is None or longitude is None:
        missing = "latitude" if latitude is None else "longitude"
        raise _BadCellError(missing, "it is empty, although the other coordinate is given")
    return GeoPoint(latitude, longitude)


def _caption_cell(row: Row) -> str | None:
    value = row.get("caption")
    if _is_empty(value):
        return None
    if not isinstance(value, str):
        raise _BadCellError("caption", f"{value!r} is not text")
    return " ".join(value.split()[:MAX_CAPTION_WORDS])


def _degrees_cell(row: Row, column: str, limit: int) -> float | None:
    value = row.get(column)
    if _is_empty(value):
        return None
    try:
        # The type is open on purpose: what is no number raises, and is caught below.
        degrees = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        degrees = math.nan
    if not abs(degrees) <= limit:
        raise _BadCellError(column, f"{value!r} is not a number from -{limit} to {limit}")
    return degrees


def _read_jsonl(path: Path) -> Iterator[Row | _BadCellError]:
    """Read JSON lines; a line that is not a JSON object counts as one malformed row."""
    with path.open("rb") as lines:
        is_first = True
        for line in lines:
            if not line.strip():
                continue
            row = _parse_line(line)
            if is_first and isinstance(row, dict) and "path" not in row:
                raise SourceError(display_path(path), _NO_PATH, _NO_PATH_ADVICE)
            is_first = False
            yield row


def _parse_line(line: bytes) -> Row | _BadCellError:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return _BadCellError("path", f"the line is not JSON ({error})")
    return row if isinstance(row, dict) else _BadCellError("path", "the line is not an object")


def _read_csv(path: Path) -> Iterator[Row | _BadCellError]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            if "path" not in (rows.fieldnames or ()):
                raise SourceError(display_path(path), _NO_PATH, _NO_PATH_ADVICE)
            for number, row in enumerate(rows, start=1):  # noqa: B007
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        problem = f"row {number + 1} cannot be read as CSV in UTF-8 ({error})"
        raise SourceError(display_path(path), problem, "Save it again as UTF-8 CSV.") from error


def _read_parquet(path: Path) -> Iterator[Row | _BadCellError]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file, pq.ParquetFile(file) as table:
            present = set(table.schema_arrow.names)
            if "path" not in present:
                raise SourceError(display_path(path), _NO_PATH, _NO_PATH_ADVICE)
            columns = sorted(present & _COLUMNS)
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        problem = f"it cannot be read as Parquet ({error})"
        raise SourceError(display_path(path), problem, "Write it again.") from error


_COLUMNS = frozenset(("path", "user_id", "taken_at", "latitude", "longitude", "caption"))
_READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
