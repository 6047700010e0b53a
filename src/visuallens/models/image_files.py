"""Embeds image files of candidates, each once while the process lives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visuallens.errors import PhotoError
from visuallens.images import open_photo
from visuallens.models.base import PhotoReader
from visuallens.types import FloatArray


class ImageFileEncoder:
    """Turns paths of image files into embeddings.

    Args:
        reader: embeds the images.
        max_pixels: larger pictures are not opened.
    """

    def __init__(self, reader: PhotoReader, max_pixels: int) -> None:
        self._reader = reader
        self._max_pixels = max_pixels
        self._known: dict[str, FloatArray | None] = {}

    def __call__(self, paths: Sequence[str]) -> dict[str, FloatArray]:
        """Embed files.

        Args:
            paths: any; those that cannot be opened are left out.

        Returns:
            Path to (dim,) float32, unit length.

        Choice: a place with a broken picture is still a place, so nothing is raised.
        """
        for path in paths:
            if path not in self._known:
                self._known[path] = self._embedding(path)
        known = {path: self._known[path] for path in paths}
        return {path: row for path, row in known.items() if row is not None}

    def _embedding(self, path: str) -> FloatArray | None:
        side_px = self._reader.input_side_px
        try:
            photo = open_photo(Path(path), min_side_px=side_px, max_pixels=self._max_pixels)
        except PhotoError:
            return None
        readings = self._reader.read([self._reader.prepare(photo.image)], [photo.metadata])
        return None if readings.embeddings is None else readings.embeddings[0]
