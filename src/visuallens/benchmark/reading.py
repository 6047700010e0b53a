"""Reading raw files, line by line, into tables of one shape; what cannot be read is counted.

Each file is one task. Reviews are cut into buckets by user as they are read, because everything
later happens user by user.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visuallens.benchmark.base import (
    Business,
    BusinessPhoto,
    Job,
    MalformedRowError,
    RawFile,
    Review,
    Table,
)
from visuallens.errors import RawDataError

_BATCH = 100_000
"""Rows held as Python objects before they become a table."""

_ROW_GROUP = 1_000_000
"""Rows held as tables before they are written, each bucket's as one row group."""

_SHOWN = 5
"""Malformed rows of a reason that are reported with their line."""

_EARLY = 1000
"""Lines after which a file is given up of which most is malformed."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_WHERE = [("file", pa.int32()), ("line", pa.int64())]

SHAPES: dict[Table, Any] = {  # Any: pyarrow is untyped
    "reviews": pa.schema(
        [
            ("user_id", pa.string()),
            ("business_id", pa.string()),
            ("at_ms", pa.int64()),
            ("photos", pa.list_(pa.string())),
            *_WHERE,
            ("user_hash", pa.uint64()),
        ]
    ),
    "businesses": pa.schema(
        [
            ("business_id", pa.string()),
            ("name", pa.string()),
            ("description", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("latitude", pa.float64()),
            ("longitude", pa.float64()),
            ("rating", pa.float64()),
            ("rating_count", pa.int64()),
            ("source_id", pa.string()),
            *_WHERE,
        ]
    ),
    "photos": pa.schema(
        [
            ("photo_id", pa.string()),
            ("business_id", pa.string()),
            ("path", pa.string()),
            ("caption", pa.string()),
            *_WHERE,
        ]
    ),
}
"""Columns of the tables: those of the records in `base.py`, and where each row stood."""


@dataclass(slots=True)
class FileReport:
    """What was read from one file.

    Attributes:
        file: its name.
        sha256: of its bytes as they lie on the disk.
        bytes: its size.
        rows: read.
        rejected: malformed rows by reason.
        shown: the first malformed rows of each reason, as "FILE, line N: REASON".
    """

    file: str
    table: Table
    sha256: str = ""
    bytes: int = 0
    rows: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def reject(self, line: int, reason: str) -> None:
        """Count a malformed row."""
        count = self.rejected.get(reason, 0)
        if count < _SHOWN:
            self.shown.append(f"{self.file}, line {line}: {reason}")
        self.rejected[reason] = count + 1


@dataclass(frozen=True, slots=True)
class ReadTask:
    """One file to read.

    Attributes:
        number: of the file; orders repeated rows of several files.
        out: folder for `TABLE-NUMBER.parquet`, and for reviews `reviews-NUMBER-BUCKET.parquet`.
        bits: reviews are cut into 2**bits buckets.
    """

    job: Job
    raw: RawFile
    number: int
    out: Path
    bits: int


def read_file(task: ReadTask) -> FileReport:
    """Read one raw file into Parquet.

    Args:
        task: the file, and where its rows go.

    Returns:
        What was read.

    Raises:
        RawDataError: the file cannot be read to its end, or too much of it is malformed.
    """
    raw, out = task.raw, task.out
    report = FileReport(raw.path.name, raw.table)
    stems = [f"{raw.table}-{task.number}"]
    if raw.table == "reviews":
        stems = [f"{raw.table}-{task.number}-{bucket}" for bucket in range(2**task.bits)]
    writers = [pq.ParquetWriter(out / f"{one}.parquet", SHAPES[raw.table]) for one in stems]
    try:
        for table in _tables(task, report):
            for writer, part in zip(writers, _buckets(table, len(writers)), strict=True):
                if part.num_rows:
                    writer.write_table(part)
    finally:
        for writer in writers:
            writer.close()
    _refuse_if_more(raw.path, report, task.job.rules.max_rejected_share)
    if not report.rows and raw.table != "photos":
        raise RawDataError(raw.path, "it holds no row", "Take it away, or download it again.")
    return report


def _tables(task: ReadTask, report: FileReport) -> Iterator[Any]:
    """Yield the rows of a file as tables of `_ROW_GROUP` rows."""
    waiting: list[Any] = []
    for rows in _batches(_rows(task, report)):
        waiting.append(_table(task.raw.table, rows, task.number))
        if sum(table.num_rows for table in waiting) >= _ROW_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


# What a line number stands beside: the row that was read from it.
Numbered = tuple[int, Review | Business | BusinessPhoto]


def _rows(task: ReadTask, report: FileReport) -> Iterator[Numbered]:
    dataset, raw = task.job.dataset(), task.raw
    hopeless = max(0.5, task.job.rules.max_rejected_share)
    for line, text in enumerate(_lines(raw.path, report), start=1):
        try:
            row = dataset.read(raw.table, text) if text.strip() else None
            if isinstance(row, Business) and any(map(str.isspace, row.business_id)):
                raise MalformedRowError("a space in the business's id")  # noqa: TRY301 - see qrels
        except MalformedRowError as error:
            report.reject(line, str(error))
            row = None
        else:
            report.rows += row is not None
        if line % _EARLY == 0:
            _refuse_if_more(raw.path, report, hopeless)
        if row is not None:
            yield line, row


class _Hashing(io.RawIOBase):
    """Passes a file on and computes its checksum on the way."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    # Any: a buffer of any kind, as `io.RawIOBase` has it.
    def readinto(self, buffer: Any) -> int:  # noqa: ANN401
        count = self._file.readinto(buffer)
        self.sha256.update(memoryview(buffer)[:count])
        self.count += count
        return count


