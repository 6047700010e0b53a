"""A tiny SmolVLM2, with settings for videos beside those for images, as its folders have."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tests.models.backbones.tiny import INITIALIZER_RANGE, save
from tests.models.backbones.tiny_idefics3 import SHAPE, SIDE_PX, VISION, template, tokenizer_with
from transformers import (
    LlamaConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
)


def write(folder: Path) -> None:
    """Save it; its embeddings are tied, the template is the tokenizer's."""
    bos = "<|im_start|>"
    tokenizer = tokenizer_with(bos, [], chat_template=template(bos))
    config = SmolVLMConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            pad_token_id=1,
            initializer_range=INITIALIZER_RANGE,
            **SHAPE,
        ).to_dict(),
        vision_config=VISION,
        image_token_id=tokenizer.get_vocab()["<image>"],
        scale_factor=2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    images = SmolVLMImageProcessorPil(
        size={"longest_edge": 4 * SIDE_PX}, max_image_size={"longest_edge": SIDE_PX}
    )
    save(folder, SmolVLMForConditionalGeneration(config), tokenizer, images)
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    settings["video_sampling"] = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 28}}
    file.write_text(json.dumps(settings))
