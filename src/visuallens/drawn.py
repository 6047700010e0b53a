"""Drawn photos: what a synthetic photo shows, how it is drawn, and how it is read again.

Three parts of a photo carry three different things, and none tells what another does. The colour of
the walls fills the picture, so a small cell of a grid still shows it. Two signs of small squares,
one for a thing and one for a mood, are for a sharp eye: in a small cell all are the same grey. The
dark skyline below tells what kind of place it is.

Choice: signs are rows of the Hadamard matrix of order 16, so any two differ in 8 of 16 squares, and
    neither noise nor JPEG turns one into another; and of these, rows that are half black in each
    quarter, so that a pixel of 8 x 8 shows the same grey whatever the sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 128
"""Of a drawn photo."""

KINDS = ("cafe", "museum", "garden", "market")
COLOURS = {
    "amber": (240, 180, 40),
    "crimson": (205, 35, 60),
    "azure": (50, 120, 235),
    "jade": (40, 180, 105),
}
THINGS = ("lantern", "fountain", "piano", "mosaic")
MOODS = ("quiet", "festive", "rustic", "modern")

SKYLINE_CELLS = (4, 8)
"""Rows and columns of the lowest quarter, each dark or not."""

_SQUARE_PX = 4
_SQUARES = 4
_SIGN_PX = _SQUARE_PX * _SQUARES
_THING_AT, _MOOD_AT = (40, 24), (40, 80)
_INK, _PAPER, _NOISE = 16, 240, 12
_DARK = 80
_LEAST_CONTRAST = 60
_THING_ROWS, _MOOD_ROWS = (1, 3, 4, 5), (6, 7, 9, 11)
_HEIGHTS = {
    "cafe": (1, 1, 4, 4, 1, 1, 1, 1),
    "museum": (4, 1, 4, 1, 4, 1, 4, 1),
    "garden": (1, 2, 3, 4, 4, 3, 2, 1),
    "market": (4, 4, 4, 4, 0, 0, 0, 0),
}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a drawn photo shows.

    Attributes:
        kind: of the place; one of `KINDS`.
        colour: of the walls; one of `COLOURS`.
        thing: one of `THINGS`, or None where the photo shows none.
        mood: one of `MOODS`, or None.
    """

    kind: str
    colour: str
    thing: str | None = None
    mood: str | None = None


def draw_scene(scene: Scene, generator: np.random.Generator) -> Image.Image:
    """Draw a photo.

    Args:
        scene: what it shows.
        generator: draws the noise of the sensor, so that no two photos have the same bytes.

    Returns:
        A square RGB image of `SIDE_PX`.
    """
    pixels = np.empty((SIDE_PX, SIDE_PX, 3), np.float32)
    pixels[:] = COLOURS[scene.colour]
    rows, _ = SKYLINE_CELLS
    cell_px = SIDE_PX // 4 // rows
    dark = skyline(scene.kind).repeat(cell_px, 0).repeat(SIDE_PX // SKYLINE_CELLS[1], 1)
    pixels[SIDE_PX - len(dark) :][dark] = _INK
    for row, place in ((_thing_row(scene), _THING_AT), (_mood_row(scene), _MOOD_AT)):
        if row is not None:
            top, left = place
            black = _signs()[row].repeat(_SQUARE_PX, 0).repeat(_SQUARE_PX, 1)
            sign = np.where(black, _INK, _PAPER)[..., None]
            pixels[top : top + _SIGN_PX, left : left + _SIGN_PX] = sign
    pixels += generator.integers(-_NOISE, _NOISE + 1, pixels.shape, np.int8)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def skyline(kind: str) -> NDArray[np.bool_]:
    """Give the skyline of a kind of place.

    Args:
        kind: one of `KINDS`.

    Returns:
        `SKYLINE_CELLS` bool, dark or not, the highest row first.
    """
    rows, _ = SKYLINE_CELLS
    levels = rows - np.arange(rows)[:, None]
    return np.asarray(np.array(_HEIGHTS[kind])[None, :] >= levels)


def read_skyline(pixels: Pixels) -> NDArray[np.bool_]:
    """Read the skyline of any picture.

    Args:
        pixels: (`SIDE_PX`, `SIDE_PX`, 3) uint8.

    Returns:
        `SKYLINE_CELLS` bool; where a picture is not drawn, whatever is dark there.
    """
    rows, columns = SKYLINE_CELLS
    lowest = pixels[-(SIDE_PX // 4) :].max(axis=2).astype(np.float32)
    means = lowest.reshape(rows, -1, columns, SIDE_PX // columns).mean(axis=(1, 3))
    return np.asarray(means < _DARK)


def read_thing(pixels: Pixels) -> str | None:
    """Read the thing of a photo.

    Args:
        pixels: (`SIDE_PX`, `SIDE_PX`, 3) uint8.

    Returns:
        The word; None where its sign is missing or cannot be read.
    """
    return _read_sign(pixels, _THING_AT, THINGS, _THING_ROWS)


def read_mood(pixels: Pixels) -> str | None:
    """Read the mood of a photo.

    Args:
        pixels: (`SIDE_PX`, `SIDE_PX`, 3) uint8.

    Returns:
        The word; None where its sign is missing or cannot be read.
    """
    return _read_sign(pixels, _MOOD_AT, MOODS, _MOOD_ROWS)


def _read_sign(
    pixels: Pixels, place: tuple[int, int], words: Sequence[str], rows: Sequence[int]
) -> str | None:
    top, left = place
    grey = pixels[top : top + _SIGN_PX, left : left + _SIGN_PX].mean(axis=2)
    means = grey.reshape(_SQUARES, _SQUARE_PX, _SQUARES, _SQUARE_PX).mean(axis=(1, 3))
    if (abs(means - (_INK + _PAPER) / 2) < _LEAST_CONTRAST).any():
        return None
    black = means < (_INK + _PAPER) / 2
    matching = np.flatnonzero((_signs()[list(rows)] == black).all(axis=(1, 2)))
    return words[int(matching[0])] if len(matching) else None


def _thing_row(scene: Scene) -> int | None:
    return None if scene.thing is None else _THING_ROWS[THINGS.index(scene.thing)]


def _mood_row(scene: Scene) -> int | None:
    return None if scene.mood is None else _MOOD_ROWS[MOODS.index(scene.mood)]


def _signs() -> NDArray[np.bool_]:
    """The Hadamard matrix of order 16 as 16 signs; Sylvester's construction."""
    numbers = np.arange(_SQUARES**2)
    odd = np.bitwise_count(numbers[:, None] & numbers[None, :]) % 2 == 1
    return np.asarray(odd.reshape(-1, _SQUARES, _SQUARES), np.bool_)
