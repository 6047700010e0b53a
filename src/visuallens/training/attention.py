"""Trains the ranker `attention`, with the loop that all stages share.

The memory is made in closed form from training users. The head learns on top of it, from memories
that do not know the user it is shown, as the final memory will not know a new user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from visuallens.benchmark.metrics import first_relevant_rank, rank_metrics
from visuallens.config import Settings
from visuallens.models.attention import AttentionHead, AttentionMatcher
from visuallens.models.attention_folder import save_matcher
from visuallens.models.base import TextEncoder
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.base import to_ranking
from visuallens.training.attended import Asked, AttendedReader
from visuallens.training.base import Losses
from visuallens.training.losses import MatchForm, match_loss, teacher_loss
from visuallens.training.recollection import Recollections
from visuallens.training.split import draw_rows, refuse_unindexed
from visuallens.training.teacher import Teacher, taught_scores
from visuallens.types import Candidate, FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

_READ_AT_ONCE = 512
_FIT_ROUNDS, _FIT_RIDGE = 100, 1e-3

_EVALUATED_AT_ONCE = 64


class AttentionTask:
    """See `TrainingTask`: the examples of a benchmark's train split.

    Args:
        profiles: of the benchmark.
        sentences: embeds texts.
        settings: the whole tree; `retrieval` and `training.attention` decide, and all of it is
            written into the record of the trained matcher.
        encoder: id of what embedded the photos.
        teacher: run of a slower ranker on the train split, or None.

    Raises:
        TrainingError: a split has no examples, none of the photos is indexed, there are fewer users
            than folds, or the teacher has not ranked the examples.
    """

    name = "attention"

    def __init__(
        self,
        profiles: BenchmarkProfiles,
        sentences: TextEncoder,
        settings: Settings,
        encoder: str,
        teacher: Teacher | None = None,
    ) -> None:
        own = settings.training.attention
        self._settings, self._own = settings, own
        self._benchmark = profiles.benchmark
        reader = AttendedReader(profiles, own)
        train = draw_rows(profiles.benchmark, "train", own.examples, settings.seed)
        dev = draw_rows(profiles.benchmark, "dev", own.dev_examples, settings.seed)
        self._train, _ = reader.read("train", train, as_chosen=True)
        known = len(reader.tables.candidates)
        self._dev, self._dev_examples = reader.read("dev", dev)
        refuse_unindexed(profiles, self._dev_examples)
        self._recollections = Recollections(
            reader,
            train_candidates=known,
            profiles=profiles,
            sentences=sentences,
            settings=own,
            seed=settings.seed,
        )
        candidates = self._recollections.candidates
        self._taught = [] if teacher is None else _taught(self._train, candidates, teacher)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._head = AttentionHead(self._recollections.shape, own.dropout)
        self._begin()
        self.matcher = AttentionMatcher(self._recollections.memory, self._head, encoder)

    @property
    def model(self) -> nn.Module:
        """See `TrainingTask`; the memory is not trained by steps."""
        return self._head

    @property
    def size(self) -> int:
        """See `TrainingTask`."""
        return len(self._train)

    @property
    def trained_on(self) -> dict[str, str]:
        """Name and checksum of the benchmark, and what of it the memory knows."""
        about, memory = self._benchmark.about, self._recollections.memory
        return {
            "benchmark": str(about["name"]),
            "checksum": str(about["checksum"]),
            "landmarks": f"{memory.landmarks}, {memory.described} with texts",
        }

    @property
    def parameters(self) -> int:
        """How many numbers the matcher has, those of the memory with them."""
        return sum(part.numel() for part in self.matcher.state_dict().values())

    def losses(self, examples: Sequence[int], seed: int) -> Losses:
        """See `TrainingTask.losses`.

        Args:
            examples: numbers of examples.
            seed: with the number of an example decides which candidates its memory does not know.

        Returns:
            The matching loss of each, and with a teacher a share of the cross-entropy to its
            scores; the parts are "matching" and "teacher".

        Source: §5.3, Equation 2; distillation as by Hinton et al. 2015.
        """
        asked = [self._train[number] for number in examples]
        draws = [np.random.default_rng((seed, number)) for number in examples]
        folds = [self._recollections.fold(*one) for one in zip(asked, draws, strict=True)]
        seen = self._recollections.batch(asked, folds).to(self._device)
        scores = self._head(seen)
        relevant = _padded([one.relevant for one in asked], scores.shape[1]).to(self._device)
        each = match_loss(scores, relevant.bool(), seen.mask, self._own.form)
        if not self._taught:
            return Losses(each, {"matching": each})
        taught = _padded([self._taught[number] for number in examples], scores.shape[1])
        other = teacher_loss(scores, taught.to(self._device), seen.mask)
        weight = self._own.teacher_weight
        return Losses((1 - weight) * each + weight * other, {"matching": each, "teacher": other})

    def evaluate(self) -> Mapping[str, float]:
        """See `TrainingTask.evaluate`.

        Returns:
            Mean reciprocal rank and hit rates on dev, with the final memory; the score is the
            first. Scores and ties are those of the ranker `attention`.
        """
        ranks = []
        for start in range(0, len(self._dev), _EVALUATED_AT_ONCE):
            asked = self._dev[start : start + _EVALUATED_AT_ONCE]
            examples = self._dev_examples[start : start + _EVALUATED_AT_ONCE]
            seen = self._recollections.batch(asked, [None] * len(asked)).to(self._device)
            scores = self._head(seen).double().cpu().numpy()
            for example, row in zip(examples, scores, strict=True):
                own = row[: len(example.request.candidates)]
                ranking = to_ranking(example.request, self.name, own)
                ranks.append(first_relevant_rank(ranking, example.ground_truth))
        metrics = rank_metrics(ranks)
        return {**metrics, "score": metrics["mrr"]}

    def save(self, folder: Path) -> None:
        """Write the matcher, with the resolved settings and what it was trained on."""
        config = {**self._settings.recorded(), "trained_on": dict(self.trained_on)}
        save_matcher(self.matcher, folder, config)

    @property
    def _device(self) -> torch.device:
        return self._head.weights.device

    def _begin(self) -> None:
        """Take the scales of the head's inputs from training examples, and its first weights.

        Choice: steps begin from the best weighted sum of the evidence, which is a convex problem;
            so they only have to learn what attention adds to it.
        """
        generator = np.random.default_rng((self._settings.seed, 7))
        count = min(len(self._train), _READ_AT_ONCE)
        drawn = generator.choice(len(self._train), count, replace=False)
        some = [self._train[int(at)] for at in drawn]
        folds = [self._recollections.fold(one, generator) for one in some]
        self._head.fit_scales(self._recollections.batch(some, folds))
        parts = []
        for start in range(0, len(self._train), _READ_AT_ONCE):
            asked = self._train[start : start + _READ_AT_ONCE]
            folds = [self._recollections.fold(one, generator) for one in asked]
            seen = self._recollections.batch(asked, folds)
            parts.append((self._head.scaled_evidence(seen).detach(), seen.mask))
        width = max(mask.shape[1] for _, mask in parts)
        evidence, mask = (_stacked(some, width) for some in zip(*parts, strict=True))
        relevant = _padded([one.relevant for one in self._train], width).bool()
        weights = _best_weights(evidence, relevant, mask, self._own.form)
        with torch.no_grad():
            self._head.weights.copy_(weights)


def _best_weights(evidence: Tensor, relevant: Tensor, mask: Tensor, form: MatchForm) -> Tensor:
    """Find the weighted sum of the evidence that has the least loss."""
    weights = torch.zeros(evidence.shape[-1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=_FIT_ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        each = match_loss(evidence @ weights, relevant, mask, form)
        total = each.mean() + _FIT_RIDGE * weights.square().sum()
        total.backward()
        return float(total.detach())

    optimiser.step(loss)
    return weights.detach()


def _stacked(parts: Sequence[Tensor], width: int) -> Tensor:
    """Put batches below each other, their second axis widened with zeros."""
    wide = []
    for part in parts:
        whole = part.new_zeros((len(part), width, *part.shape[2:]))
        whole[:, : part.shape[1]] = part
        wide.append(whole)
    return torch.cat(wide)


def _padded(rows: Sequence[NDArray[np.generic]], width: int) -> Tensor:
    filled = torch.zeros((len(rows), width))
    for at, row in enumerate(rows):
        filled[at, : len(row)] = torch.from_numpy(row)
    return filled


def _taught(
    asked: Sequence[Asked], candidates: Sequence[Candidate], teacher: Teacher
) -> list[FloatArray]:
    """Look up what a teacher says of each example's candidates, which are rows of a table."""
    return [
        taught_scores(teacher, one.example_id, [candidates[at].id for at in one.candidates])
        for one in asked
    ]
