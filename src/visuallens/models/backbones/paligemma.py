"""PaliGemma and PaliGemma 2: the paper's matcher, SigLIP in front of Gemma.

Source: §5 and Table 5 (PaliGemma with 896 px images, finetuned with LoRA); appendix D.
Source: https://huggingface.co/docs/transformers/model_doc/paligemma and the README and
`transfers/common.py` in https://github.com/google-research/big_vision
(big_vision/configs/proj/paligemma): image tokens, then <bos> and the prompt, then a newline that
is tokenized by itself; attention is full over all of these and causal over the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from visuallens.errors import BackboneError
from visuallens.models.backbones.family import Checkpoint, Inputs, Parts, Source, pad_left
from visuallens.models.backbones.loading import load_tokenizer, load_weights
from visuallens.models.backbones.opening import Opener
from visuallens.models.base import PromptImage

if TYPE_CHECKING:
    import torch

_SEPARATOR = "\n"
_PREFIX, _SUFFIX = 0, 1
_GEMMA = "Gemma Terms of Use"


class PaliGemma:
    """See `Family`.

    The checkpoints are pretrained for transfer: they know no instructions and no chat template.
    896 px are 64 x 64 patches of 14 px, hence 4096 image tokens.

    Choice: `token_type_ids` are always given, not in training only. Without them transformers
        reads a single prompt of PaliGemma in full attention, but a padded batch, and PaliGemma 2
        at all times, causally.
    Choice: the layout is written here, because the official processor tokenizes prompt and newline
        together and refuses prompts without an image; the processor is kept, for its pixels and to
        make the folder of a merged model complete.
    Choice: at most 8192 tokens, for which Gemma's positions were trained.
    """

    name = "paligemma"
    checkpoints = (
        Checkpoint("google/paligemma-3b-pt-896", 2.92e9, _GEMMA, 896, 8_192, gated=True),
        Checkpoint("google/paligemma2-3b-pt-896", 3.03e9, _GEMMA, 896, 8_192, gated=True),
        Checkpoint("google/paligemma2-10b-pt-896", 9.66e9, _GEMMA, 896, 8_192, gated=True),
    )
    sees = True
    keeps_prefix = False  # every token of a prompt also depends on those after it
    lora_targets = r".*language_model\.layers\..*\.(q|k|v|o|gate|up|down)_proj"
    trained_with_lora: tuple[str, ...] = ()

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """See `Family.load`."""
        from transformers import (
            PaliGemmaForConditionalGeneration,
            PaliGemmaProcessor,
            SiglipImageProcessorPil,
        )

        tokenizer = load_tokenizer(source.folder)
        model = load_weights(
            PaliGemmaForConditionalGeneration, source, dtype, model_types=("paligemma",)
        )
        # Any: what a configuration holds has no types.
        images: Any = SiglipImageProcessorPil.from_pretrained(source.folder)
        vision = model.config.vision_config
        images.image_seq_length = (vision.image_size // vision.patch_size) ** 2
        processor = PaliGemmaProcessor(images, tokenizer)
        return Parts(source, model, tokenizer, processor, model.config.image_token_id)

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """See `Family.encode`; a prompt that contains the image token is refused.

        `pixel_values` are (prompts, 3, side, side) float32.
        """
        import torch

        rows = [
            self._ids(parts, image, prompt) for image, prompt in zip(images, prompts, strict=True)
        ]
        inputs = pad_left(rows, pad_id=0)
        inputs["token_type_ids"] = torch.full_like(inputs["input_ids"], _PREFIX)
        shown = [image.image for image in images if image is not None]
        if shown:
            read = parts.image_processor.image_processor(shown, return_tensors="pt")
            inputs["pixel_values"] = read["pixel_values"]
        return inputs

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """See `Family.training_inputs`: mark an appended answer, which is read causally.

        Args:
            parts: as loaded.
            inputs: from `encode`. Who appends answers, on the right, does so in `input_ids` and
                `attention_mask` alone (0 where a shorter answer is padded); `token_type_ids` stay
                as they were, so that their length tells where the prompt ended.

        Returns:
            The same with `token_type_ids` as wide as `input_ids`: 0 for image and prompt, 1 for
            the answer. Without an answer, as in training the first output token, nothing changes.

        Source: `transfers/common.py`, mask_ar: prompt and separator 0, answer 1.
        """
        from torch.nn.functional import pad

        del parts
        types = inputs["token_type_ids"]
        appended = inputs["input_ids"].shape[1] - types.shape[1]
        return inputs | {"token_type_ids": pad(types, (0, appended), value=_SUFFIX)}

    def answer_start(self, parts: Parts) -> str:
        """See `Family.answer_start`."""
        return f"{parts.tokenizer.bos_token}Answer:{_SEPARATOR}"

    def _ids(self, parts: Parts, image: PromptImage | None, prompt: str) -> list[int]:
        tokenizer, image_token = parts.tokenizer, parts.image_token_id
        pieces = 0 if image is None else parts.image_processor.image_seq_length
        text = tokenizer.encode(prompt, add_special_tokens=False)
        if image_token in text:
            raise BackboneError(self.name, "a prompt must not contain its image token <image>.")
        separator = tokenizer.encode(_SEPARATOR, add_special_tokens=False)
        ids: list[int] = [image_token] * pieces + [tokenizer.bos_token_id] + text + separator
        return ids


paligemma = Opener(PaliGemma())
"""What is registered."""
