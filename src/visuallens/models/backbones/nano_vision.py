"""What `nano` sees: EfficientNet-Lite2's feature map, pooled to pieces in reading order."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from visuallens.models.base import PromptImage
from visuallens.models.embedded import CLASSIFIER_ID, EmbeddedModel
from visuallens.models.runtime import Network, load_network
from visuallens.models.weights import efficientnet_file
from visuallens.types import FloatArray

if TYPE_CHECKING:
    from torch import nn

_WHOLE_SIDE = 8
_CELL_SIDE = 2
_LEAST_CROWDED = 4

_MAP_SIDE = 9
_REMEMBERED = 16_384
"""Pieces that are kept, 84 MB: training and evaluation show the same cells again."""

_BATCH = 16


class NanoVision:
    """Turns images into pieces.

    Args:
        by_cell: the photos of a grid are read one by one at full resolution, instead of the grid
            as one image.

    Choice: cell by cell. A cell of an 8 x 8 grid is 32 px wide when the grid is one image of 260
        px; read alone it is 260 px, and a linear probe tells far more of it
        (docs/measurements.md), for about a third of a second more. A photo, or a cell of a grid of
        up to 3 x 3, has 2 x 2 pieces, a cell of a larger grid one: soft words tell about as much of
        a photo by one piece as by sixteen, and pieces make prompts long. A grid that is read as one
        image has 8 x 8.
    """

    def __init__(self, *, by_cell: bool = True) -> None:
        self._by_cell = by_cell
        self._model = EmbeddedModel()
        self._known: OrderedDict[str, FloatArray] = OrderedDict()
        self._kept = 0

    def layout(self, image: PromptImage) -> tuple[int, int]:
        """Count the cells that an image is read as, and the pieces of each."""
        side = self._side(image)
        return side**2, self._pieces_per_side(side) ** 2

    def __call__(self, images: Sequence[PromptImage]) -> FloatArray:
        """Read images.

        Args:
            images: photos and grids.

        Returns:
            (pieces of all images, 1280) float32. A grid gives its cells in reading order, each
            cell its own pieces in reading order.
        """
        return np.concatenate([self._read(image) for image in images])

    def _side(self, image: PromptImage) -> int:
        return image.grid_side if self._by_cell else 1

    def _pieces_per_side(self, side: int) -> int:
        if not self._by_cell:
            return _WHOLE_SIDE
        return 1 if side >= _LEAST_CROWDED else _CELL_SIDE

    def _read(self, image: PromptImage) -> FloatArray:
        """Read the cells of an image; those alike, and the last ones, are read once."""
        side = self._side(image)
        per_side = self._pieces_per_side(side)
        cells = [*_cells(image.image, side)]
        keys = [_digest(cell, per_side) for cell in cells]
        found = {key: self._known[key] for key in keys if key in self._known}
        new = {key: cell for key, cell in zip(keys, cells, strict=True) if key not in found}
        read = [*new.items()]
        for start in range(0, len(read), _BATCH):
            some = read[start : start + _BATCH]
            inputs = np.stack([self._model.prepare(cell) for _, cell in some])
            pooled = np.split(_pool(self._map(inputs)[0], per_side), len(some))
            found |= {key: pieces for (key, _), pieces in zip(some, pooled, strict=True)}
        self._remember({key: found[key] for key in new})
        return np.concatenate([found[key] for key in keys])

    def _remember(self, cells: Mapping[str, FloatArray]) -> None:
        """Keep the pieces of cells, and let the oldest go."""
        self._known |= cells
        self._kept += sum(map(len, cells.values()))
        while self._kept > _REMEMBERED:
            self._kept -= len(self._known.popitem(last=False)[1])

    @cached_property
    def _map(self) -> Network:
        example = np.zeros((2, 3, 260, 260), np.float32)
        return load_network(f"{CLASSIFIER_ID}-map", _build, [example], runtime="openvino")


def _digest(cell: Image.Image, pieces_per_side: int) -> str:
    """Tell a cell, read in so many pieces, from others."""
    digest = hashlib.sha256(cell.tobytes())
    digest.update(repr((cell.size, pieces_per_side)).encode())
    return digest.hexdigest()


def _cells(image: Image.Image, side: int) -> Iterator[Image.Image]:
    """Cut an image into side x side cells, in reading order."""
    width, height = image.size
    for row in range(side):
        for column in range(side):
            box = (
                column * width // side,
                row * height // side,
                (column + 1) * width // side,
                (row + 1) * height // side,
            )
            yield image.crop(box)


def _pool(maps: FloatArray, side: int) -> FloatArray:
    """Average (images, 1280, 9, 9) maps over side x side regions; (images * side**2, 1280).

    Regions overlap by at most one position where `side` does not divide 9.
    """
    bounds = [(at * _MAP_SIDE // side, -(-(at + 1) * _MAP_SIDE // side)) for at in range(side)]
    regions = [
        maps[:, :, top:bottom, left:right].mean(axis=(2, 3))
        for top, bottom in bounds
        for left, right in bounds
    ]
    return np.stack(regions, axis=1).reshape(-1, maps.shape[1])


def _build() -> nn.Module:
    import torch

    from visuallens.models.efficientnet import load_efficientnet

    network = load_efficientnet(efficientnet_file())

    class FeatureMap(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network.feature_map(images)

    return FeatureMap().eval()
