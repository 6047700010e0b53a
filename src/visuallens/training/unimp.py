"""Trains the baseline UniMP on a benchmark, with the loop that all stages share.

Source: §6.3 and Table 2; Wei et al. 2024 for the focal weight of the loss.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visuallens import registry
from visuallens.benchmark.metrics import first_relevant_rank, rank_metrics
from visuallens.config import Settings
from visuallens.errors import TrainingError
from visuallens.models.backbones.adapters import Lora
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.unimp import UniMP, UniMPShape, build_unimp
from visuallens.models.unimp_folder import save_unimp
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.unimp import UniMPRanker, words_alone
from visuallens.training.base import Losses
from visuallens.training.requests import TrainingRequest, TrainingRequests
from visuallens.training.split import count_examples, draw_examples, refuse_unindexed
from visuallens.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

_REMEMBERED = 512


def focal_loss(logits: Tensor, relevant: Tensor, gamma: float) -> Tensor:
    """Compute the loss of naming a ground-truth label, weighted down where it is known already.

    Args:
        logits: (examples, vocabulary) of the first output token.
        relevant: (examples, vocabulary) bool, the labels of the ground truth, at least one each.
        gamma: 0 weights all alike.

    Returns:
        (examples,) float32, the mean over the labels of (1 - p)^gamma * -log p.

    Source: Wei et al. 2024, token-level re-weighting with the focal term of Lin et al. 2017; p is
        the softmax over the whole vocabulary and the weight is part of the gradient.
    Choice: UniMP predicts one next item; of several ground truths each is a target, and the loss
        of an example is the mean over them, so that nothing has to be drawn.
    """
    import torch

    logs = logits.float().log_softmax(dim=-1)
    # At p = 1 the gradient of a power below one is infinite.
    unknown = (-torch.expm1(logs)).clamp(min=1e-6)
    each = unknown**gamma * -logs
    counted = relevant.float()
    return (each * counted).sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One example: what is asked in words, and the photos of its profile."""

    request: TrainingRequest
    photos: FloatArray


class UniMPTask:
    """See `TrainingTask`: the examples of a benchmark's train split.

    Args:
        model: fresh, or loaded to go on with.
        profiles: of the benchmark.
        settings: the whole tree; `matching` and `training.unimp` decide, and all of it is written
            into the record of the trained model.

    Raises:
        TrainingError: a split has no examples, or none of the photos of dev is indexed.
    """

    name = "unimp"

    def __init__(self, model: UniMP, profiles: BenchmarkProfiles, settings: Settings) -> None:
        matching = words_alone(settings.matching)
        self._settings = settings.model_copy(update={"matching": matching})
        self._unimp, self._profiles = model, profiles
        self._requests = TrainingRequests(profiles, model, self._settings)
        self._made: OrderedDict[int, _Asked] = OrderedDict()
        self._size = count_examples(profiles.benchmark, "train")
        most = settings.training.unimp.dev_examples
        self._dev = draw_examples(profiles.benchmark, "dev", most, settings.seed)
        refuse_unindexed(profiles, self._dev)

    @property
    def model(self) -> nn.Module:
        """See `TrainingTask`; of the language model only what LoRA adds is trained."""
        return self._unimp.network

    @property
    def size(self) -> int:
        """See `TrainingTask`."""
        return self._size

    @property
    def counts(self) -> dict[str, int]:
        """Requests whose candidates did not all fit, so far."""
        return {"shortened_requests": self._requests.counts["shortened_requests"]}

    def losses(self, examples: Sequence[int], seed: int) -> Losses:
        """See `TrainingTask.losses`.

        Args:
            examples: numbers of examples of the train split.
            seed: with the number of an example decides the order of its candidates.

        Returns:
            The focal loss of each, and as "matching" the same without the weight.

        Raises:
            TrainingError: none of an example's ground truth is among its candidates.
        """
        import torch

        asked = self._take(examples)
        questions = [
            self._requests.question(one.request, np.random.default_rng((seed, number)))
            for one, number in zip(asked, examples, strict=True)
        ]
        logits = self._unimp.logits(
            [question.prompt for question in questions], [one.photos for one in asked]
        )
        ids = self._unimp.label_space().token_ids
        relevant = torch.zeros(logits.shape, dtype=torch.bool)
        for row, question in enumerate(questions):
            relevant[row, [ids[at] for at, true in enumerate(question.relevant) if true]] = True
        relevant = relevant.to(logits.device)
        each = focal_loss(logits, relevant, self._settings.training.unimp.gamma)
        return Losses(each, {"matching": focal_loss(logits.detach(), relevant, 0.0)})

    def evaluate(self) -> Mapping[str, float]:
        """See `TrainingTask.evaluate`.

        Returns:
            Mean reciprocal rank and hit rates of the ranker `unimp` on some examples of dev; the
            score is the first.
        """
        resources = self._profiles.resources(lambda: self._unimp)
        ranker = UniMPRanker(replace(resources, matching=self._settings.matching))
        ranks = [
            first_relevant_rank(ranker.rank(example.request), example.ground_truth)
            for example in self._dev
        ]
        metrics = rank_metrics(ranks)
        return {**metrics, "score": metrics["mrr"]}

    def save(self, folder: Path) -> None:
        """Write the trained weights, with the resolved settings and what they were trained on."""
        about = self._profiles.benchmark.about
        trained_on = {"benchmark": about["name"], "checksum": about["checksum"]}
        config = {**self._settings.recorded(), "trained_on": trained_on}
        save_unimp(self._unimp, folder, config)

    def _take(self, numbers: Sequence[int]) -> list[_Asked]:
        """Make what is asked of examples, and remember the last ones."""
        missing = sorted(set(numbers).difference(self._made))
        found = self._profiles.benchmark.some("train", missing) if missing else ()
        for number, one in zip(missing, found, strict=True):
            photos = self._profiles.profile(one.example.request).embeddings
            self._made[number] = _Asked(self._requests.make(one.example), photos)
        for number in numbers:
            self._made.move_to_end(number)
        taken = [self._made[number] for number in numbers]
        while len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)
        return taken


def open_untrained(settings: Settings, *, photo_dim: int, encoder: str) -> UniMP:
    """Open the language model of the settings and put fresh cross-attention into it.

    Args:
        settings: `backbone`, `matching.style`, `training.lora`, `training.unimp` and the seed.
        photo_dim: of the photos' embeddings.
        encoder: id of what made them.

    Returns:
        The model, untrained.

    Raises:
        TrainingError: the backbone is a server, or has an adapter.
        BackboneError: it cannot be opened, or cross-attention does not fit.
    """
    own, sizes = settings.training.unimp, settings.training.lora
    if settings.backbone.adapter is not None:
        problem = "UniMP begins with a language model as it is published, not with an adapter"
        raise TrainingError(problem, "Leave backbone.adapter out, or merge the adapter first.")
    language: object = registry.load("backbones", settings.backbone.name)(settings.backbone)
    if not isinstance(language, LocalBackbone):
        raise TrainingError(
            f"the backbone {settings.backbone.name!r} is not a language model on this machine",
            "Choose one whose weights are here: --backbone nano or causal.",
        )
    shape = UniMPShape(
        photo_dim,
        own.every,
        own.heads,
        own.head_dim,
        own.widening,
        Lora(sizes.rank, sizes.alpha, sizes.dropout) if own.lora else None,
    )
    style, seed = settings.matching.style, settings.seed
    return build_unimp(language, shape, own.labels, style, encoder=encoder, seed=seed)
