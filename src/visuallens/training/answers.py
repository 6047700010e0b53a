"""Prompts with the answers that a backbone shall give: training inputs, losses, likelihoods.

The one place where an answer is put behind a prompt, for all stages of §5 and all families.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from visuallens.errors import TrainingError
from visuallens.models.backbones.family import Inputs, Parts, answer_gap
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
        BackboneError: some prompts have an image and others have none.
        TrainingError: an answer contains the image's token.

    Choice: the end is learned too, else a model that was trained on lists never stops one.
    """
    ends = _end_ids(backbone.parts)
    rows = [[*answer_ids(backbone, answer), *ends] for answer in answers]
    longest = max(map(len, rows))
    inputs = backbone.encode(images, prompts, room=longest + 1)
    joined, written = _joined(backbone, inputs, rows)
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
        TrainingError: a text contains the image's token, or a continuation is empty.
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
    read = _after_kept_prompt if backbone.family.keeps_prefix else _whole
    with torch.inference_mode():
        losses: list[float] = read(backbone, image, prompt, rows, begun)
    return [-loss for loss in losses]


def answer_ids(backbone: LocalBackbone, answer: str) -> list[int]:
    """Write an answer in tokens, as they follow the backbone's template.

    Args:
        backbone: its template and tokenizer.
        answer: plain text.

    Returns:
        Token ids, without the one that ends the turn.

    Raises:
        TrainingError: the answer contains the image's token.
    """
    tokenizer = backbone.parts.tokenizer
    before = backbone.family.answer_start(backbone.parts)
    text = answer_gap(tokenizer, before) + answer
    start = tokenizer.encode(before, add_special_tokens=False)
    ids: list[int] = tokenizer.encode(before + text, add_special_tokens=False)
    # Where the first word melts into the template, the answer is written by itself.
    alone = ids[: len(start)] != start
    ids = tokenizer.encode(text, add_special_tokens=False) if alone else ids[len(start) :]
    image = backbone.parts.image_token_id
    if image is not None and image in ids:
        name = tokenizer.convert_ids_to_tokens(image)
        raise TrainingError(
            f"an answer contains {name}, which stands for an image", "Clean the text."
        )
    return ids


def _joined(
    backbone: LocalBackbone, inputs: Inputs, rows: Sequence[Sequence[int]]
) -> tuple[Inputs, Tensor]:
    """Append rows of tokens; return the inputs and the (prompts, longest) ids that were added."""
    import torch

    longest = max(map(len, rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(list(row), dtype=torch.int64)
        mask[number, : len(row)] = 1
    ids, mask = ids.to(backbone.device), mask.to(backbone.device)
    joined = {
        **inputs,
        "input_ids": torch.cat([inputs["input_ids"], ids], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], mask], dim=1),
    }
    return joined, ids


def _targets(
    written: Tensor, joined: Inputs, rows: Sequence[Sequence[int]], begun: Sequence[int] = ()
) -> Tensor:
    """Ask for what was added, from where each row is no longer begun."""
    import torch

    targets = torch.full_like(joined["input_ids"], NOT_ASKED)
    before = targets.shape[1] - written.shape[1]
    for number, row in enumerate(rows):
        start = begun[number] if begun else 0
        targets[number, before + start : before + len(row)] = written[number, start : len(row)]
    return targets


def _whole(
    backbone: LocalBackbone,
    image: PromptImage | None,
    prompt: str,
    rows: Sequence[Sequence[int]],
    begun: Sequence[int],
) -> list[float]:
    """Read prompt and answer together, a batch at a time."""
    losses: list[float] = []
    for batch in _batches(len(rows), backbone.settings.batch_size):
        some = rows[batch]
        inputs = backbone.encode(
            [image] * len(some), [prompt] * len(some), room=max(map(len, some)) + 1
        )
        joined, written = _joined(backbone, inputs, some)
        targets = _targets(written, joined, some, begun[batch])
        losses += answer_losses(backbone, backbone.training_inputs(joined), targets).tolist()
    return losses


def _after_kept_prompt(
    backbone: LocalBackbone,
    image: PromptImage | None,
    prompt: str,
    rows: Sequence[Sequence[int]],
    begun: Sequence[int],
) -> list[float]:
    """Read the prompt once, then all answers after it."""
    import torch

    model = backbone.parts.model
    inputs = backbone.encode([image], [prompt], room=max(map(len, rows)) + 1)
    read = model(**inputs, logits_to_keep=1, use_cache=True)
    losses: list[float] = []
    for batch in _batches(len(rows), backbone.settings.batch_size):
        some = rows[batch]
        cache = deepcopy(read.cache)
        cache.batch_repeat_interleave(len(some))
        many = {name: inputs[name].expand(len(some), -1) for name in _TEXT}
        joined, written = _joined(backbone, many, some)
        asked = {
            "input_ids": written,
            "attention_mask": joined["attention_mask"],
            "cache": cache,
            **_positions(backbone, inputs, max(some, key=len), len(some)),
        }
        later = model(**asked, use_cache=True).logits
        first = read.logits[:, -1:].expand(len(some), -1, -1)
        targets = _targets(written, joined, some, begun[batch])[:, -written.shape[1] - 1 :]
        losses += aspect_loss(torch.cat([first, later], dim=1), targets).tolist()
    return losses


_TEXT = ("input_ids", "attention_mask")


def _positions(
    backbone: LocalBackbone, inputs: Inputs, longest: Sequence[int], count: int
) -> Inputs:
    """Give the positions of answers after one prompt, for families that hand positions over."""
    joined = backbone.training_inputs(_joined(backbone, inputs, [longest])[0])
    positions = joined.get("position_ids")
    if positions is None:
        return {}
    after = positions[..., -len(longest) :]
    return {"position_ids": after.repeat_interleave(count, dim=-2)}


def _batches(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


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
