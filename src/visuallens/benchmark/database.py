"""DuckDB, set up for sorting and joining more than fits into memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from visuallens.benchmark.base import needs
from visuallens.errors import BenchmarkError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@contextmanager
def database(folder: Path, *, memory_gb: float, threads: int = 1) -> Iterator[DuckDBPyConnection]:
    """Open an empty database in memory that spills to a folder.

    Args:
        folder: what does not fit is written into a temporary folder here, and deleted at the end.
        memory_gb: from which it spills.
        threads: of this database.

    Yields:
        The connection. It loads no extension, so it never asks the network.
    """
    try:
        import duckdb
    except ImportError as error:
        raise needs("duckdb") from error
    with (
        TemporaryDirectory(dir=folder, prefix="spill-") as spill,
        duckdb.connect(
            config={
                "memory_limit": f"{memory_gb * 1000:.0f}MB",
                "threads": threads,
                "temp_directory": spill,
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            }
        ) as connection,
    ):
        connection.execute("SET enable_progress_bar = false")
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise BenchmarkError(
                folder,
                f"sorting and joining need more than {memory_gb:g} GB",
                "Raise benchmark.memory_gb, or take fewer --workers.",
            ) from error


def quoted(path: Path) -> str:
    """Quote a path for `read_parquet`; its last part may be a pattern, the folders are none."""
    return target(re.sub(r"([\[*?])", r"[\1]", str(path.parent)) + f"/{path.name}")


def target(path: Path | str) -> str:
    """Quote a path for `COPY ... TO`."""
    return "'" + str(path).replace("'", "''") + "'"
