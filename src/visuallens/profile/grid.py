"""Gridify: many photos as one numbered image (§4.2, preference profiling)."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from visuallens.errors import RequestError

_EMPTY = (0, 0, 0)
_GONE = (48, 48, 48)
_PLATE = (0, 0, 0)
_INK = (255, 255, 255)
_DIGIT_SHARE = 0.22
_LEAST_DIGIT_PX = 9


def gridify(
    images: Sequence[Image.Image | None], *, grid_side: int, image_side_px: int
) -> Image.Image:
    """Lay photos out in a square grid and number them.

    Args:
        images: in the order of their numbers; None is a photo whose file is gone.
        grid_side: d; at most d * d images.
        image_side_px: h.

    Returns:
        One h x h RGB image: d x d cells in reading order, each photo with its number from 1 in
        the corner of its cell, black where there are fewer photos.

    Raises:
        RequestError: there are more photos than cells.

    Source: §4.2, the gridify process G.
    Choice: a photo fills its cell, its longer side cut evenly, so that as many pixels as possible
        carry content and nothing is distorted. Only photos are numbered, not empty cells. A photo
        whose file is gone keeps its number on dark grey.
    """
    if len(images) > grid_side**2:
        raise RequestError(
            f"{len(images)} photos do not fit a grid of {grid_side} x {grid_side}. "
            "Raise profile.grid_side or lower retrieval.max_photos."
        )
    grid = Image.new("RGB", (image_side_px, image_side_px), _EMPTY)
    for number, image in enumerate(images, start=1):
        box = cell_box(number, grid_side, image_side_px)
        size = (box[2] - box[0], box[3] - box[1])
        cell = Image.new("RGB", size, _GONE) if image is None else _fill(image, size)
        _write_number(cell, number)
        grid.paste(cell, box[:2])
    return grid


def cell_box(number: int, grid_side: int, image_side_px: int) -> tuple[int, int, int, int]:
    """Locate one cell.

    Args:
        number: from 1, in reading order.
        grid_side: d.
        image_side_px: h.

    Returns:
        left, top, right, bottom in pixels. The cells tile the image: where d does not divide h,
        some are a pixel larger.
    """
    row, column = divmod(number - 1, grid_side)
    left, right = (image_side_px * edge // grid_side for edge in (column, column + 1))
    top, bottom = (image_side_px * edge // grid_side for edge in (row, row + 1))
    return left, top, right, bottom


def _fill(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return ImageOps.fit(image.convert("RGB"), size, Image.Resampling.BICUBIC)


def _write_number(cell: Image.Image, number: int) -> None:
    """Write white digits on a black plate in the upper left corner."""
    height = max(_LEAST_DIGIT_PX, round(min(cell.size) * _DIGIT_SHARE))
    font = ImageFont.load_default(size=height)
    draw = ImageDraw.Draw(cell)
    left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
    margin = max(1, height // 5)
    plate = (right - left + 2 * margin, bottom - top + 2 * margin)
    draw.rectangle((0, 0, *plate), fill=_PLATE)
    draw.text((margin - left, margin - top), str(number), font=font, fill=_INK)
