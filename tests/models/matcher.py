"""A matcher of small random weights, as if trained."""

from __future__ import annotations

import torch

from visuallens.models.attention import AttentionHead, AttentionMatcher, MatcherShape, Memory


def draw_matcher(
    photo_dim: int, text_dim: int, *, encoder: str = "colours@1", history: bool = True
) -> AttentionMatcher:
    """Draw all weights, also those that training begins with at zero."""
    shape = MatcherShape(
        photo_dim, text_dim, image_dims=3, text_dims=2, factors=4, width=8, heads=2, history=history
    )
    generator = torch.Generator().manual_seed(0)
    memory, head = Memory(shape, landmarks=5, described=4), AttentionHead(shape)
    for part in (memory, head):
        for name, value in part.state_dict().items():
            if "scale" not in name:
                value.copy_(torch.randn(value.shape, generator=generator) / 2)
    memory.number_scales.fill_(1)
    return AttentionMatcher(memory, head, encoder).eval()
