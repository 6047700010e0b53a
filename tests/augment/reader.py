"""A real, small reader for tests: embeds a photo by its mean colours in an 8 x 8 grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from visuallens.models.base import Description, PhotoReadings
from visuallens.types import FloatArray, PhotoMetadata


class ColourReader:
    """Counts what it reads, so that tests can see what was computed."""

    prompt_version = "colours-1"
    input_side_px = 16
    encodes = True
    describes = True

    def __init__(self, name: str = "colours") -> None:
        self.id = f"{name}@1"
        self.photos_read = 0

    def prepare(self, image: Image.Image) -> FloatArray:
        return np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.float32) / np.float32(255)

    def read(
        self, inputs: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        assert len(inputs) == len(metadata)
        self.photos_read += len(inputs)
        rows = np.stack(inputs).reshape(len(inputs), -1) + 1e-3
        embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        words = [("red", "green", "blue")[int(row.reshape(-1, 3).mean(0).argmax())] for row in rows]
        descriptions = tuple(Description(f"A {word} photo", (word,)) for word in words)
        return PhotoReadings(np.asarray(embeddings, np.float32), descriptions)
