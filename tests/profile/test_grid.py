from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visuallens.errors import RequestError
from visuallens.profile.grid import cell_box, gridify


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (90, 60)) -> Image.Image:
    return Image.new("RGB", size, colour)


@given(grid_side=st.integers(1, 16), image_side_px=st.integers(64, 300))
def test_cells_tile_the_image(grid_side: int, image_side_px: int) -> None:
    covered = np.zeros((image_side_px, image_side_px), int)
    for number in range(1, grid_side**2 + 1):
        left, top, right, bottom = cell_box(number, grid_side, image_side_px)
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


def test_photos_stand_in_reading_order_and_the_rest_is_black() -> None:
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    grid = gridify([plain(red), plain(green), plain(blue)], grid_side=2, image_side_px=101)
    assert grid.size == (101, 101)
    assert grid.mode == "RGB"
    assert [grid.getpixel(xy) for xy in ((40, 40), (90, 40), (40, 90))] == [red, green, blue]
    assert not np.asarray(grid)[51:, 51:].any()


def test_a_photo_whose_file_is_gone_is_grey_with_its_number() -> None:
    grid = np.asarray(gridify([None], grid_side=1, image_side_px=100))
    assert (grid[-1, -1] == 48).all()
    assert (grid == 255).any()


@pytest.mark.parametrize("number", [1, 8, 64])
def test_numbers_are_legible_in_the_paper_layout(number: int) -> None:
    white = [plain((255, 255, 255))] * number
    grid = np.asarray(gridify(white, grid_side=8, image_side_px=896))
    left, top, right, bottom = cell_box(number, 8, 896)
    cell = grid[top:bottom, left:right].mean(axis=2)
    plate = cell[: np.flatnonzero(cell[:, 0] > 250)[0], : np.flatnonzero(cell[0] > 250)[0]]
    ink = plate > 128
    height = np.flatnonzero(ink.any(axis=1))
    assert height[-1] - height[0] + 1 >= 0.12 * (bottom - top)
    # Relative luminance 1 against 0: contrast (1 + 0.05) / (0 + 0.05) = 21.
    assert plate.max() > 250
    assert plate.min() < 5
    assert 0.05 < ink.mean() < 0.6


def test_nothing_is_distorted() -> None:
    wide = np.zeros((50, 200, 3), np.uint8)
    wide[:, 75:125] = 255  # a square in the middle
    cell = np.asarray(gridify([Image.fromarray(wide)], grid_side=1, image_side_px=200))[150:, :]
    columns = np.flatnonzero(cell[0, :, 0] > 128)
    assert abs(len(columns) - 200) <= 4  # 50 px of 50 px height fill 200 px of 200 px height


def test_more_photos_than_cells_are_refused() -> None:
    with pytest.raises(RequestError, match="do not fit"):
        gridify([None] * 5, grid_side=2, image_side_px=64)


def test_no_photos_are_a_black_image() -> None:
    assert not np.asarray(gridify([], grid_side=8, image_side_px=64)).any()
