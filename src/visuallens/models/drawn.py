"""`drawn`: reads the drawn photos of the synthetic world, and nothing else.

It finds the signs in the pixels: it embeds the skyline, captions the thing, and names the mood as
the aspect word. It does not say the colour of the walls, which is left to whoever sees the grid. Of
an ordinary photo it says nothing.

Source: §4.1, with drawings in the place of photos.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visuallens.config import Settings
from visuallens.drawn import KINDS, SIDE_PX, SKYLINE_CELLS, read_mood, read_skyline, read_thing
from visuallens.drawn import skyline as skyline_of
from visuallens.models.base import Description, PhotoReadings, PreparedPhoto
from visuallens.types import FloatArray, PhotoMetadata

_DIM = SKYLINE_CELLS[0] * SKYLINE_CELLS[1]
_UNRELATED = 40

Flags = NDArray[np.bool_]


class DrawnModel:
    """See `PhotoModel`.

    Choice: the name of a kind of place is embedded as its skyline; any other text as signs drawn
        from its digest, so that equal texts are equal and others are strangers.
    """

    id = "drawn@1"
    prompt_version = "drawn-1"
    input_side_px = SIDE_PX
    encodes = True
    describes = True

    def load(self) -> None:
        """Nothing is to be loaded."""

    @property
    def sentences(self) -> DrawnModel:
        """Embeds texts among texts."""
        return self

    def prepare(self, image: Image.Image) -> PreparedPhoto:
        """See `PhotoReader.prepare`; (128, 128, 3) uint8."""
        size = (SIDE_PX, SIDE_PX)
        small = image if image.size == size else image.resize(size, Image.Resampling.BOX)
        return np.asarray(small.convert("RGB"))

    def read(
        self, inputs: Sequence[PreparedPhoto], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        """See `PhotoReader.read`; captions say no date and no place."""
        del metadata
        return PhotoReadings(self._embed(inputs), tuple(_describe(pixels) for pixels in inputs))

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        """See `ImageEncoder.encode_images`."""
        return self._embed([self.prepare(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `TextEncoder.encode_texts`."""
        rows = [skyline_of(text).ravel() if text in KINDS else _signs_of(text) for text in texts]
        return _unit(rows)

    def encode_categories(self, categories: Sequence[str]) -> FloatArray:
        """See `PhotoModel.encode_categories`."""
        return self.encode_texts(categories)

    @cached_property
    def unrelated(self) -> FloatArray:
        """See `PhotoModel.unrelated`."""
        return self.encode_texts([f"thing {number}" for number in range(_UNRELATED)])

    def _embed(self, inputs: Sequence[PreparedPhoto]) -> FloatArray:
        return _unit([read_skyline(pixels).ravel() for pixels in inputs])


def drawn(settings: Settings) -> DrawnModel:
    """Make the model; what is registered."""
    del settings
    return DrawnModel()


def _describe(pixels: PreparedPhoto) -> Description:
    thing, mood = read_thing(pixels), read_mood(pixels)
    return Description(f"A {thing}" if thing else "", (mood,) if mood else ())


def _signs_of(text: str) -> Flags:
    digest = hashlib.blake2b(text.encode(), digest_size=_DIM // 8).digest()
    return np.asarray(np.unpackbits(np.frombuffer(digest, np.uint8)), np.bool_)


def _unit(rows: Sequence[Flags]) -> FloatArray:
    """Turn rows of flags into unit vectors of minus and plus."""
    signs = np.array(rows, np.float32).reshape(len(rows), _DIM) * 2 - 1
    return np.asarray(signs / np.sqrt(_DIM), np.float32)
