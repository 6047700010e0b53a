"""A tiny PaliGemma, and a tiny PaliGemma 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.models.backbones.tiny import INITIALIZER_RANGE, byte_tokenizer, save
from transformers import (
    Gemma2Config,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

SIDE_PX = 28
IMAGE_TOKENS = 4  # 2 x 2 patches of 14 px

_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 4096,
}


def write(folder: Path) -> None:
    """Save a PaliGemma, whose language model is Gemma with one key and value head."""
    write_with(
        folder, GemmaConfig, SIDE_PX, num_key_value_heads=1, initializer_range=INITIALIZER_RANGE
    )


def write_2(folder: Path) -> None:
    """Save a PaliGemma 2, whose Gemma 2 caps scores and slides a window in every other layer."""
    write_with(
        folder,
        Gemma2Config,
        SIDE_PX,
        num_key_value_heads=2,
        query_pre_attn_scalar=8,
        sliding_window=16,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
    )


def write_with(
    folder: Path,
    text: type[GemmaConfig | Gemma2Config],
    side_px: int,
    **shape: Any,
) -> None:
    """Save one of a given language model and side of the image."""
    places = [f"<loc{number:04}>" for number in range(1024)]
    segments = [f"<seg{number:03}>" for number in range(128)]
    pad, eos, bos, unk = special = ("<pad>", "<eos>", "<bos>", "<unk>")
    tokenizer = byte_tokenizer(
        [*special, *places, *segments, "<image>"],
        pad_token=pad,
        eos_token=eos,
        bos_token=bos,
        unk_token=unk,
    )
    rows = len(tokenizer) + 7  # the real vocabulary is padded too
    ids: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = PaliGemmaConfig(
        text_config=text(vocab_size=rows, **ids, **_SHAPE, **shape),
        vision_config=SiglipVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=side_px,
            patch_size=14,
            vision_use_head=False,
        ),
        image_token_index=tokenizer.get_vocab()["<image>"],
        projection_dim=32,
        hidden_size=32,
        **ids,
    )
    torch.manual_seed(0)
    images = SiglipImageProcessorPil(size={"height": side_px, "width": side_px})
    images.image_seq_length = (side_px // 14) ** 2  # type: ignore[attr-defined]  # its processor asks
    save(folder, PaliGemmaForConditionalGeneration(config), tokenizer, images)
