"""Where a visual history (H_u, §3) comes from.

A source walks over files and says of each whether it may be a photo; it opens none. Opening is
`visuallens.images`, and turning photos into an augmented history is `visuallens.augment`. A new
source is one file beside these, one line in `visuallens.registry` and one test.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from visuallens import registry
from visuallens.sources.base import FoundFile, PhotoSource

__all__ = ["FoundFile", "PhotoSource", "open_source"]

_MANIFEST_SUFFIXES = frozenset((".jsonl", ".csv", ".parquet"))


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
