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

Rows = Sequence[Sequence[int]]
"""Token ids of several answers."""


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


def append_answers(backbone: LocalBackbone, inputs: Inputs, rows: Rows) -> tuple[Inputs, Tensor]:
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
    images: Sequence[PromptImage | None],
    prompts: Sequence[str],
    answers: Sequence[Rows],
) -> list[Tensor]:
    """Compute how likely each token of each answer is after its prompt.

    Args:
        backbone: dropout is the caller's to switch off.
        images: one per prompt, or None; all or none of one call.
        prompts: plain text, without template.
        answers: of each prompt the `answer_ids` of its answers, at least one.

    Returns:
        For each prompt (answers, longest answer) float32 natural logarithms, 0 behind shorter ones.

    Raises:
        PromptTooLongError: a prompt and its answer do not fit.
        BackboneError: some prompts have an image and others have none.

    Choice: where layers do not see every token before them, or positions are counted in a way of
        their own, a prompt is read anew with each answer.
    """
    longest = max(len(row) for rows in answers for row in rows)
    inputs = backbone.encode(images, prompts, room=longest + 1)
    plain = "position_ids" not in backbone.training_inputs(inputs)
    if plain and backbone.family.keeps_prefix and backbone.keeps_every_token:
        return _in_branches(backbone, inputs, answers)
    asked = zip(images, prompts, answers, strict=True)
    return [_one_by_one(backbone, *one) for one in asked]


def score_answers(
    backbone: LocalBackbone, image: PromptImage | None, prompt: str, answers: Sequence[str]
) -> FloatArray:
    """Compute how likely answers are; see `AnswerScorer.score_answers`."""
    import torch

    rows = [answer_ids(backbone, answer) for answer in answers]
    with torch.inference_mode(), evaluating(backbone.parts.model):
        (logs,) = log_likelihoods(backbone, [image], [prompt], [rows])
        sums = logs.sum(dim=-1)
    if not bool(sums.isfinite().all()):
        raise overflow(backbone.name)
    return np.asarray(sums.cpu().numpy(), dtype=np.float32)


def overflow(name: str) -> BackboneError:
    """Say what to do about logits that are not finite."""
    advice = "Choose --set backbone.dtype=bfloat16 or float32."
    return BackboneError(name, f"its numbers overflow. {advice}")


class UntrainedScores:
    """What a backbone without its adapter says of answers, remembered: it never changes.

    Args:
        backbone: with or without an adapter.

    Choice: each answer is asked by itself, once. Numbers of few bits depend a little on what is
        computed beside them, so a score would otherwise depend on which questions came before.
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
        with untrained(self._backbone.parts.model):
            for one in new:
                (score,) = score_answers(self._backbone, None, prompt, [one])
                self._known[prompt, one] = float(score)
        return np.array([self._known[prompt, one] for one in answers], np.float32)


def _in_branches(backbone: LocalBackbone, inputs: Inputs, answers: Sequence[Rows]) -> list[Tensor]:
    """Read each prompt and all of its answers in one row."""
    import torch

    device, read = backbone.device, inputs["attention_mask"].bool()
    joined, ids = append_answers(backbone, inputs, [[*chain(*rows)] for rows in answers])
    branch, within = _places(answers, ids)
    lengths = read.sum(dim=1, keepdim=True)
    before = (read.cumsum(dim=1) - 1).clamp(min=0)
    seen = joined["attention_mask"].bool()
    packed = {
        **joined,
        "position_ids": torch.cat([before, lengths + within], dim=1),
        "attention_mask": _mask(backbone, torch.cat([torch.zeros_like(before), branch], 1), seen),
    }
    output = backbone.parts.model(**packed, logits_to_keep=ids.shape[1] + 1, use_cache=False)
    # Logits of the last token of each prompt, then of those added; each tells of the one after it.
    previous = torch.arange(ids.shape[1], device=device).repeat(len(answers), 1)
    previous[within == 0] = 0
    found = []
    for number, rows in enumerate(answers):
        count = sum(map(len, rows))
        logits, own = output.logits[number].float(), previous[number, :count]
        logs = logits[own, ids[number, :count]] - logits.logsumexp(dim=-1)[own]
        written = _written(backbone, rows)
        found.append(torch.zeros(written.shape, device=device).masked_scatter(written, logs))
    return found


def _places(answers: Sequence[Rows], ids: Tensor) -> tuple[Tensor, Tensor]:
    """Number the answer of each added token from 1, and the token within its answer from 0.

    Args:
        answers: of each prompt.
        ids: (prompts, added tokens), which says how wide the result is.

    Returns:
        Two of (prompts, added tokens) int64, 0 behind the last answer.
    """
    import torch

    branch, within = torch.zeros_like(ids), torch.zeros_like(ids)
    for number, rows in enumerate(answers):
        pairs = [(at, place) for at, row in enumerate(rows, 1) for place in range(len(row))]
        if pairs:
            own = torch.tensor(pairs, dtype=torch.int64, device=ids.device)
            branch[number, : len(pairs)], within[number, : len(pairs)] = own.T
    return branch, within


def _mask(backbone: LocalBackbone, branch: Tensor, read: Tensor) -> Tensor:
    """Let each token see those before it that are of the prompt or of its own branch.

    Args:
        backbone: decides the type; attention adds the mask to its scores.
        branch: (prompts, tokens) int64, of each token, 0 for those of the prompt.
        read: (prompts, tokens) bool, what is no padding.

    Returns:
        (prompts, 1, tokens, tokens), 0 where seen; padding sees itself, for a softmax over nothing
        is no number.
    """
    import torch

    kind = backbone.device.type
    mixed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    dtype = mixed or next(backbone.parts.model.parameters()).dtype
    size, device = branch.shape[1], branch.device
    before = torch.ones((size, size), dtype=torch.bool, device=device).tril()
    own = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    seen = before & own & read[:, None, :] | torch.eye(size, dtype=torch.bool, device=device)
    scores = torch.zeros(seen.shape, dtype=dtype, device=device)
    return scores.masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def _one_by_one(
    backbone: LocalBackbone,
    image: PromptImage | None,
    prompt: str,
    rows: Rows,
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


def _written(backbone: LocalBackbone, rows: Rows) -> Tensor:
    """Tell tokens of answers from what fills shorter ones, (answers, longest) bool."""
    import torch

    sizes = torch.tensor([len(row) for row in rows], device=backbone.device)
    return torch.arange(max(map(len, rows)), device=backbone.device) < sizes[:, None]
