"""Stage 3: joint training of aspect word generation and candidate matching (§5.3).

Each example asks the backbone twice: which candidate comes next, answered by the labels of the
ground truth, and which aspect words one photo of the profile has. The fine-tuned baselines of §6.3
are the same task with other settings: text only (a backbone that does not see, or
`matching.image = false` and no joint training), images only (`matching.aspects` and
`matching.captions` off), and each row of Table 3.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visuallens.benchmark.metrics import first_relevant_rank, rank_metrics
from visuallens.config import Settings
from visuallens.errors import TrainingError
from visuallens.models.backbones.adapters import save_adapter
from visuallens.models.backbones.answers import answer_ids, log_likelihoods
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage
from visuallens.models.label_space import LabelKind
from visuallens.profiles import BenchmarkProfiles
from visuallens.prompts import aspect_prompt
from visuallens.rankers.naming import NAME_SHARPNESS
from visuallens.rankers.visuallens import VisualLensRanker
from visuallens.training.answers import answer_losses, with_answer
from visuallens.training.base import Losses
from visuallens.training.losses import joint_loss, match_loss, teacher_loss
from visuallens.training.requests import MatchingQuestion, RefinedWords, TrainingRequests
from visuallens.training.split import count_examples, draw_examples, refuse_unindexed
from visuallens.training.teacher import Teacher
from visuallens.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

DATA = "data.json"
"""File of a run that says what it is trained on."""


class JointTask:
    """See `TrainingTask`: the examples of a benchmark's train split.

    Args:
        backbone: with an adapter; see `open_adapted`.
        profiles: of the benchmark.
        settings: the whole tree; `matching` and `training.joint` decide, and all of it is written
            into the adapter's record.
        refined: words of stage 2 as the answers of the aspect task; None: those of the library.
        teacher: run of another ranker on the train split, or None.

    Raises:
        TrainingError: the backbone has no adapter or its labels do not fit its vocabulary, a split
            has no examples, or none of its photos is indexed.

    Choice: the labels are those of the adapter, whatever `matching.labels` says.
    """

    name = "joint"

    def __init__(
        self,
        backbone: LocalBackbone,
        profiles: BenchmarkProfiles,
        settings: Settings,
        refined: RefinedWords | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        own = settings.matching.model_copy(update={"labels": "auto"})
        self._settings = settings.model_copy(update={"matching": own})
        self._backbone, self._profiles, self._refined = backbone, profiles, refined
        self._label_ids = label_ids(backbone, settings.training.joint.labels)
        self._by_name = settings.training.joint.labels == "names"
        self._joint = settings.training.joint.joint and backbone.sees
        if settings.training.joint.joint and not backbone.sees:
            logger.info("%s sees no photos: only matching is trained.", backbone.name)
        self._requests = TrainingRequests(profiles, backbone, self._settings, refined, teacher)
        self._size = count_examples(profiles.benchmark, "train")
        most = settings.training.joint.dev_examples
        self._dev = draw_examples(profiles.benchmark, "dev", most, settings.seed)
        refuse_unindexed(profiles, self._dev)

    @property
    def model(self) -> nn.Module:
        """See `TrainingTask`."""
        model: nn.Module = self._backbone.parts.model
        return model

    @property
    def size(self) -> int:
        """See `TrainingTask`."""
        return self._size

    @property
    def counts(self) -> dict[str, int]:
        """What was missing so far; see `TrainingRequests.counts`."""
        return self._requests.counts

    @property
    def trained_on(self) -> Mapping[str, str]:
        """Name and checksum of the benchmark, and a digest of the refined words."""
        about = self._profiles.benchmark.about
        found = {"benchmark": str(about["name"]), "checksum": str(about["checksum"])}
        if self._refined is not None:
            words = {path: list(own) for path, own in self._refined.items()}
            text = json.dumps(words, sort_keys=True)
            found["aspects"] = hashlib.sha256(text.encode()).hexdigest()
        return found

    def losses(self, examples: Sequence[int], seed: int) -> Losses:
        """See `TrainingTask.losses`.

        Args:
            examples: numbers of examples of the train split.
            seed: with the number of an example decides the order of its candidates and its photo.

        Returns:
            L_asp + lambda L_pred of each, and the two as "aspects" and "matching"; without joint
            training L_pred alone. With a teacher L_pred is (1 - a) "matching" + a "teacher", the
            cross-entropy to its scores, where a is `training.joint.teacher_weight`.

        Raises:
            TrainingError: none of an example's ground truth is among its candidates, or the
                teacher has not scored them all.

        Source: §5.3, Equation 3.
        Choice: an example without a photo that has aspect words has an L_asp of 0.
        """
        settings = self._settings.training.joint
        requests = self._requests.take(examples)
        draws = [np.random.default_rng((seed, number)) for number in examples]
        asked = list(zip(requests, draws, strict=True))
        matching = self._match([self._requests.question(*one) for one in asked])
        if not self._joint:
            return matching
        aspects = self._name_aspects([self._requests.photo(*one) for one in asked])
        aspects = aspects.to(matching.each)
        each = joint_loss(aspects, matching.each, settings.match_weight)
        return Losses(each, {"aspects": aspects, **matching.parts})

    def evaluate(self) -> Mapping[str, float]:
        """See `TrainingTask.evaluate`.

        Returns:
            Mean reciprocal rank and hit rates of the ranker `visuallens` on some examples of dev;
            the score is the first.

        Choice: it ranks as at inference, each request in the order that its own seed gives.
        """
        resources = self._profiles.resources(lambda: self._backbone, self._requests.draw)
        ranker = VisualLensRanker(replace(resources, matching=self._settings.matching))
        ranks = [
            first_relevant_rank(ranker.rank(example.request), example.ground_truth)
            for example in self._dev
        ]
        self._backbone.forget_prefix()
        metrics = rank_metrics(ranks)
        return {**metrics, "score": metrics["mrr"]}

    def save(self, folder: Path) -> None:
        """Write the adapter, with the resolved settings and what it was trained on."""
        config = {**self._settings.recorded(), "trained_on": dict(self.trained_on)}
        save_adapter(self._backbone, folder, config)

    def _match(self, questions: Sequence[MatchingQuestion]) -> Losses:
        """Compute L_pred of each question, and its parts.

        Source: §5.3, Equation 2; appendix D, the labels as the first output token. For names see
            `rankers/naming.py`.
        """
        import torch

        own, logits = self._settings.training.joint, self._match_logits(questions)

        def padded(rows: Iterable[Sequence[float]]) -> Tensor:
            filled = logits.new_zeros(logits.shape, dtype=torch.float32)
            for at, row in enumerate(rows):
                filled[at, : len(row)] = filled.new_tensor(row)
            return filled

        relevant = padded(one.relevant for one in questions).bool()
        present = padded([1.0] * len(one.relevant) for one in questions).bool()
        each = match_loss(logits, relevant, present, own.form)
        if not questions[0].taught:
            return Losses(each, {"matching": each})
        taught = padded(one.taught for one in questions)
        other, weight = teacher_loss(logits, taught, present), own.teacher_weight
        mixed = (1 - weight) * each + weight * other
        return Losses(mixed, {"matching": each, "teacher": other})

    def _match_logits(self, questions: Sequence[MatchingQuestion]) -> Tensor:
        """Compute (questions, candidates) logits; those behind shorter questions mean nothing."""
        return self._name_logits(questions) if self._by_name else self._label_logits(questions)

    def _name_logits(self, questions: Sequence[MatchingQuestion]) -> Tensor:
        """Compute (questions, candidates) logits of the candidates' names."""
        from torch.nn.utils.rnn import pad_sequence

        backbone = self._backbone
        logits: dict[int, Tensor] = {}
        for rows in _with_and_without_image(questions):
            some = [questions[at] for at in rows]
            images, prompts = [one.image for one in some], [one.prompt for one in some]
            names = [[answer_ids(backbone, name) for name in one.names] for one in some]
            found = log_likelihoods(backbone, images, prompts, names)
            for at, one, logs in zip(rows, some, found, strict=True):
                lifts = logs.sum(dim=-1) - logs.new_tensor(self._untrained(one))
                logits[at] = NAME_SHARPNESS * lifts
        return pad_sequence([logits[at] for at in range(len(questions))], batch_first=True)

    def _untrained(self, question: MatchingQuestion) -> FloatArray:
        """Ask the base model how likely names are without a profile."""
        import torch

        ask = self._backbone.score_answers
        with torch.compiler.set_stance("force_eager"):  # a few tokens, once for each name
            return ask(None, question.without_profile, question.names, untrained=True)

    def _label_logits(self, questions: Sequence[MatchingQuestion]) -> Tensor:
        """Compute (questions, labels) logits of the first output token."""
        import torch

        backbone = self._backbone
        ids = self._label_ids[: max(len(question.relevant) for question in questions)]
        split = _with_and_without_image(questions)
        parts = []
        for rows in split:
            some = [questions[at] for at in rows]
            encoded = backbone.encode([one.image for one in some], [one.prompt for one in some])
            inputs = backbone.training_inputs(encoded)
            output = backbone.parts.model(**inputs, logits_to_keep=1, use_cache=False)
            parts.append(output.logits[:, -1][:, list(ids)])
        back = np.argsort([at for rows in split for at in rows])
        return torch.cat(parts)[torch.from_numpy(back)]

    def _name_aspects(self, photos: Sequence[tuple[PromptImage, str] | None]) -> Tensor:
        """Compute L_asp of each photo, (photos,); 0 where there is none.

        Source: §5.2, Equation 1.
        """
        import torch

        rows = [at for at, photo in enumerate(photos) if photo is not None]
        shown = [photo for photo in photos if photo is not None]
        losses = torch.zeros(len(photos), device=self._backbone.device)
        if not shown:
            return losses
        images, answers = zip(*shown, strict=True)
        prompts = [aspect_prompt()] * len(shown)
        inputs, targets = with_answer(self._backbone, images, prompts, answers)
        found = answer_losses(self._backbone, inputs, targets)
        return losses.to(found.dtype).index_put((torch.tensor(rows, device=found.device),), found)


