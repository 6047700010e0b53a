"""Idefics3 and SmolVLM: SigLIP with shuffled pixels in front of Llama 3 or SmolLM2.

Source: beyond the paper; open models of 0.26 to 8.5 billion parameters that read grids.
Source: https://huggingface.co/docs/transformers/model_doc/idefics3, .../model_doc/smolvlm, and the
model cards of the checkpoints: the image comes before the text, in the checkpoint's chat template.
The longer side is enlarged to four tiles; every tile, and the whole picture after them, is written
as <fake_token_around_image>, its place (<row_1_col_1> ... <global-img>) and its image tokens.
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

_IDEFICS3 = (Checkpoint("HuggingFaceM4/Idefics3-8B-Llama3", 8.46e9, "Apache-2.0", 1_456, 16_384),)
_SMOLVLM = (
    Checkpoint("HuggingFaceTB/SmolVLM-256M-Instruct", 0.26e9, "Apache-2.0", 2_048, 8_192),
    Checkpoint("HuggingFaceTB/SmolVLM-500M-Instruct", 0.51e9, "Apache-2.0", 2_048, 8_192),
    Checkpoint("HuggingFaceTB/SmolVLM2-2.2B-Instruct", 2.25e9, "Apache-2.0", 1_536, 8_192),
)


class Idefics3:
    """See `Family`; two families of one architecture.

    A square grid becomes 4 x 4 tiles and the whole picture, 17 images of 169 tokens (Idefics3), 64
    (SmolVLM of 256M and 500M) or 81 (SmolVLM2).

    Args:
        name: as registered.
        checkpoints: of this family.

    Choice: SmolVLM is read with Idefics3's processor, which its smaller checkpoints name as
        theirs. The one of SmolVLM2 writes images alike, but asks for packages that read videos.
    """

    sees = True
    keeps_prefix = True
    lora_targets = r".*text_model\.layers\..*\.(q|k|v|o|gate|up|down)_proj"
    trained_with_lora: tuple[str, ...] = ()

    def __init__(self, name: str, checkpoints: tuple[Checkpoint, ...]) -> None:
        self.name = name
        self.checkpoints = checkpoints

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """See `Family.load`; a folder says itself which of the two its model is."""
        from transformers import (
            AutoModelForImageTextToText,
            Idefics3ImageProcessorPil,
            Idefics3Processor,
            SmolVLMImageProcessorPil,
        )

        tokenizer = load_tokenizer(source.folder)
        model = load_weights(
            AutoModelForImageTextToText, source, dtype, model_types=("idefics3", "smolvlm")
        )
        smol = model.config.model_type == "smolvlm"
        images = SmolVLMImageProcessorPil if smol else Idefics3ImageProcessorPil
        processor = Idefics3Processor(
            images.from_pretrained(source.folder),
            tokenizer,
            image_seq_len=model.model.image_seq_len,
            chat_template=tokenizer.chat_template,
        )
        return Parts(source, model, tokenizer, processor, model.config.image_token_id)

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """See `Family.encode`; a prompt that contains the image token is refused.

        `pixel_values` are (prompts, tiles, 3, side, side) float32, `pixel_attention_mask` (prompts,
        tiles, side, side) int64.
        """
        import numpy as np
        import torch

        inputs, read = read_by_processor(parts, self.name, images, prompts)
        for name in read.keys() & {"pixel_values", "pixel_attention_mask"}:
            inputs[name] = torch.from_numpy(np.asarray(read[name]))
        return inputs

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """See `Family.training_inputs`; nothing is needed."""
        del parts
        return inputs

    def answer_start(self, parts: Parts) -> str:
        """See `Family.answer_start`."""
        return render_chat(parts.tokenizer, "Answer:", image=False)


idefics3 = Opener(Idefics3("idefics3", _IDEFICS3))
"""What is registered."""
smolvlm = Opener(Idefics3("smolvlm", _SMOLVLM))
"""What is registered."""
