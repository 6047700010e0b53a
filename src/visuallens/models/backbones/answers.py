"""How likely a backbone finds answers to one prompt, with gradients where it is trained.

Choice: the prompt is read once, and all answers behind it in the same pass, as branches that do not
    see each other. A dozen names then cost little more than the profile that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from visuallens.errors import BackboneError
from visuallens.models.backbones.family import Inputs, answer_gap
from visuallens.models.backbones.modes import evaluating, untrained
from visuallens.models.base import PromptImage
from visuallens.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

    from visuallens.models.backbones.local import LocalBackbone

_REMEMBERED = 100_000


def answer_ids(backbone: LocalBackbone, answer: str) -> list[int]:
    """Write an answer in tokens, as they follow the backbone's template.

    Args:
        backbone: its template and tokenizer.
        answer: plain text.

    Returns:
        Token ids, without the one that ends the turn.

    Raises:
        BackboneError: the answer contains the image's token.
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
        problem = f"an answer contains {name}, which stands for an image. Clean the text."
        raise BackboneError(backbone.name, problem)
    return ids


def append_answers(
    backbone: LocalBackbone, inputs: Inputs, rows: Sequence[Sequence[int]]
) -> tuple[Inputs, Tensor]:
    """Append answers to prompts.

    Args:
        backbone: that will read them.
        inputs: of the prompts, see `Family.encode`.
        rows: token ids of each answer.

    Returns:
        The longer inputs, and the (prompts, longest answer) int64 ids that were added, 0 behind
        shorter ones.
    """
    import torch

    longest = max(map(len, rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(list(row), dtype=torch.int64)
    ids, mask = ids.to(backbone.device), _written(backbone, rows).to(torch.int64)
    joined = {
        **inputs,
        "input_ids": torch.cat([inputs["input_ids"], ids], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], mask], dim=1),
    }
    return joined, ids


def log_likelihoods(
    backbone: LocalBackbone,
    image: PromptImage | None,
    prompt: str,
    rows: Sequence[Sequence[int]],
) -> Tensor:
    """Compute how likely each token of each answer is after a prompt.

    Args:
        backbone: dropout is the caller's to switch off.
        image: of the prompt, or None.
        prompt: plain text, without template.
        rows: `answer_ids` of each answer, at least one.

    Returns:
        (answers, longest answer) float32 natural logarithms, 0 behind shorter ones.

    Raises:
        PromptTooLongError: prompt and answer do not fit.

    Choice: where layers do not see every token before them, or positions are counted in a way of
        their own, the prompt is read anew with each answer.
    """
    inputs = backbone.encode([image], [prompt], room=max(map(len, rows)) + 1)
    plain = "position_ids" not in backbone.training_inputs(inputs)
    if plain and backbone.family.keeps_prefix and backbone.keeps_every_token:
        return _in_branches(backbone, inputs, rows)
    return _one_by_one(backbone, image, prompt, rows)


def score_answers(
    backbone: LocalBackbone, image: PromptImage | None, prompt: str, answers: Sequence[str]
) -> FloatArray:
    """Compute how likely answers are; see `AnswerScorer.score_answers`."""
    import torch

    rows = [answer_ids(backbone, answer) for answer in answers]
    with torch.inference_mode(), evaluating(backbone.parts.model):
        logs = log_likelihoods(backbone, image, prompt, rows).sum(dim=-1)
    if not bool(logs.isfinite().all()):
        raise overflow(backbone.name)
    return np.asarray(logs.cpu().numpy(), dtype=np.float32)


def overflow(name: str) -> BackboneError:
    """Say what to do about logits that are not finite."""
    advice = "Choose --set backbone.dtype=bfloat16 or float32."
    return BackboneError(name, f"its numbers overflow. {advice}")