def _with_and_without_image(questions: Sequence[MatchingQuestion]) -> list[list[int]]:
    """List the places of questions with an image, and of those without: they share no batch."""
    shown = [at for at, one in enumerate(questions) if one.image is not None]
    blind = [at for at, one in enumerate(questions) if one.image is None]
    return [*filter(None, (shown, blind))]


def hold_to_data(folder: Path, trained_on: Mapping[str, str]) -> None:
    """Note what a run is trained on, or refuse to go on with a run of other data.

    Args:
        folder: of the run.
        trained_on: see `JointTask.trained_on`.

    Raises:
        TrainingError: the run was begun with other data, or the folder cannot be read or written.
    """
    path = folder / DATA
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        if not path.exists():
            part.write_text(json.dumps(dict(trained_on), indent=2) + "\n", encoding="utf-8")
            part.replace(path)
        begun = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        advice = "Mend or delete the run's folder, or choose another --out."
        raise TrainingError(f"{path} cannot be used ({error})", advice) from error
    if begun != dict(trained_on):
        raise TrainingError(
            f"{folder} is the folder of a run on other data: there {begun}, here "
            f"{dict(trained_on)}",
            "Choose another --out, or give the same benchmark and --aspects.",
        )


def label_ids(backbone: LocalBackbone, kind: LabelKind) -> tuple[int, ...]:
    """Give the token ids of the labels that a backbone is trained with.

    Args:
        backbone: with an adapter.
        kind: that its labels shall have.

    Returns:
        One id per label, each a row of the vocabulary.

    Raises:
        TrainingError: there is no adapter, its labels are of another kind, or one of them is
            outside the vocabulary.
    """
    labels = backbone.trained_labels
    if labels is None:
        raise TrainingError(f"{backbone.name}: nothing of it is trained", "Add an adapter.")
    if labels.kind != kind:
        raise TrainingError(
            f"the adapter's labels are of the kind {labels.kind!r}, not {kind!r}",
            f"Go on with its own: --set training.joint.labels={labels.kind}",
        )
    rows = backbone.parts.model.get_output_embeddings().weight.shape[0]
    named = zip(labels.labels, labels.token_ids, strict=True)
    outside = next((label for label, token in named if not 0 <= token < rows), None)
    if outside is not None:
        raise TrainingError(
            f"{backbone.name}: the label {outside} is outside its vocabulary of {rows:,} tokens",
            "Train a fresh adapter, with labels that this backbone has: training.joint.labels",
        )
    return labels.token_ids
