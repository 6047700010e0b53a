"""LLaVA-NeXT (LLaVA-v1.6): the paper's captioner, CLIP in front of Llama 3 or Mistral.

Source: §4.1 (captions and aspect words by LLaVA-v1.6 8B).
Source: https://huggingface.co/docs/transformers/model_doc/llava_next and the model cards of
https://huggingface.co/llava-hf/llama3-llava-next-8b-hf and
https://huggingface.co/llava-hf/llava-v1.6-mistral-7b-hf: the image comes before the text, in each
checkpoint's own chat template. A picture is read whole and, enlarged, in tiles of 336 px, in the
layout that fits its shape best: a square of 896 px in 2 x 2 tiles of 672 px.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from visuallens.models.backbones.family import (
    Checkpoint,
    Inputs,
    Parts,
    Source,
    render_chat,
)
from visuallens.models.backbones.loading import load_tokenizer, load_weights
from visuallens.models.backbones.opening import Opener
from visuallens.models.backbones.processors import read_by_processor
from visuallens.models.base import PromptImage

if TYPE_CHECKING:
    import torch

_CLIP_CLASS_TOKENS = 1  # counted by the processor, and taken off again by the "default" strategy


class LlavaNext:
    """See `Family`.

    A square image takes 576 tokens as a whole, 48 x 48 in tiles and a newline after each of the 48
    rows: 2928.
    """

    name = "llava-next"
    checkpoints = (
        Checkpoint(
            "llava-hf/llama3-llava-next-8b-hf",
            8.36e9,
            "Llama 3 Community License",
            672,
            8_192,
        ),
        Checkpoint("llava-hf/llava-v1.6-mistral-7b-hf", 7.57e9, "Apache-2.0", 672, 16_384),
    )
    sees = True
    keeps_prefix = True
    lora_targets = r".*language_model\.layers\..*\.(q|k|v|o|gate|up|down)_proj"
    trained_with_lora: tuple[str, ...] = ()

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """See `Family.load`."""
        from transformers import (
            LlavaNextForConditionalGeneration,
            LlavaNextImageProcessorPil,
            LlavaNextProcessor,
        )

        tokenizer = load_tokenizer(source.folder)
        model = load_weights(
            LlavaNextForConditionalGeneration, source, dtype, model_types=("llava_next",)
        )
        processor = LlavaNextProcessor(
            LlavaNextImageProcessorPil.from_pretrained(source.folder),
            tokenizer,
            patch_size=model.config.vision_config.patch_size,
            vision_feature_select_strategy=model.config.vision_feature_select_strategy,
            chat_template=tokenizer.chat_template,
            num_additional_image_tokens=_CLIP_CLASS_TOKENS,
        )
        return Parts(source, model, tokenizer, processor, model.config.image_token_id)

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """See `Family.encode`; a prompt that contains the image token is refused.

        `pixel_values` are (prompts, tiles, 3, side, side) float32, `image_sizes` (prompts, 2) int64
        height and width.
        """
        import numpy as np
        import torch

        inputs, read = read_by_processor(parts, self.name, images, prompts)
        if "pixel_values" in read:
            inputs["pixel_values"] = torch.from_numpy(np.stack(read["pixel_values"]))
            inputs["image_sizes"] = torch.tensor([list(size) for size in read["image_sizes"]])
        return inputs

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """See `Family.training_inputs`; nothing is needed."""
        del parts
        return inputs

    def answer_start(self, parts: Parts) -> str:
        """See `Family.answer_start`."""
        return render_chat(parts.tokenizer, "Answer:", image=False)


llava_next = Opener(LlavaNext())
"""What is registered."""
