"""A tiny LLaVA-NeXT with Llama 3's tokens; the template is in a file of its own."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tests.models.backbones.tiny import byte_tokenizer, save
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
)

SIDE_PX = 28
LAYOUTS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))  # of tiles
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}"
    "{{ '\n' + part['text'] + '<|eot_id|>' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def write(folder: Path) -> None:
    """Save it."""
    write_with(folder, SIDE_PX)


def write_with(folder: Path, side_px: int) -> None:
    """Save one with tiles of a given side."""
    pinpoints = [[rows * side_px, cols * side_px] for rows, cols in LAYOUTS]
    reserved = [f"<|reserved_special_token_{number}|>" for number in range(100)]
    bos, eos, pad = "<|begin_of_text|>", "<|eot_id|>", "<pad>"
    headers = ["<|start_header_id|>", "<|end_header_id|>"]
    tokenizer = byte_tokenizer(
        [bos, *headers, eos, *reserved, "<image>", pad],
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
    )
    # As Llama 3's own: the tokenizer, not the template, writes the opening token.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    config = LlavaNextConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=side_px,
            patch_size=14,
            projection_dim=16,
        ),
        image_token_index=tokenizer.get_vocab()["<image>"],
        image_grid_pinpoints=pinpoints,
        image_seq_length=(side_px // 14) ** 2,
    )
    torch.manual_seed(0)
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": side_px},
        crop_size={"height": side_px, "width": side_px},
        image_grid_pinpoints=pinpoints,
    )
    save(folder, LlavaNextForConditionalGeneration(config), tokenizer, images)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
