"""EfficientNet-Lite2 image classifier, read from weights that come inside a Python package.

The architecture follows the EfficientNet-Lite family: EfficientNet without squeeze-and-excitation
and with ReLU6, so that it runs well on small machines.

Source: Tan and Le 2019 (EfficientNet, compound scaling); width 1.1, depth 1.2, 260 px for Lite2.
Choice: our own module, because the libraries that carry this network cannot be imported without
    a gigabyte of packages that nothing else here needs; a strict load proves it is the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

INPUT_SIDE_PX = 260
FEATURE_DIM = 1280
CLASSES = 1000

_STEM_CHANNELS = 32
_BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True, slots=True)
class _Stage:
    """A run of inverted residual blocks that share their shape."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Base network scaled by width 1.1 and depth 1.2; Lite variants leave the first and the last stage
# and the stem unscaled in depth.
_STAGES = (
    _Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    _Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=24),
    _Stage(blocks=3, kernel=5, stride=2, expansion=6, channels=48),
    _Stage(blocks=4, kernel=3, stride=2, expansion=6, channels=88),
    _Stage(blocks=4, kernel=5, stride=1, expansion=6, channels=120),
    _Stage(blocks=5, kernel=5, stride=2, expansion=6, channels=208),
    _Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=352),
)


class _SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's "SAME": the odd pixel goes to the bottom and right."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        top_bottom = _same_padding(height, self.kernel_size[0], self.stride[0])
        left_right = _same_padding(width, self.kernel_size[1], self.stride[1])
        padded = functional.pad(images, (*left_right, *top_bottom))
        return functional.conv2d(
            padded, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups
        )


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _Block(nn.Module):
    """Inverted residual block: expand, depth-wise convolution, project."""

    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        if stage.expansion > 1:
            self._expand_conv = _SameConv2d(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=_BATCH_NORM_EPS)
        self._depthwise_conv = _SameConv2d(
            hidden, hidden, stage.kernel, stride=stride, groups=hidden, bias=False
        )
        self._bn1 = nn.BatchNorm2d(hidden, eps=_BATCH_NORM_EPS)
        self._project_conv = _SameConv2d(hidden, stage.channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(stage.channels, eps=_BATCH_NORM_EPS)
        self._expands = stage.expansion > 1
        self._skips = stride == 1 and inputs == stage.channels

    def forward(self, features: Tensor) -> Tensor:
        hidden = features
        if self._expands:
            hidden = functional.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        projected: Tensor = self._bn2(self._project_conv(hidden))
        return projected + features if self._skips else projected


class EfficientNetLite2(nn.Module):
    """The classifier; parameter names are those of the weight file, so that it loads strictly."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, _STEM_CHANNELS, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(_STEM_CHANNELS, eps=_BATCH_NORM_EPS)
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = _SameConv2d(_STAGES[-1].channels, FEATURE_DIM, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(FEATURE_DIM, eps=_BATCH_NORM_EPS)
        self._fc = nn.Linear(FEATURE_DIM, CLASSES)

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the last feature map.

        Args:
            images: (batch, 3, 260, 260) float32, (pixel - 127) / 128.

        Returns:
            (batch, 1280, 9, 9) float32.
        """
        hidden = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            hidden = block(hidden)
        return functional.relu6(self._bn1(self._conv_head(hidden)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Classify images.

        Args:
            images: (batch, 3, 260, 260) float32, (pixel - 127) / 128.

        Returns:
            features (batch, 1280) float32, the mean of the feature map; logits (batch, 1000)
            float32 over the ImageNet classes.
        """
        features = self.feature_map(images).mean(dim=(2, 3))
        return features, self._fc(features)

    def class_vectors(self) -> NDArray[np.float32]:
        """Return the classifier's own vector for each class, (1000, 1280) float32."""
        return self._fc.weight.detach().numpy()


def _blocks() -> list[_Block]:
    blocks = []
    inputs = _STEM_CHANNELS
    for stage in _STAGES:
        for index in range(stage.blocks):
            blocks.append(_Block(inputs, stage, stage.stride if index == 0 else 1))
            inputs = stage.channels
    return blocks


def load_efficientnet(path: Path) -> EfficientNetLite2:
    """Read the weight file into the network, every parameter by name.

    Args:
        path: a PyTorch file; read with `weights_only`, so it cannot run code.

    Returns:
        The network in evaluation mode.
    """
    network = EfficientNetLite2()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return network.eval()
