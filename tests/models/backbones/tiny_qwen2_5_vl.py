"""A tiny Qwen2.5-VL; its embeddings are not tied, as those of the 7B edition are not."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tests.models.backbones.tiny import save
from tests.models.backbones.tiny_qwen3_vl import CONTENT, text_config, token_ids, tokenizer
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n" + CONTENT + "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(folder: Path) -> None:
    """Save it, its template in a file of its own; 64 px are 4 x 4 patches, in two windows."""
    words = tokenizer("{{ messages[0]['content'] }}")
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            **text_config(words),
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [4, 2, 2],
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 14,
            "out_hidden_size": 32,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=False,
        **token_ids(words),
    )
    processor = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=84 * 84)
    save(folder, Qwen2_5_VLForConditionalGeneration(config), words, processor)
    text = json.dumps({"chat_template": TEMPLATE})
    (folder / "chat_template.json").write_text(text, encoding="utf-8")
