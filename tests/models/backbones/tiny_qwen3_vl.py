"""A tiny Qwen3-VL; its embeddings are tied, as those of the 4B edition are."""

from __future__ import annotations

from pathlib import Path
from typing import Any  # values of a configuration

import torch
from tests.models.backbones.tiny import INITIALIZER_RANGE, byte_tokenizer, save
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

CONTENT = (
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n" + CONTENT + "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def tokenizer(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """With Qwen's special tokens; it has no token that opens a text."""
    tokens = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return byte_tokenizer(SPECIAL, **tokens, chat_template=template)


def text_config(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Two layers; the rotary dimensions are shared between time, row and column."""
    return {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "initializer_range": INITIALIZER_RANGE,
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }


def token_ids(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Name the special tokens as the model's configuration does."""
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: words.convert_tokens_to_ids(token) for name, token in names.items()}


def write(folder: Path) -> None:
    """Save it; an image of 64 px has 16 patches, merged to 4 tokens."""
    words = tokenizer()
    torch.manual_seed(0)
    config = Qwen3VLConfig(
        text_config={
            **text_config(words),
            "head_dim": 16,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
        tie_word_embeddings=True,
        **token_ids(words),
    )
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64},
        patch_size=16,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    save(folder, Qwen3VLForConditionalGeneration(config), words, processor)
