"""Qwen3-VL and Qwen2.5-VL: vision-language models with rotary positions in three dimensions.

Their processors also read video and so need a package that this project does without; tokenizer and
image processor are put together here instead.

Source: §4.2, theta, with newer weights than the paper's. Layout of prompts and images: the chat
templates and `preprocessor_config.json` of Qwen/Qwen3-VL-4B-Instruct and
Qwen/Qwen2.5-VL-7B-Instruct.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from visuallens.errors import BackboneError
from visuallens.models.backbones.family import (
    Checkpoint,
    Inputs,
    Parts,
    Source,
    pad_left,
    refuse_thinking,
    render_chat,
)
from visuallens.models.backbones.loading import load_tokenizer, load_weights, read_model_type
from visuallens.models.backbones.opening import Opener
from visuallens.models.base import PromptImage

if TYPE_CHECKING:
    import torch
    from PIL import Image

IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105 - not a secret
_MARKERS = ("<|vision_start|>", IMAGE_TOKEN, "<|video_pad|>", "<|vision_end|>")

_SIDE_PX = 896
_APACHE = "Apache-2.0"
_RESEARCH = "Qwen Research License"

_QWEN3 = (
    Checkpoint("Qwen/Qwen3-VL-4B-Instruct", 4.44e9, _APACHE, _SIDE_PX, 16_384),
    Checkpoint("Qwen/Qwen3-VL-2B-Instruct", 2.13e9, _APACHE, _SIDE_PX, 16_384),
    Checkpoint("Qwen/Qwen3-VL-8B-Instruct", 8.77e9, _APACHE, _SIDE_PX, 16_384),
)
_QWEN2_5 = (
    Checkpoint("Qwen/Qwen2.5-VL-7B-Instruct", 8.29e9, _APACHE, _SIDE_PX, 16_384),
    Checkpoint("Qwen/Qwen2.5-VL-3B-Instruct", 3.75e9, _RESEARCH, _SIDE_PX, 16_384),
)


class QwenVL:
    """See `Family`: one generation of Qwen's vision-language models.

    Args:
        name: as registered.
        model_class: in transformers.
        kind: the `model_type` of this generation.
        checkpoints: of this generation.

    Choice: an image of more pixels than a grid of 896 px has is made smaller, so that a photo of
        any size costs no more tokens than were counted; smaller images keep their size, as Qwen's
        processor has it. A grid takes 784 tokens in Qwen3-VL and 1024 in Qwen2.5-VL.
    Choice: positions are computed here and handed over. The model would remember how far the last
        image moved them, and apply that to whatever it reads next.
    """

    sees = True
    keeps_prefix = True
    lora_targets = r".*\.language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
    trained_with_lora: tuple[str, ...] = ()

    def __init__(
        self, name: str, model_class: str, kind: str, checkpoints: tuple[Checkpoint, ...]
    ) -> None:
        self.name = name
        self.checkpoints = checkpoints
        self._model_class = model_class
        self._kind = kind

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """See `Family.load`."""
        import transformers
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
            Qwen2VLImageProcessorPil,
        )

        read_model_type(source, (self._kind,))
        tokenizer = load_tokenizer(source.folder)
        rendered = render_chat(tokenizer, "hello", image=True)
        refuse_thinking(source.id.partition("@")[0], rendered)
        if rendered.count(IMAGE_TOKEN) != 1:
            raise BackboneError(source.id, "its chat template has no place for an image.")
        model = load_weights(getattr(transformers, self._model_class), source, dtype)
        processor = Qwen2VLImageProcessorPil.from_pretrained(source.folder)
        return Parts(source, model, tokenizer, processor, model.config.image_token_id)

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """See `Family.encode`.

        Beside the text it gives `position_ids` (3, prompts, tokens) int64: time, row and column;
        with images, `pixel_values` (patches, values of one) float32 and `image_grid_thw` (images,
        3) int64: frames, rows and columns of patches.

        Source: the image comes before the text, and takes as many placeholders as it has patches
            after merging; transformers, processing_qwen3_vl.py and processing_qwen2_5_vl.py.
        """
        shown = [image.image for image in images if image is not None]
        looks = _look(parts.image_processor, shown) if shown else {}
        pieces = [0] * len(prompts)
        if shown:
            merged = int(parts.image_processor.merge_size) ** 2
            pieces = [int(grid.prod()) // merged for grid in looks["image_grid_thw"]]
        rows = [self._ids(parts, *pair) for pair in zip(pieces, prompts, strict=True)]
        inputs = {**pad_left(rows, pad_id=0), **looks}
        return self.training_inputs(parts, inputs)

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """See `Family.training_inputs`; positions are computed for the text as it is now."""
        rope = next(part for part in parts.model.modules() if hasattr(part, "get_rope_index"))
        positions, _ = rope.get_rope_index(
            inputs["input_ids"],
            inputs["input_ids"].eq(parts.image_token_id or 0).int(),
            image_grid_thw=inputs.get("image_grid_thw"),
            attention_mask=inputs["attention_mask"],
        )
        return {**inputs, "position_ids": positions}

    def answer_start(self, parts: Parts) -> str:
        """See `Family.answer_start`."""
        return render_chat(parts.tokenizer, "Answer:")

    def _ids(self, parts: Parts, pieces: int, prompt: str) -> list[int]:
        tokenizer = parts.tokenizer
        rendered = render_chat(tokenizer, prompt, image=pieces > 0)
        if pieces:
            rendered = rendered.replace(IMAGE_TOKEN, IMAGE_TOKEN * pieces, 1)
        ids: list[int] = tokenizer.encode(rendered, add_special_tokens=False)
        start, image, video, end = tokenizer.convert_tokens_to_ids(list(_MARKERS))
        expected = [start, *[image] * pieces, end] if pieces else []
        if [token for token in ids if token in (start, image, video, end)] != expected:
            raise BackboneError(self.name, f"a prompt must not contain any of {_MARKERS}.")
        return ids


# Any: a Hugging Face image processor.
def _look(processor: Any, images: Sequence[Image.Image]) -> Inputs:  # noqa: ANN401
    """Cut images into patches, none of them with more pixels than a grid."""
    size = {
        "shortest_edge": processor.size["shortest_edge"],
        "longest_edge": min(processor.size["longest_edge"], _SIDE_PX**2),
    }
    seen = processor(list(images), size=size, return_tensors="pt")
    return {name: seen[name] for name in ("pixel_values", "image_grid_thw")}


qwen3_vl = Opener(QwenVL("qwen3-vl", "Qwen3VLForConditionalGeneration", "qwen3_vl", _QWEN3))
qwen2_5_vl = Opener(
    QwenVL("qwen2.5-vl", "Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", _QWEN2_5)
)
"""What is registered."""
