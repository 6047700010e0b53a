"""A tiny Idefics3 with Llama 3's tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tests.models.backbones.tiny import INITIALIZER_RANGE, byte_tokenizer, save
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

SIDE_PX = 28
IMAGE_TOKENS = 4  # 4 x 4 patches of 7 px, of which 2 x 2 are shuffled into one
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16_384,
}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE_PX,
    "patch_size": 7,
}


def template(bos: str) -> str:
    """Give the chat template: the colon after the role stands close to an image."""
    return (
        f"{bos}{{% for message in messages %}}{{{{ message['role'] | capitalize }}}}"
        "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{{ '<end_of_utterance>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    )


def tokenizer_with(
    bos: str, reserved: list[str], chat_template: str | None = None
) -> PreTrainedTokenizerFast:
    """Train a tokenizer with the tokens of images."""
    eos, pad = "<end_of_utterance>", "<|pad|>"
    places = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    around = ["<fake_token_around_image>", "<image>", eos, "<global-img>"]
    return byte_tokenizer(
        [bos, pad, *reserved, *around, *places],
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        chat_template=chat_template,
    )


def write(folder: Path) -> None:
    """Save it; the template is the processor's, in a file of its own."""
    write_with(folder, SIDE_PX, patch_px=7, scale=2)


def write_with(folder: Path, side_px: int, patch_px: int, scale: int) -> None:
    """Save one with tiles and patches of given sides, of which scale x scale become one token."""
    bos = "<|begin_of_text|>"
    reserved = [f"<|reserved_special_token_{number}|>" for number in range(100)]
    tokenizer = tokenizer_with(bos, reserved)
    config = Idefics3Config(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            pad_token_id=1,
            initializer_range=INITIALIZER_RANGE,
            **SHAPE,
        ).to_dict(),
        vision_config=VISION | {"image_size": side_px, "patch_size": patch_px},
        image_token_id=tokenizer.get_vocab()["<image>"],
        scale_factor=scale,
    )
    torch.manual_seed(0)
    save(
        folder,
        Idefics3ForConditionalGeneration(config),
        tokenizer,
        Idefics3ImageProcessorPil(
            size={"longest_edge": 4 * side_px}, max_image_size={"longest_edge": side_px}
        ),
    )
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template(bos)}))
