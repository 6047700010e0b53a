"""DuckDB, set up for sorting and joining more than fits into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from visuallens.benchmark.base import needs

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
        yield connection


def quoted(path: Path | str) -> str:
    """Quote a path for SQL, where a parameter is not allowed."""
    return "'" + str(path).replace("'", "''") + "'"
