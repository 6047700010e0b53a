"""Families whose official processor runs here: it places and expands the image itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from visuallens.errors import BackboneError
from visuallens.models.backbones.family import Inputs, Parts, pad_left, render_chat
from visuallens.models.base import PromptImage


# Any: what a Hugging Face processor gives, by name.
def read_by_processor(
    parts: Parts, backbone: str, images: Sequence[PromptImage | None], prompts: Sequence[str]
) -> tuple[Inputs, Any]:
    """Write prompts in the chat template and let the processor read them with their images.

    Args:
        parts: its image processor is the whole processor.
        backbone: named in errors.
        images: one per prompt, or None; all or none of one call.
        prompts: plain text.

    Returns:
        `input_ids` and `attention_mask`, and all that the processor gave.

    Raises:
        BackboneError: a prompt contains the image's placeholder.
    """
    texts = [
        _rendered(parts, backbone, image, prompt)
        for image, prompt in zip(images, prompts, strict=True)
    ]
    shown = [[image.image] for image in images if image is not None]
    bos = parts.tokenizer.bos_token  # some templates write it, else the tokenizer adds it
    read = parts.image_processor(
        images=shown or None,
        text=texts,
        add_special_tokens=not (bos and texts[0].startswith(bos)),
    )
    return pad_left(read["input_ids"], pad_id=0), read


def _rendered(parts: Parts, backbone: str, image: PromptImage | None, prompt: str) -> str:
    """Write a prompt with one placeholder for its image."""
    placeholder = parts.image_processor.image_token
    rendered = render_chat(parts.tokenizer, prompt, image=image is not None)
    if rendered.count(placeholder) != (image is not None):
        raise BackboneError(
            backbone,
            f"a prompt must not contain {placeholder}, and its chat template must write it once "
            "for an image.",
        )
    return rendered
