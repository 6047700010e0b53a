"""Reads a places file into numbered records, whatever its format; knows nothing of candidates.

CSV, JSON, JSON Lines, GeoJSON and Parquet, each also compressed with gzip. The content decides
first (`business.json` of Yelp is JSON Lines), the extension only where the content does not tell.
Implements no section of the paper: it supplies S^CD of §3 for use outside the benchmarks.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from visuallens.errors import PlacesError
from visuallens.places.geojson import flatten_feature

if TYPE_CHECKING:
    from pathlib import Path

Record = Mapping[str, object]
"""One place as the file has it: column or field name → value."""

_LIST_NAMES = ("features", "places", "businesses", "candidates", "results", "items", "data")
_DELIMITERS = (",", ";", "\t")
_KINDS = "CSV, JSON, JSON Lines, GeoJSON or Parquet"


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Read the records of a places file, one by one.

    Args:
        path: a CSV (comma, semicolon or tab; UTF-8 with or without BOM), JSON (a list, or an
            object with a list in it), JSON Lines, GeoJSON or Parquet file, gzip allowed.

    Yields:
        Pairs of row number and record. Rows count from 1; the CSV header and blank lines
        are not counted. Nothing for a header or a list without rows.

    Raises:
        PlacesError: the file cannot be opened, is empty, or breaks the rules of its format.

    Choice: a gzip file is known by its first bytes, not by its name.
    """
    try:
        with path.open("rb") as raw, _unzipped(raw) as stream:
            yield from _reader_for(path, stream)(path, stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = f"the gzip data is damaged or cut short ({error})"
        raise PlacesError(path, problem, "Copy or download the file again.") from error
    except OSError as error:
        problem, advice = _reason(error)
        raise PlacesError(path, problem, advice) from error


def _unzipped(raw: io.BufferedReader) -> io.BufferedReader:
    if raw.peek(2)[:2] != b"\x1f\x8b":
        return raw
    return io.BufferedReader(gzip.GzipFile(fileobj=raw))


def _reason(error: OSError) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return "there is no such file", "Check the path."
    if isinstance(error, IsADirectoryError):
        return "this is a folder", f"Name one {_KINDS} file in it."
    if isinstance(error, PermissionError):
        return "you may not read this file", "Give yourself read permission."
    return f"the file cannot be read ({error.strerror or error})", "Check the disk and the path."


def _reader_for(
    path: Path, stream: io.BufferedReader
) -> Callable[[Path, io.BufferedReader], Iterator[tuple[int, Record]]]:
    head = stream.peek(4096)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        raise PlacesError(path, "the file is empty", f"Give a {_KINDS} file with places.")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    named = suffixes[-1] if suffixes else ""
    if head.startswith(b"PAR1") or named in {".parquet", ".geoparquet"}:
        return _read_parquet
    if head.startswith(b"PK\x03\x04"):
        raise PlacesError(path, "this is a zip or spreadsheet file", "Save it as CSV UTF-8.")
    if start[:1] in {b"{", b"[", b"\x1e"} or named in {".json", ".jsonl", ".ndjson", ".geojson"}:
        return _read_json
    return _read_csv


def _decoded(path: Path, stream: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream, line ends kept; lone carriage returns end a line, too."""
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            problem = f"line {number}, byte {error.start + 1} is not UTF-8 text"
            raise PlacesError(path, problem, "Save the file with the encoding UTF-8.") from error
        if "\r" in text.rstrip("\r\n"):
            yield from io.StringIO(text, newline="")
        else:
            yield text


def _through_first_filled(lines: Iterator[str]) -> list[str]:
    taken: list[str] = []
    for line in lines:
        taken.append(line)
        if line.strip():
            break
    return taken


# CSV


def _read_csv(path: Path, stream: io.BufferedReader) -> Iterator[tuple[int, Record]]:
    """Read delimited text.

    Choice: short rows are filled with nothing, as spreadsheets drop trailing empty cells; longer
    rows are refused, as their cells have slipped into the wrong columns.
    """
    lines = _decoded(path, stream)
    opening = _through_first_filled(lines)[-1:]
    if not "".join(opening).strip():
        raise PlacesError(path, "the file is empty", "Start it with a line of column names.")
    if "\0" in opening[0]:
        raise PlacesError(path, "this is not a text file", f"Give a {_KINDS} file.")
    delimiter = max(_DELIMITERS, key=lambda mark: len(next(csv.reader(opening, delimiter=mark))))
    table = csv.reader(chain(opening, lines), delimiter=delimiter, strict=True)
    rows = _csv_cells(path, table)
    header = [name.strip() for name in next(rows)[1]]
    _refuse_repeated(path, header)
    for number, cells in rows:
        if any(cell.strip() for cell in cells[len(header) :]):
            problem = f"it has {len(cells)} cells, but the header has {len(header)} columns"
            advice = f'Put values that contain {delimiter!r} in double quotes ("...").'
            raise PlacesError(path, problem, advice, row=number)
        yield number, {name: cell for name, cell in zip(header, cells, strict=False) if name}


def _csv_cells(path: Path, table: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Number the rows that hold something; the header is number 0."""
    number = 0
    while True:
        try:
            cells = next(table, None)
        except csv.Error as error:
            advice = "Look for a double quote that is not closed or not doubled."
            raise PlacesError(path, f"broken CSV ({error})", advice, row=number or None) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield number, cells
            number += 1


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name and name.casefold() in seen:
            problem = "two columns have this name"
            raise PlacesError(path, problem, "Rename or remove one of them.", column=name)
        seen.add(name.casefold())


# JSON, JSON Lines, GeoJSON


def _read_json(path: Path, stream: io.BufferedReader) -> Iterator[tuple[int, Record]]:
    """Read JSON of any layout.

    Choice: an object that is complete on the first line is a JSON Lines record if more lines
    follow or if it holds no list of places; everything else is one JSON document.
    """
    lines = _decoded(path, stream)
    opening, more = _through_first_filled(lines), _through_first_filled(lines)
    if not "".join(opening).strip():
        raise PlacesError(path, "the file is empty", f"Give a {_KINDS} file with places.")
    everything = chain(opening, more, lines)
    first = _complete_object(opening[-1])
    if first is not None and ("".join(more).strip() or _place_list(first) is None):
        return _records_of_lines(path, everything)
    return _records_of_document(path, _parse(path, "".join(everything)))


def _complete_object(line: str) -> dict[str, object] | None:
    try:
        parsed = json.loads(line.lstrip("\x1e"))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _place_list(document: Mapping[str, object]) -> list[object] | None:
    for name in _LIST_NAMES:
        listed = document.get(name)
        if isinstance(listed, list):
            return listed
    return None


def _records_of_lines(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Record]]:
    number = 0
    for line_number, line in enumerate(lines, start=1):
        text = line.strip().lstrip("\x1e")  # the record separator of GeoJSON text sequences
        if text:
            number += 1
            parsed = _parse(path, text, first_line=line_number, row=number)
            yield number, _as_record(path, number, parsed)


def _records_of_document(path: Path, document: object) -> Iterator[tuple[int, Record]]:
    listed = document
    if isinstance(document, dict):
        listed = [document] if document.get("type") == "Feature" else _place_list(document)
    if not isinstance(listed, list):
        found = f"It has: {', '.join(document)}." if isinstance(document, dict) else ""
        advice = f"Give a list of objects, or an object with a list {' or '.join(_LIST_NAMES)}."
        raise PlacesError(path, "the JSON holds no list of places", f"{advice} {found}".rstrip())
    for number, item in enumerate(listed, start=1):
        yield number, _as_record(path, number, item)


def _as_record(path: Path, number: int, item: object) -> Record:
    if not isinstance(item, dict):
        problem = f"it is not an object but a {type(item).__name__}"
        advice = 'Write each place as {"name": ..., ...}.'
        raise PlacesError(path, problem, advice, row=number)
    return flatten_feature(path, number, item) if item.get("type") == "Feature" else item


def _parse(path: Path, text: str, *, first_line: int = 1, row: int | None = None) -> object:
    try:
        parsed: object = json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        problem = f"invalid JSON at line {line}, column {error.colno} ({error.msg})"
        raise PlacesError(path, problem, "Correct that spot.", row=row) from error
    except (ValueError, RecursionError) as error:
        problem = f"JSON that cannot be read ({error})"
        raise PlacesError(path, problem, "Shorten or flatten its values.", row=row) from error
    return parsed


# Parquet


def _read_parquet(path: Path, stream: io.BufferedReader) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(stream)
        _refuse_repeated(path, file.schema_arrow.names)
        records = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches())
        yield from enumerate(records, start=1)
    except pa.ArrowException as error:
        problem = f"this is not a readable Parquet file ({error})"
        raise PlacesError(path, problem, "Write or download it again.") from error
