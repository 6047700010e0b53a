"""What `nano` sees: EfficientNet-Lite2's feature map, pooled to pieces in reading order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
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

PIECES_SIDE = 8
"""An image becomes 8 x 8 pieces."""

_MAP_SIDE = 9
_REMEMBERED = 256
"""Images whose pieces are kept, at most 84 MB: training and evaluation show the same ones again."""

_BATCH = 16


class NanoVision:
    """Turns images into pieces.

    Args:
        by_cell: the photos of a grid are read one by one at full resolution, instead of the grid
            as one image.

    Choice: cell by cell. A cell of an 8 x 8 grid is 32 px wide when the grid is one image of 260
        px; read alone it is 260 px, and a linear probe tells far more of it
        (docs/measurements.md), for about a third of a second more.
    """

    def __init__(self, *, by_cell: bool = True) -> None:
        self._by_cell = by_cell
        self._model = EmbeddedModel()
        self._known: OrderedDict[str, FloatArray] = OrderedDict()

    def pieces(self, image: PromptImage) -> int:
        """Count the pieces that an image becomes."""
        side = image.grid_side if self._by_cell else 1
        return (side * _pieces_per_side(side)) ** 2

    def __call__(self, images: Sequence[PromptImage]) -> FloatArray:
        """Read images.

        Args:
            images: photos and grids.

        Returns:
            (pieces of all images, 1280) float32. A grid gives its cells in reading order, each
            cell its own pieces in reading order.
        """
        return np.concatenate([self._remembered(image) for image in images])

    def _remembered(self, image: PromptImage) -> FloatArray:
        """Read an image, unless it is one of the last ones; a profile is asked more than once."""
        key = image.digest
        if key not in self._known:
            self._known[key] = self._read(image)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]

    def _read(self, image: PromptImage) -> FloatArray:
        side = image.grid_side if self._by_cell else 1
        inputs = [self._model.prepare(cell) for cell in _cells(image.image, side)]
        pooled = [
            _pool(self._map(np.stack(inputs[start : start + _BATCH]))[0], _pieces_per_side(side))
            for start in range(0, len(inputs), _BATCH)
        ]
        return np.concatenate(pooled)

    @cached_property
    def _map(self) -> Network:
        example = np.zeros((2, 3, 260, 260), np.float32)
        return load_network(f"{CLASSIFIER_ID}-map", _build, [example], runtime="openvino")


def _pieces_per_side(grid_side: int) -> int:
    return max(1, PIECES_SIDE // grid_side)


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
