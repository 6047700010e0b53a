from __future__ import annotations

import pytest
import torch

from visuallens.models.backbones import prefix_attention as module
from visuallens.models.backbones.prefix_attention import prefix_attention


def plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Attention written out: every token sees the kept ones and those before it."""
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    new, total = scores.shape[2:]
    seen = torch.ones(new, total, dtype=torch.bool).tril(total - new)
    weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return (weights @ value).transpose(1, 2)


@pytest.mark.parametrize(("kept", "new"), [(1, 64), (300, 200), (70, 500)])
def test_the_parts_joined_are_the_whole(
    kept: int, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(kept)
    query = torch.randn((1, 6, new, 16), generator=generator)
    key, value = torch.randn((2, 1, 2, kept + new, 16), generator=generator)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the whole rectangle was computed")

    monkeypatch.setattr(module, "sdpa_attention_forward", refused)
    layer = torch.nn.Module()
    found, weights = prefix_attention(layer, query, key, value, None, scaling=0.3)
    assert weights is None
    torch.testing.assert_close(found, plain(query, key, value, 0.3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "reason", ["two prompts", "padding", "few tokens", "training", "nothing kept"]
)
def test_everything_else_is_left_to_pytorch(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, kept, new = 2 if reason == "two prompts" else 1, 100, 80
    if reason == "few tokens":
        new = 3
    if reason == "nothing kept":
        kept = 0
    query = torch.randn(prompts, 4, new, 8, requires_grad=reason == "training")
    key, value = torch.randn(2, prompts, 2, kept + new, 8)
    mask = torch.ones(prompts, 1, new, kept + new, dtype=torch.bool).tril(kept)
    if reason == "padding":
        mask[:, :, :, :7] = False
    seen = []

    def noted(*given: object, **_: object) -> tuple[torch.Tensor, None]:
        seen.append(given)
        return query, None

    monkeypatch.setattr(module, "sdpa_attention_forward", noted)
    prefix_attention(torch.nn.Module(), query, key, value, mask)
    assert len(seen) == 1
