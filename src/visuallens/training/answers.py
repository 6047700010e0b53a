"""Prompts with the answers that a backbone shall give: training inputs, losses, likelihoods.

The one place where an answer is put behind a prompt, for all stages of §5 and all families.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from visuallens.errors import TrainingError
from visuallens.models.backbones.answers import answer_ids, append_answers, log_likelihoods
from visuallens.models.backbones.family import Inputs, Parts
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage
from visuallens.training.losses import aspect_loss

if TYPE_CHECKING:
    from torch import Tensor

NOT_ASKED = -100
"""Target of a token that is no part of an answer."""


def with_answer(
    backbone: LocalBackbone,
    images: Sequence[PromptImage | None],
    prompts: Sequence[str],
    answers: Sequence[str],
) -> tuple[Inputs, Tensor]:
    """Put answers behind prompts, as the model would write them.

    Args:
        backbone: its template and tokenizer decide the tokens.
        images: one per prompt, or None; all or none of one call.
        prompts: plain text, without template.
        answers: one per prompt; text from outside has gone through `as_data`.

    Returns:
        Arguments of the forward pass, prompts padded on the left and answers on the right; and the
        targets, (prompts, tokens) int64 token ids, `NOT_ASKED` outside the answers. An answer ends
        with the token that ends a turn.

    Raises:
        PromptTooLongError: prompt and answer do not fit.
        BackboneError: some prompts have an image and others have none, or an answer contains the
            image's token.

    Choice: the end is learned too, else a model that was trained on lists never stops one.
    """
    ends = _end_ids(backbone.parts)
    rows = [[*answer_ids(backbone, answer), *ends] for answer in answers]
    longest = max(map(len, rows))
    inputs = backbone.encode(images, prompts, room=longest + 1)
    joined, written = append_answers(backbone, inputs, rows)
    return backbone.training_inputs(joined), _targets(written, joined, rows)


def answer_losses(backbone: LocalBackbone, inputs: Inputs, targets: Tensor) -> Tensor:
    """Compute the cross-entropy of answers, as `with_answer` gives them.

    Args:
        backbone: with gradients where it is trained.
        inputs: of the forward pass.
        targets: (prompts, tokens) int64.

    Returns:
        (prompts,) float32, the mean over the tokens of each answer.

    Source: §5.2, Equation 1.
    Choice: only the logits of the answers are computed; those of a long prompt over a whole
        vocabulary would fill the memory.
    """
    asked = (targets != NOT_ASKED).any(dim=0).nonzero()
    kept = targets.shape[1] - int(asked.min()) + 1
    output = backbone.parts.model(**inputs, logits_to_keep=kept, use_cache=False)
    return aspect_loss(output.logits[:, -kept:], targets[:, -kept:])


def continuation_scores(
    backbone: LocalBackbone,
    image: PromptImage | None,
    prompt: str,
    continuations: Sequence[tuple[str, str]],
) -> list[float]:
    """Compute how likely a model finds texts, each after a beginning of its answer.

    Args:
        backbone: dropout is the caller's to switch off.
        image: of the prompt, or None.
        prompt: plain text, without template; read once for all where the family allows it.
        continuations: of each answer, how it begins and how it goes on.

    Returns:
        Mean log-likelihood per token of each continuation; the beginning only goes before.

    Raises:
        PromptTooLongError: prompt and answer do not fit.
        BackboneError: a text contains the image's token.
        TrainingError: a continuation is empty.
    """
    import torch

    rows, begun = [], []
    for before, text in continuations:
        ids = answer_ids(backbone, before + text)
        start = _shared(answer_ids(backbone, before) if before else [], ids)
        if start == len(ids):
            raise TrainingError("a text to be compared is empty", "Check the captions.")
        rows.append(ids)
        begun.append(start)
    with torch.inference_mode():
        (logs,) = log_likelihoods(backbone, [image], [prompt], [rows])
    parts = zip(logs, begun, map(len, rows), strict=True)
    return [float(row[start:end].mean()) for row, start, end in parts]


def _targets(written: Tensor, joined: Inputs, rows: Sequence[Sequence[int]]) -> Tensor:
    """Ask for what was added."""
    import torch

    targets = torch.full_like(joined["input_ids"], NOT_ASKED)
    before = targets.shape[1] - written.shape[1]
    for number, row in enumerate(rows):
        targets[number, before : before + len(row)] = written[number, : len(row)]
    return targets


def _shared(before: Sequence[int], whole: Sequence[int]) -> int:
    """Count the tokens that two texts begin with."""
    pairs = zip(before, whole, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), len(before))


def _end_ids(parts: Parts) -> list[int]:
    """Find the token that ends a turn, as the model's template writes it."""
    tokenizer = parts.tokenizer
    after = _text_after_answer(tokenizer)
    if after:
        first = tokenizer.encode(after, add_special_tokens=False)[0]
        if first in tokenizer.all_special_ids or first in tokenizer.added_tokens_decoder:
            return [first]
    end = tokenizer.eos_token_id
    return [] if end is None else [int(end)]


def _text_after_answer(tokenizer: Any) -> str:  # noqa: ANN401 - Hugging Face tokenizers
    """Find what the template writes after an answer; empty where there is no template."""
    if not tokenizer.chat_template:
        return ""
    mark = "the-answer"
    for content in (mark, [{"type": "text", "text": mark}]):
        talk = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": content}]
        try:
            written = str(tokenizer.apply_chat_template(talk, tokenize=False))
        except (TypeError, ValueError, TemplateError):
            continue
        if mark in written:
            return written.rpartition(mark)[2].strip()
    return ""