def _lines(path: Path, report: FileReport) -> Iterator[bytes]:
    whole = 0
    try:
        with path.open("rb") as file:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
            hashing = _Hashing(file)
            plain = io.BufferedReader(hashing, 1 << 20)
            # Any: a gzip file and a plain one are read alike.
            stream: Any = gzip.GzipFile(fileobj=plain) if zipped else plain
            for whole, text in enumerate(stream, start=1):
                yield text.removeprefix(_BYTE_ORDER_MARK) if whole == 1 else text
            report.sha256, report.bytes = hashing.sha256.hexdigest(), hashing.count
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RawDataError(
            path, f"its gzip data breaks off or is damaged ({error})", "Download it again.",
            line=whole + 1,
        ) from error  # fmt: skip
    except OSError as error:
        raise RawDataError(
            path, f"it cannot be read ({error.strerror or error})", "Check the file and the disk."
        ) from error


def _refuse_if_more(path: Path, report: FileReport, share: float) -> None:
    """Refuse a file of which more than this share is malformed."""
    bad = sum(report.rejected.values())
    if bad <= share * (bad + report.rows):
        return
    reasons = ", ".join(f"{count:,} x {reason}" for reason, count in report.rejected.items())
    raise RawDataError(
        path,
        f"{bad:,} of {bad + report.rows:,} rows are malformed: {reasons} "
        f"(for instance {report.shown[0]})",
        "Check that this is the right file, or raise benchmark.max_rejected_share.",
    )


def _batches(rows: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    batch: list[Numbered] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _table(table: Table, rows: Sequence[Numbered], number: int) -> Any:  # noqa: ANN401 - pyarrow
    shape = SHAPES[table]
    columns = list(zip(*(row for _, row in rows), strict=True))
    arrays = [pa.array(column, shape.field(at).type) for at, column in enumerate(columns)]
    arrays.append(pa.array(np.full(len(rows), number, np.int32)))
    arrays.append(pa.array([line for line, _ in rows], pa.int64()))
    if table == "reviews":
        arrays.append(pa.array(user_hashes(arrays[0])))
    return pa.table(arrays, schema=shape)


def _buckets(table: Any, count: int) -> Iterator[Any]:  # noqa: ANN401 - pyarrow is untyped
    """Cut a table by the leading bits of the user's hash."""
    if count == 1:
        yield table
        return
    shift = np.uint64(64 - (count - 1).bit_length())
    bucket = table.column("user_hash").to_numpy() >> shift
    order = np.argsort(bucket, kind="stable")
    ends = np.searchsorted(bucket[order], np.arange(1, count + 1, dtype=np.uint64))
    ordered = table.take(pa.array(order))
    start = 0
    for end in ends.tolist():
        yield ordered.slice(start, end - start)
        start = end


def user_hashes(user_ids: Any) -> NDArray[np.uint64]:  # noqa: ANN401 - an Arrow array of text
    """Hash user ids to 64 bits; users are ordered and cut into buckets by it.

    Args:
        user_ids: (rows,) text.

    Returns:
        (rows,) uint64; the same on every machine.
    """
    known = user_ids.dictionary_encode()
    digests = [text_hash(one) for one in known.dictionary.to_pylist()]
    hashes: NDArray[np.uint64] = np.array(digests, np.uint64)[known.indices.to_numpy()]
    return hashes


def text_hash(text: str) -> int:
    """Hash a text to an unsigned 64-bit number, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
