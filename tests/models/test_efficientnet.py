from __future__ import annotations

import torch
from torch import nn

from visuallens.models.efficientnet import EfficientNetLite2, _SameConv2d, load_efficientnet
from visuallens.models.weights import efficientnet_file


def test_every_weight_of_the_file_has_its_place() -> None:
    network = load_efficientnet(efficientnet_file())
    features, logits = network(torch.zeros(1, 3, 260, 260))
    assert features.shape == (1, 1280)
    assert logits.shape == (1, 1000)


def test_feature_map_is_nine_by_nine() -> None:
    assert EfficientNetLite2().feature_map(torch.zeros(1, 3, 260, 260)).shape == (1, 1280, 9, 9)


def test_batch_norm_follows_the_original() -> None:
    norms = [m for m in EfficientNetLite2().modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-3}


def test_same_padding_puts_the_odd_pixel_bottom_right() -> None:
    # 4 px, kernel 3, stride 2: 2 outputs span (2-1)*2+3 = 5 px, so 1 px is added, after the last.
    convolution = _SameConv2d(1, 1, 3, stride=2, bias=False)
    convolution.weight.data.fill_(1.0)
    summed = convolution(torch.arange(16, dtype=torch.float32).reshape(1, 1, 4, 4))
    # Windows at (0,0), (0,2), (2,0), (2,2); the last ones reach into the padding.
    # 0+1+2+4+5+6+8+9+10 = 45; 2+3+6+7+10+11 = 39; 8+9+10+12+13+14 = 66; 10+11+14+15 = 50.
    assert summed.flatten().tolist() == [45.0, 39.0, 66.0, 50.0]
