"""What one family of architectures knows, apart from how models are run.

A family says how its weights are loaded and how images and prompts become a model's inputs. All
else (batches, labels, kept prefixes, adapters) is the same for every family and lives in
`local.py` and `adapters.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import TemplateError

from visuallens.errors import ThinkingModelError
from visuallens.models.base import PromptImage

if TYPE_CHECKING:
    import torch

Inputs = dict[str, "torch.Tensor"]
"""Arguments of a model's forward pass."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Published weights of a family, as `visuallens models` lists them.

    Attributes:
        model: model id on the hub, or "packaged" where the weights come inside Python packages.
        parameters: number of them.
        licence: of the weights.
        image_side_px: side of the square image that the model reads; 0 for text only.
        max_tokens: longest prompt that is sensible, image included.
        gated: the hub asks for a consent first.
        remote_code: it needs code that comes with the weights.
    """

    model: str
    parameters: float
    licence: str
    image_side_px: int
    max_tokens: int
    gated: bool = False
    remote_code: bool = False

    @property
    def memory_gb(self) -> float:
        """Rough memory that inference takes: 2 bytes a parameter and a fifth for the rest."""
        return self.parameters * 2 * 1.2 / 1e9


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of weights on this machine.

    Attributes:
        folder: with configuration, tokenizer and safetensors.
        id: `model@revision`.
        checkpoint: of the family; where the model is none of them, its first.
        trust_remote_code: allowed by the user, at a pinned revision.
    """

    folder: Path
    id: str
    checkpoint: Checkpoint
    trust_remote_code: bool = False


@dataclass(slots=True)
class Parts:
    """A loaded model with what it needs to read.

    Attributes:
        model: a PyTorch model with the interface of Hugging Face's.
        image_processor: None for text only.
        image_token_id: stands for a piece of an image in `input_ids`; None for text only.
    """

    source: Source
    # Any: Hugging Face's classes of many kinds, each used through a few methods.
    model: Any
    tokenizer: Any
    image_processor: Any = None
    image_token_id: int | None = None


class Family(Protocol):
    """One family of architectures.

    Attributes:
        name: as registered.
        checkpoints: known weights, the default first.
        sees: it takes images.
        keeps_prefix: attention is causal over the whole prompt and positions are plain, so what
            was computed for a shared beginning can be kept.
        lora_targets: regular expression of the linear layers that LoRA adapts.
        trained_with_lora: modules that are trained whole beside it.
    """

    @property
    def name(self) -> str: ...
    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]: ...
    @property
    def sees(self) -> bool: ...
    @property
    def keeps_prefix(self) -> bool: ...
    @property
    def lora_targets(self) -> str: ...
    @property
    def trained_with_lora(self) -> tuple[str, ...]: ...

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """Load model, tokenizer and image processor from a folder.

        Args:
            source: where and what.
            dtype: of the weights.

        Returns:
            All parts, in evaluation mode.
        """
        ...

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """Turn images and prompts into the model's inputs.

        Args:
            parts: as loaded.
            images: one per prompt, or None; all or none of one call.
            prompts: plain text, without template.

        Returns:
            Arguments of the model's forward pass: `input_ids` and `attention_mask`, padded on the
            left, both (prompts, tokens) int64, and whatever the images need.
        """
        ...

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """Add what the model's forward pass asks for in training only.

        Args:
            parts: as loaded.
            inputs: from `encode`; the answer may have been appended to its text.

        Returns:
            The same and more.
        """
        ...

    def answer_start(self, parts: Parts) -> str:
        """Give a rendered prompt, after which the answer begins."""
        ...


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> Inputs:
    """Pad token ids on the left.

    Args:
        rows: token ids of each prompt.
        pad_id: fills the left; masked, so any id does.

    Returns:
        `input_ids` and `attention_mask`, (rows, longest) int64.
    """
    import torch

    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for number, row in enumerate(rows):
        if row:
            ids[number, longest - len(row) :] = torch.tensor(list(row), dtype=torch.int64)
            mask[number, longest - len(row) :] = 1
    return {"input_ids": ids, "attention_mask": mask}


# Any: Hugging Face tokenizers.
def render_chat(tokenizer: Any, prompt: str, *, image: bool | None = None) -> str:  # noqa: ANN401
    """Write a prompt in the chat template of a model, up to where the answer begins.

    Args:
        tokenizer: with its template; without one the prompt stays as it is.
        prompt: what the user says.
        image: put an image placeholder before the text, or none; None for text-only models. The
            templates of models that see skip text that is not in a list of parts.

    Returns:
        Text with the template's special tokens.

    Source: the template that comes with each model.
    Choice: thinking is switched off where a template knows the switch.
    """
    if not tokenizer.chat_template:
        return prompt
    content: list[Mapping[str, str]] | str = prompt
    if image is not None:
        shown = [{"type": "image"}] if image else []
        content = [*shown, {"type": "text", "text": prompt}]
    rendered: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    return rendered


# Any: Hugging Face tokenizers.
def answer_gap(tokenizer: Any, before: str) -> str:  # noqa: ANN401
    """Find what a model writes between a prompt and the first word of its answer.

    Args:
        tokenizer: with its template.
        before: a rendered prompt that asks "Answer:", up to where the answer begins.

    Returns:
        Nothing or a space; with a space, the first token of the answer is " A" and not "A".

    Source: the template that comes with each model, which shows how it writes an answer.
    """
    guess = " " if before and not before[-1].isspace() else ""
    if not tokenizer.chat_template:
        return guess
    for question, answer in (("Answer:", "A"), _in_parts("Answer:", "A")):
        talk = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        try:
            written = str(tokenizer.apply_chat_template(talk, tokenize=False))
        except (TypeError, ValueError, TemplateError):
            continue
        rest = written[len(before) :] if written.startswith(before) else ""
        if rest.strip().startswith("A"):
            return " " if rest.startswith(" ") else ""  # a line break is a token of its own
    return guess


def _in_parts(*texts: str) -> tuple[list[Mapping[str, str]], ...]:
    return tuple([{"type": "text", "text": text}] for text in texts)


def refuse_thinking(model: str, rendered: str) -> None:
    """Refuse a model whose template opens a thought before the answer.

    Args:
        model: its id; editions that think say so in their name.
        rendered: a prompt in its template, thinking switched off.

    Raises:
        ThinkingModelError: it thinks all the same.
    """
    if "thinking" in model.lower().rsplit("/", 1)[-1]:
        raise ThinkingModelError(model, "its name says so")
    opened, closed = rendered.rfind("<think>"), rendered.rfind("</think>")
    if opened > closed:
        raise ThinkingModelError(model, "its template opens a thought")
