"""A tiny MiniCPM-V 4.6 or 4.7: linear and full attention, embeddings tied as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any  # values of a configuration

import torch
from tests.models.backbones.tiny import INITIALIZER_RANGE, byte_tokenizer, save
from transformers import (
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_6ImageProcessorPil,
    MiniCPMV4_7Config,
    MiniCPMV4_7ForConditionalGeneration,
    PreTrainedTokenizerFast,
)

TEMPLATE = (
    "{%- macro written(content) -%}{%- if content is string -%}{{- content -}}{%- else -%}"
    "{%- set ns = namespace(parts=[]) -%}{%- for item in content -%}"
    "{%- if item.type == 'image' -%}{%- set ns.parts = ns.parts + ['<|image_pad|>'] -%}"
    "{%- else -%}{%- set ns.parts = ns.parts + [item.text] -%}{%- endif -%}{%- endfor -%}"
    "{{- ns.parts | join('\\n') -}}{%- endif -%}{%- endmacro -%}"
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' + written(message.content)|trim -}}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- else -%}{{- '<think>\\n' -}}{%- endif -%}"
    "{%- endif -%}"
)
TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}


def tokenizer(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """With the special tokens of 4.6, each under the name that its processor knows."""
    ends = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return byte_tokenizer(
        [*ends.values(), "<think>", "</think>", *TOKENS.values()],
        **ends,
        chat_template=template,
        extra_special_tokens=TOKENS,
    )


def write(folder: Path, version: str = "4.6", template: str = TEMPLATE) -> None:
    """Save it; an image of 64 px has an overview and 2 x 2 slices, of 4 x 4 patches or one token.

    Args:
        folder: is written.
        version: "4.6" or "4.7".
        template: of the chat.
    """
    words = tokenizer(template)
    torch.manual_seed(0)
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "layer_types": ["linear_attention", "full_attention"],
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 2 * INITIALIZER_RANGE,  # all its prompts end alike
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
        },
        "model_type": "qwen3_5_text",
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
    }
    common: dict[str, Any] = {
        "text_config": text,
        "vision_config": vision,
        "insert_layer_id": 0,
        "image_size": 32,
        "image_token_id": words.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": words.convert_tokens_to_ids("<|video_pad|>"),
        "tie_word_embeddings": True,
    }
    markers: dict[str, Any] = {
        "image_start_id": words.convert_tokens_to_ids("<image>"),
        "image_end_id": words.convert_tokens_to_ids("</image>"),
        "slice_start_id": words.convert_tokens_to_ids("<slice>"),
        "slice_end_id": words.convert_tokens_to_ids("</slice>"),
        "newline_id": words.encode("\n", add_special_tokens=False)[0],
    }
    model: MiniCPMV4_6ForConditionalGeneration | MiniCPMV4_7ForConditionalGeneration
    if version == "4.6":
        model = MiniCPMV4_6ForConditionalGeneration(MiniCPMV4_6Config(**common))
    else:
        model = MiniCPMV4_7ForConditionalGeneration(MiniCPMV4_7Config(**common, **markers))
    processor = MiniCPMV4_6ImageProcessorPil(
        max_slice_nums=4, scale_resolution=32, patch_size=8, image_mean=[0.5] * 3
    )
    save(folder, model, words, processor)
