"""Checks a benchmark folder where it is opened: it may be unfinished, too new, or a stranger's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visuallens.benchmark import schema
from visuallens.errors import BenchmarkFolderError

_OUTSIDE = re.compile(r"^[/.]*$|^/|^[A-Za-z]:|[\\\0]|(^|/)\.\.(/|$)")
"""Paths that are none, or lead out of the folder that they are below, on any system."""


# Any: JSON; `schema.py` says what is in it.
def read_about(folder: Path) -> Mapping[str, Any]:
    """Read benchmark.json.

    Args:
        folder: of a benchmark.

    Returns:
        What it holds; the files of the folder are all there.

    Raises:
        BenchmarkFolderError: it is not a finished benchmark, or of a newer format.
    """
    advice = "Give a folder that visuallens benchmark build has finished."
    try:
        about = json.loads((folder / schema.ABOUT).read_text("utf-8"))
    except FileNotFoundError as error:
        raise BenchmarkFolderError(folder, f"it holds no {schema.ABOUT}", advice) from error
    except (OSError, ValueError) as error:
        raise BenchmarkFolderError(
            folder, f"{schema.ABOUT} cannot be read ({error})", advice
        ) from error
    if (
        not isinstance(about, dict)
        or not {"name", "seed", "settings", "checksum"} <= about.keys()
        or not isinstance(about.get("format"), int)
    ):
        raise BenchmarkFolderError(folder, f"{schema.ABOUT} is not one of a benchmark", advice)
    if about["format"] > schema.FORMAT:
        raise BenchmarkFolderError(
            folder,
            f"its format is {about['format']}, this VisualLens reads up to {schema.FORMAT}",
            "Upgrade VisualLens.",
        )
    missing = [name for name in schema.content_files() if not (folder / name).is_file()]
    if missing:
        raise BenchmarkFolderError(folder, f"it lacks {', '.join(missing)}", advice)
    return about


def photos_folder(folder: Path) -> Path:
    """Locate the folder of the photo files, as local.json says; else FOLDER/photos.

    Args:
        folder: of a benchmark.

    Returns:
        A folder that need not exist.

    Raises:
        BenchmarkFolderError: local.json does not say where.
    """
    local = folder / schema.LOCAL
    if not local.is_file():
        return folder / "photos"
    try:
        photos: str = json.loads(local.read_text("utf-8"))["photos"]
        return (folder / photos).resolve()
    except (ValueError, TypeError, KeyError) as error:
        raise BenchmarkFolderError(
            local,
            "it does not say where the photos are",
            f'Write {{"photos": "FOLDER"}} into it, or delete it if they are in '
            f"{folder / 'photos'}.",
        ) from error


def refuse_outside(path: str | None, table: Path) -> None:
    """Refuse the path of a photo that is none, or leads out of the folder of the photos.

    Args:
        path: below that folder, with slashes.
        table: that says so.

    Raises:
        BenchmarkFolderError: it is absolute, or has a drive, a backslash or "..".

    Choice: refused everywhere, because a benchmark may come from strangers, and other files of this
        machine would be read, shown, exported or written over.
    """
    if path is None or _OUTSIDE.search(path):
        raise BenchmarkFolderError(
            table,
            f"the photo path {path!r} leads out of its folder",
            "Do not trust this benchmark; get it from where it was made.",
        )
