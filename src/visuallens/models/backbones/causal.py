"""Text-only causal language models: the text-only baselines and the aspect selector.

Source: §6.3 and Table 2 (Llama-3.1-8B-Instruct, Llama-3.1-70B-Instruct with text-only profiles);
§5.2 (Llama-3.1 70B selects aspect words). Prompts follow each model's own chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from visuallens.models.backbones.family import (
    Checkpoint,
    Inputs,
    Parts,
    Source,
    pad_left,
    refuse_thinking,
    render_chat,
)
from visuallens.models.backbones.loading import load_weights
from visuallens.models.backbones.opening import Opener
from visuallens.models.base import PromptImage

if TYPE_CHECKING:
    import torch

_LLAMA = "Llama 3.1 Community License"


class Causal:
    """See `Family`: any causal language model that transformers knows."""

    name = "causal"
    checkpoints: tuple[Checkpoint, ...] = (
        Checkpoint("meta-llama/Llama-3.1-8B-Instruct", 8.03e9, _LLAMA, 0, 16_384, gated=True),
        Checkpoint("meta-llama/Llama-3.1-70B-Instruct", 70.6e9, _LLAMA, 0, 16_384, gated=True),
        Checkpoint("Qwen/Qwen3-4B-Instruct-2507", 4.02e9, "Apache-2.0", 0, 16_384),
        Checkpoint("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.71e9, "Apache-2.0", 0, 8_192),
    )
    sees = False
    keeps_prefix = True
    lora_targets = r".*\.(q|k|v|o|gate|up|down)_proj"
    trained_with_lora: tuple[str, ...] = ()

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """See `Family.load`."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
        refuse_thinking(source.id.partition("@")[0], render_chat(tokenizer, "hello"))
        model = load_weights(AutoModelForCausalLM, source, dtype)
        return Parts(source, model, tokenizer)

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """See `Family.encode`; images are ignored."""
        del images
        tokenizer = parts.tokenizer
        templated = bool(tokenizer.chat_template)  # then it writes the opening tokens itself
        rows = [
            tokenizer.encode(render_chat(tokenizer, prompt), add_special_tokens=not templated)
            for prompt in prompts
        ]
        return pad_left(rows, pad_id=0)

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """See `Family.training_inputs`; nothing is needed."""
        del parts
        return inputs

    def answer_start(self, parts: Parts) -> str:
        """See `Family.answer_start`."""
        return render_chat(parts.tokenizer, "Answer:")


causal = Opener(Causal())
"""What is registered."""
