"""Where a visual history (H_u, §3) comes from.

A source walks over files and says of each whether it may be a photo; it opens none. Opening is
`visuallens.images`, and turning photos into an augmented history is `visuallens.augment`. A new
source is one file beside these, one line in `visuallens.registry` and one test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from visuallens import registry
from visuallens.errors import SourceError
from visuallens.sources.base import FoundFile, PhotoSource
from visuallens.types import Refusal

__all__ = ["FoundFile", "PhotoSource", "find_files", "open_source"]

_MANIFEST_SUFFIXES = frozenset((".jsonl", ".csv", ".parquet"))


def find_files(photos: Path | str | Sequence[Path | str]) -> Iterator[FoundFile | Refusal]:
    """Find the files of one or several sources.

    Args:
        photos: folders, photos or manifests.

    Returns:
        What the sources find, one after another.

    Raises:
        SourceError: nothing was named.
    """
    paths = [photos] if isinstance(photos, (str, Path)) else list(photos)
    if not paths:
        raise SourceError("photos", "no folder was given", "Name at least one.")
    # Absolute, with links as they are named: a library is asked from any folder.
    sources = [open_source(Path(os.path.abspath(path))) for path in paths]  # noqa: PTH100
    return (found for source in sources for found in source.find())


def open_source(path: Path) -> PhotoSource:
    """Choose the source by what the path is.

    Args:
        path: a folder, one photo, or a manifest (.jsonl, .csv, .parquet).

    Returns:
        The source; a path that does not exist shows when `find` is called.
    """
    is_manifest = path.suffix.lower() in _MANIFEST_SUFFIXES and not path.is_dir()
    source = registry.load("sources", "manifest" if is_manifest else "folder")
    return cast("PhotoSource", source(path))
