"""Attention for a prompt whose beginning is kept: the same numbers in less time, on a CPU.

New tokens attend to the kept ones without any mask and to each other causally. PyTorch's fused
kernel for CPUs knows both, but not their combination, for which it computes the whole rectangle; so
the two are computed apart and joined by their log-sum-exps. On two cores, 1,250 tokens after 700
kept ones take two thirds of the time.

Source: Dao et al. 2022 (FlashAttention): partial softmaxes are joined exactly by their log-sums.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "visuallens_prefix"
"""For `attn_implementation`."""

_LEAST_NEW_TOKENS = 64
# Any: an operator of PyTorch; None where this version has no such kernel.
_FUSED: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


def prefix_attention(  # noqa: PLR0913, PLR0917 - transformers' signature
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **arguments: Any,  # noqa: ANN401 - passed on
) -> tuple[Tensor, None]:
    """Attend; see transformers' attention interface.

    Args:
        module: the attention layer.
        query: (prompts, heads, new tokens, size).
        key: (prompts, key heads, all tokens, size), kept ones first.
        value: likewise.
        attention_mask: (prompts, 1, new tokens, all tokens) bool, or None.
        scaling: of the scores.
        dropout: in training.
        **arguments: passed on where nothing can be saved.

    Returns:
        (prompts, new tokens, heads, size), and no weights.
    """
    kept = key.shape[2] - query.shape[2]
    if not _saves(query, kept, attention_mask):
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            **arguments,
        )
        return found
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    joined = _join(
        _FUSED(query, key[:, :, :kept], value[:, :, :kept], 0.0, False, scale=scaling),
        _FUSED(query, key[:, :, kept:], value[:, :, kept:], 0.0, True, scale=scaling),
    )
    return joined.transpose(1, 2).contiguous(), None


def _saves(query: Tensor, kept: int, mask: Tensor | None) -> bool:
    """Tell whether this is one prompt without padding, long enough, after a kept beginning."""
    return (
        _FUSED is not None
        and query.device.type == "cpu"
        and query.shape[0] == 1
        and query.shape[2] >= _LEAST_NEW_TOKENS
        and kept > 0
        and not (torch.is_grad_enabled() and query.requires_grad)
        and (mask is None or (mask.dtype is torch.bool and bool(mask[0, 0, 0, : kept + 1].all())))
    )


def _join(before: tuple[Tensor, Tensor], among: tuple[Tensor, Tensor]) -> Tensor:
    """Weight two partial attentions by their shares of the whole softmax."""
    share = torch.sigmoid(before[1] - among[1]).unsqueeze(-1).to(before[0].dtype)
    return before[0] * share + among[0] * (1 - share)


AttentionInterface.register(NAME, prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