class UntrainedScores:
    """What a backbone without its adapter says of answers, remembered: it never changes.

    Args:
        backbone: with or without an adapter.
    """

    def __init__(self, backbone: LocalBackbone) -> None:
        self._backbone = backbone
        self._known: dict[tuple[str, str], float] = {}

    def __call__(self, prompt: str, answers: Sequence[str]) -> FloatArray:
        """Give the log-likelihood of each answer, (answers,) float32; see `AnswerScorer`."""
        new = [one for one in dict.fromkeys(answers) if (prompt, one) not in self._known]
        if len(self._known) + len(new) > _REMEMBERED:
            self._known.clear()
            new = [*dict.fromkeys(answers)]
        if new:
            with untrained(self._backbone.parts.model):
                scores = score_answers(self._backbone, None, prompt, new)
            keys = [(prompt, one) for one in new]
            self._known.update(zip(keys, scores.tolist(), strict=True))
        return np.array([self._known[prompt, one] for one in answers], np.float32)


def _in_branches(backbone: LocalBackbone, inputs: Inputs, rows: Sequence[Sequence[int]]) -> Tensor:
    """Read a prompt and all answers in one row."""
    import torch

    device, shared = backbone.device, inputs["input_ids"].shape[1]
    sizes = torch.tensor([len(row) for row in rows], device=device)
    added = torch.tensor([*chain(*rows)], dtype=torch.int64, device=device)
    starts = sizes.cumsum(dim=0) - sizes
    branch = torch.repeat_interleave(torch.arange(1, len(rows) + 1, device=device), sizes)
    within = torch.arange(len(added), device=device) - starts[branch - 1]
    before = torch.arange(shared, device=device)
    packed = {
        **inputs,
        "input_ids": torch.cat([inputs["input_ids"], added[None]], dim=1),
        "position_ids": torch.cat([before, shared + within])[None],
        "attention_mask": _mask(backbone, torch.cat([torch.zeros_like(before), branch])),
    }
    output = backbone.parts.model(**packed, logits_to_keep=len(added) + 1, use_cache=False)
    logits = output.logits[0].float()  # of the prompt's last token, then of those added
    previous = torch.arange(len(added), device=device)
    previous[within == 0] = 0
    logs = logits[previous, added] - logits.logsumexp(dim=-1)[previous]
    written = _written(backbone, rows)
    return torch.zeros(written.shape, device=device).masked_scatter(written, logs)


def _mask(backbone: LocalBackbone, branch: Tensor) -> Tensor:
    """Let each token see those before it that are of the prompt or of its own branch.

    Args:
        backbone: decides the type; attention adds the mask to its scores.
        branch: (tokens,) int64, of each token, 0 for those of the prompt.

    Returns:
        (1, 1, tokens, tokens), 0 where seen.
    """
    import torch

    kind = backbone.device.type
    mixed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    dtype = mixed or next(backbone.parts.model.parameters()).dtype
    before = torch.ones((len(branch), len(branch)), dtype=torch.bool, device=branch.device).tril()
    seen = before & ((branch[None, :] == 0) | (branch[None, :] == branch[:, None]))
    scores = torch.zeros(seen.shape, dtype=dtype, device=branch.device)
    return scores.masked_fill(~seen, torch.finfo(dtype).min)[None, None]


def _one_by_one(
    backbone: LocalBackbone,
    image: PromptImage | None,
    prompt: str,
    rows: Sequence[Sequence[int]],
) -> Tensor:
    """Read the prompt with each answer, a batch at a time."""
    import torch
    from torch.nn.functional import pad

    longest, size = max(map(len, rows)), backbone.settings.batch_size
    parts = []
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        inputs = backbone.encode([image] * len(some), [prompt] * len(some), room=longest + 1)
        joined, ids = append_answers(backbone, inputs, some)
        kept = ids.shape[1] + 1
        output = backbone.parts.model(
            **backbone.training_inputs(joined), logits_to_keep=kept, use_cache=False
        )
        logs = output.logits[:, -kept:-1].float().log_softmax(dim=-1)
        said = logs.gather(-1, ids[..., None])[..., 0] * _written(backbone, some)
        parts.append(pad(said, (0, longest - ids.shape[1])))
    return torch.cat(parts)


def _written(backbone: LocalBackbone, rows: Sequence[Sequence[int]]) -> Tensor:
    """Tell tokens of answers from what fills shorter ones, (answers, longest) bool."""
    import torch

    sizes = torch.tensor([len(row) for row in rows], device=backbone.device)
    return torch.arange(max(map(len, rows)), device=backbone.device) < sizes[:, None]
