"""Writing a benchmark folder so that it is either finished or not there.

A folder is written beside its final place and renamed at the end. Parquet is written row group by
row group, so memory does not grow with the benchmark, and without any clock or path in it: the same
rows give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from visuallens.benchmark import schema
from visuallens.errors import BenchmarkFolderError

_ROW_GROUP = 8192


class TableWriter:
    """Writes one Parquet file in row groups of a fixed size, whatever the size of what comes in.

    Args:
        path: the file; its folder exists.
        columns: an Arrow schema.
        group_rows: rows of a row group.
    """

    # Any: pyarrow is untyped.
    def __init__(self, path: Path, columns: Any, group_rows: int = _ROW_GROUP) -> None:  # noqa: ANN401
        self._columns = columns
        self._group_rows = group_rows
        self._file = pq.ParquetWriter(path, columns, compression="zstd")
        self._waiting: list[Any] = []
        self._rows = 0

    def write(self, table: Any) -> None:  # noqa: ANN401 - pyarrow is untyped
        """Add the rows of an Arrow table with these columns."""
        self._waiting.append(table.select(self._columns.names).cast(self._columns))
        self._rows += table.num_rows
        while self._rows >= self._group_rows:
            self._flush(self._group_rows)

    def _flush(self, rows: int) -> None:
        whole = pa.concat_tables(self._waiting).combine_chunks()
        self._file.write_table(whole.slice(0, rows), row_group_size=self._group_rows)
        self._waiting, self._rows = [whole.slice(rows)], self._rows - rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._rows:
            self._flush(self._rows)
        self._file.close()


class QrelsWriter:
    """Writes ground truth as TREC qrels: `example_id 0 candidate_id 1`, one pair a line.

    Args:
        path: the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def write(self, example_id: str, ground_truth: Iterable[str]) -> None:
        """Add the ground truth of one example."""
        for candidate_id in sorted(ground_truth):
            self._file.write(f"{example_id} 0 {candidate_id} 1\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


# Any: JSON; `schema.py` says what is in it.
def finish(folder: Path, out: Path, about: Mapping[str, Any], photos: Path) -> dict[str, Any]:
    """Complete a folder with its checksums and move it to where it belongs.

    Args:
        folder: holds every file of `schema.content_files`; on the same disk as `out`.
        out: the final place; does not exist, or is an empty folder.
        about: name, seed, settings, sources, counts.
        photos: folder that the paths of photos are below, on this machine.

    Returns:
        What benchmark.json holds.

    Raises:
        BenchmarkFolderError: there is something at `out` already.
    """
    refuse_existing(out)
    files = {name: file_checksum(folder / name) for name in sorted(schema.content_files())}
    whole = {"format": schema.FORMAT, **about, "files": files, "checksum": checksum(files)}
    write_json(folder / schema.ABOUT, whole)
    inside = photos.is_relative_to(out)
    write_json(
        folder / schema.LOCAL, {"photos": str(photos.relative_to(out) if inside else photos)}
    )
    if not out.exists():
        folder.rename(out)
        return whole
    # An empty folder may be where somebody stands; what makes it a benchmark comes last.
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == schema.ABOUT):
        entry.rename(out / entry.name)
    folder.rmdir()
    return whole


def refuse_existing(out: Path) -> None:
    """Refuse to write where there is something already.

    Args:
        out: where a folder is to be.

    Raises:
        BenchmarkFolderError: `out` is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BenchmarkFolderError(
            out, "there is something here already", "Choose another --out, or delete it first."
        )


def file_checksum(path: Path) -> str:
    """Compute the sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(files: Mapping[str, str]) -> str:
    """Compute the checksum of a benchmark from those of its files.

    Choice: of the bytes of the files, so that `sha256sum` can check it; another version of the
        Parquet writer may give other bytes for the same rows.
    """
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write JSON that is the same for the same record, and whole or not at all."""
    text = json.dumps(record, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    waiting = path.with_name(path.name + ".part")
    waiting.write_text(text, encoding="utf-8")
    waiting.replace(path)


def discard(folder: Path) -> None:
    """Delete an unfinished folder, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)
