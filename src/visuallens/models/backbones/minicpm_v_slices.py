"""How MiniCPM-Llama3-V 2.5 cuts an image: an overview, and slices of it where it is large.

Source: LLaVA-UHD, the adaptive slicing that MiniCPM-V took over (Yao et al. 2024, MiniCPM-V, §3.2),
and the published code of openbmb/MiniCPM-Llama3-V-2_5.
Choice: written anew, because that code comes in several revisions, of which some have no image
    processor and all need one more package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from visuallens.types import FloatArray

_MEAN = _STD = 0.5


@dataclass(frozen=True, slots=True)
class Slices:
    """One image, cut.

    Attributes:
        patches: overview first, then the slices row by row; each (3, patch side, columns) float32
            of -1 to 1, its patches side by side.
        sizes: rows and columns of patches of each.
        grid: rows and columns of slices, or None when the overview is all.
    """

    patches: tuple[FloatArray, ...]
    sizes: tuple[tuple[int, int], ...]
    grid: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Slicer:
    """Cuts images.

    Attributes:
        most_slices: beside the overview.
        side_px: overview and slices have about as many pixels as a square of this side.
        patch_px: side of a patch.
    """

    most_slices: int = 9
    side_px: int = 448
    patch_px: int = 14

    def cut(self, image: Image.Image) -> Slices:
        """Cut one image.

        Args:
            image: RGB, of any size.

        Returns:
            Overview and slices; 896 x 896 px give an overview and 2 x 2 slices of 448 px.
        """
        grid = self.grid(image.width, image.height)
        pieces = [image.resize(self._fit(*image.size, grow=grid is None), Image.Resampling.BICUBIC)]
        if grid is not None:
            pieces += self._tiles(image, *grid)
        rows = [(piece.height // self.patch_px, piece.width // self.patch_px) for piece in pieces]
        return Slices(tuple(self._patches(piece) for piece in pieces), tuple(rows), grid)

    def grid(self, width: int, height: int) -> tuple[int, int] | None:
        """Choose rows and columns of slices.

        Args:
            width: of the image, in pixels.
            height: likewise.

        Returns:
            (rows, columns) whose shape is nearest to the image's, or None for a small image.
        """
        wanted = min(math.ceil(width * height / self.side_px**2), self.most_slices)
        if wanted <= 1:
            return None
        candidates = [
            (count // columns, columns)
            for count in (wanted - 1, wanted, wanted + 1)
            if 1 < count <= self.most_slices
            for columns in range(1, count + 1)
            if count % columns == 0
        ]
        shape = math.log(width / height)
        return min(candidates, key=lambda grid: abs(shape - math.log(grid[1] / grid[0])))

    def _fit(self, width: float, height: float, *, grow: bool) -> tuple[int, int]:
        """Give a size of whole patches with about the pixels of the square, and the same shape."""
        if grow or width * height > self.side_px**2:
            shape = width / height
            height = int(self.side_px / math.sqrt(shape))
            width = int(height * shape)
        return _multiple(width, self.patch_px), _multiple(height, self.patch_px)

    def _tiles(self, image: Image.Image, rows: int, columns: int) -> list[Image.Image]:
        width, height = self._fit(
            _multiple(image.width, columns) / columns,
            _multiple(image.height, rows) / rows,
            grow=True,
        )
        large = image.resize((width * columns, height * rows), Image.Resampling.BICUBIC)
        corners = [(x * width, y * height) for y in range(rows) for x in range(columns)]
        return [large.crop((x, y, x + width, y + height)) for x, y in corners]

    def _patches(self, image: Image.Image) -> FloatArray:
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
        side = self.patch_px
        cut = ((pixels - _MEAN) / _STD).reshape(3, image.height // side, side, -1, side)
        return np.ascontiguousarray(cut.transpose(0, 2, 1, 3, 4).reshape(3, side, -1), np.float32)


def _multiple(length: float, unit: int) -> int:
    return max(round(length / unit) * unit, unit)
