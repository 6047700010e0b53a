"""Stage 1: multi-image caption pretraining (§5.1).

A grid of sampled photos, and the captions of all of them in the order of their numbers: so the
backbone learns which cell of a profile's grid is which image of its captions.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visuallens.config import ImageSettings, LoopSettings, ProfileSettings
from visuallens.config.training import CaptionTrainingSettings
from visuallens.errors import PromptTooLongError, TrainingError
from visuallens.images import display_path, open_pixels
from visuallens.models.backbones.adapters import save_adapter
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage
from visuallens.profile.grid import gridify
from visuallens.prompts import (
    aspect_prompt,
    multi_image_answer,
    multi_image_prompt,
    short_caption,
)
from visuallens.training.answers import answer_losses, with_answer
from visuallens.training.base import Losses
from visuallens.training.captioned import CaptionedPhoto
from visuallens.training.grounding import Cell, caption_scores, grounding
from visuallens.training.hardware import is_main_process
from visuallens.training.log import read_log
from visuallens.training.loop import MODEL, Fitted, fit

if TYPE_CHECKING:
    from numpy.random import Generator
    from PIL.Image import Image
    from torch import nn

_PHOTOS = "photos.json"
_ASPECT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class CaptionPlan:
    """What stage 1 is trained on, and how.

    Attributes:
        train: photos with captions.
        dev: others, at least two.
        settings: of the stage.
        profile: how large a grid is drawn.
        images: which photos are too large.
        seed: of the dev grids and the adapter.
        record: resolved settings, written beside the adapter.
    """

    train: Sequence[CaptionedPhoto]
    dev: Sequence[CaptionedPhoto]
    settings: CaptionTrainingSettings = field(default_factory=CaptionTrainingSettings)
    profile: ProfileSettings = field(default_factory=ProfileSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    seed: int = 0
    record: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A grid with a caption of each of its photos, or a photo with its aspect words."""

    grid: PromptImage
    captions: tuple[str, ...]
    asks_aspects: bool = False

    @property
    def prompt(self) -> str:
        return aspect_prompt() if self.asks_aspects else multi_image_prompt(len(self.captions))

    @property
    def answer(self) -> str:
        return self.captions[0] if self.asks_aspects else multi_image_answer(self.captions)


class CaptionTask:
    """See `TrainingTask`: the captions of grids of one side.

    Args:
        backbone: with a trainable adapter.
        plan: photos and settings.
        grid_side: d.

    Source: §5.1, T(C).
    Choice: an example is a training photo, with others drawn to fill its grid and a place in it, so
        that every photo is seen equally often; one of its captions is drawn each time. Where the
        captions of a photo are tags, half of its examples are the photo alone and the prompt for
        aspect words: they teach what §5.3 goes on with, and cost little. Tags are in another order
        each time: where a table has them by the alphabet, nearly all answers of a model that had
        learned that order began with the same early word, whatever the photo showed.
    """

    name = "captions"

    def __init__(self, backbone: LocalBackbone, plan: CaptionPlan, grid_side: int) -> None:
        self._backbone, self._plan, self._side = backbone, plan, grid_side

    @property
    def model(self) -> nn.Module:
        """See `TrainingTask`."""
        model: nn.Module = self._backbone.parts.model
        return model

    @property
    def size(self) -> int:
        """Number of training photos."""
        return len(self._plan.train)

    def losses(self, examples: Sequence[int], seed: int) -> Losses:
        """See `TrainingTask.losses`; the cross-entropy of all captions of a grid."""
        sheets = [self._sheet(example, seed) for example in examples]
        return self._losses(sheets)

    def evaluate(self) -> Mapping[str, float]:
        """See `TrainingTask.evaluate`.

        Returns:
            What `grounding` measures, the "loss" of the dev grids and their number "grids"; the
            score is "matched".

        Choice: of a larger grid some cells are asked for (`dev_cells`), against the captions of
            these cells. A grid of one photo has no other cell: it is asked about beside the grids
            of other photos.
        """
        found, losses = [], []
        for number in range(self._plan.settings.dev_grids):
            rng = np.random.default_rng((self._plan.seed, 2, self._side, number))
            sheets, cells = self._asked(rng)
            found.append(caption_scores(self._backbone, cells))
            losses += self._losses(sheets).each.tolist()
        metrics = grounding(found)
        own = {"loss": float(np.mean(losses)), "grids": float(len(found))}
        return {"score": metrics["matched"], **metrics, **own}

    def save(self, folder: Path) -> None:
        """See `TrainingTask.save`; an adapter."""
        save_adapter(self._backbone, folder, self._plan.record)

    def _losses(self, sheets: Sequence[_Sheet]) -> Losses:
        prompts, answers = [sheet.prompt for sheet in sheets], [sheet.answer for sheet in sheets]
        grids = [sheet.grid for sheet in sheets]
        try:
            inputs, targets = with_answer(self._backbone, grids, prompts, answers)
        except PromptTooLongError as error:
            raise TrainingError(
                f"the captions of a grid of side {self._side} do not fit: {error.tokens:,} tokens, "
                f"at most {error.max_tokens:,}",
                "Lower training.captions.max_words, or leave that side out of "
                "training.captions.grid_sides.",
            ) from error
        return Losses(answer_losses(self._backbone, inputs, targets))

    def _sheet(self, example: int, seed: int) -> _Sheet:
        """Draw the grid of an example and its captions."""
        rng = np.random.default_rng((seed, example))
        photo = self._plan.train[example]
        if photo.aspects and rng.random() < _ASPECT_SHARE:
            return self._alone(photo, rng)
        others = min(self._side**2, self.size) - 1
        drawn = rng.choice(self.size - 1, others, replace=False)
        drawn += drawn >= example  # the example itself is skipped
        numbers = rng.permutation([example, *drawn])
        return self._drawn([self._plan.train[number] for number in numbers], rng)

    def _alone(self, photo: CaptionedPhoto, rng: Generator) -> _Sheet:
        """Show a photo as a captioner does, without grid and number, for its aspect words."""
        image = PromptImage(self._opened(photo, self._plan.profile.image_side_px))
        return _Sheet(image, (self._text(photo, photo.aspects, rng),), asks_aspects=True)

    def _text(self, photo: CaptionedPhoto, texts: Sequence[str], rng: Generator) -> str:
        """Draw a caption of a photo, or its tags in an order of their own."""
        text = texts[int(rng.integers(len(texts)))]
        if text in photo.aspects:
            tags = text.split(", ")
            order = rng.permutation(len(tags))
            text = ", ".join(tags[at] for at in order)
        return short_caption(text, self._plan.settings.max_words)

    def _asked(self, rng: Generator) -> tuple[list[_Sheet], list[Cell]]:
        """Draw a dev grid and some of its cells; of single photos, several grids of one cell."""
        photos, cells = self._plan.dev, self._plan.settings.dev_cells
        alone = self._side == 1
        count = min(cells if alone else self._side**2, len(photos))
        chosen = [photos[at] for at in rng.choice(len(photos), count, replace=False)]
        shown = [[photo] for photo in chosen] if alone else [chosen]
        sheets = [self._drawn(part, rng) for part in shown]
        every = [
            Cell(sheet.grid, len(sheet.captions), number, caption)
            for sheet in sheets
            for number, caption in enumerate(sheet.captions, start=1)
        ]
        kept = np.sort(rng.choice(len(every), min(cells, len(every)), replace=False))
        return sheets, [every[at] for at in kept]

    def _drawn(self, photos: Sequence[CaptionedPhoto], rng: Generator) -> _Sheet:
        side_px = self._plan.profile.image_side_px
        cell_px = -(-side_px // self._side)
        opened = [self._opened(photo, cell_px) for photo in photos]
        grid = gridify(opened, grid_side=self._side, image_side_px=side_px)
        captions = tuple(self._text(photo, photo.captions, rng) for photo in photos)
        return _Sheet(PromptImage(grid, self._side), captions)

    def _opened(self, photo: CaptionedPhoto, side_px: int) -> Image:
        image = open_pixels(str(photo.path), side_px, self._plan.images.max_pixels)
        if image is None:
            raise TrainingError(
                f"the photo {display_path(photo.path)} cannot be opened any more",
                "Put it back and run the same command again; it goes on where it stopped.",
            )
        return image


@dataclass(frozen=True, slots=True)
class Lesson:
    """What training on grids of one side came to.

    Attributes:
        grid_side: d.
        fitted: see `fit`.
        before: metrics on dev before it.
        after: of the best weights.
    """

    grid_side: int
    fitted: Fitted
    before: Mapping[str, float]
    after: Mapping[str, float]


def train_captions(
    backbone: LocalBackbone, plan: CaptionPlan, loop: LoopSettings, folder: Path
) -> list[Lesson]:
    """Train a backbone on the grids of the curriculum, one side after the other.

    Args:
        backbone: with a trainable adapter; afterwards it has the best weights of the last side.
        plan: photos and settings.
        loop: for each side.
        folder: of the run; a side has `side-D`, its adapter goes to `model`.

    Returns:
        One lesson per side.

    Raises:
        TrainingError: the folder is of a run with other photos; see also `fit`.

    Source: §5.1.
    Choice: each side is a training of its own that begins with the best weights of the one before,
        with a fresh optimiser and warm-up, so that it can be resumed and looked at by itself.
    """
    _refuse_other_photos(plan, folder)
    lessons = []
    with _labels_at_rest(backbone):
        for side in plan.settings.grid_sides:
            task, place = CaptionTask(backbone, plan, side), folder / f"side-{side}"
            fitted = fit(task, loop, place, seed=plan.seed)
            found = {line["step"]: line for line in read_log(place) if line["kind"] == "dev"}
            before, after = _metrics(found[0]), _metrics(found[fitted.best_step])
            lessons.append(Lesson(side, fitted, before, after))
    if is_main_process():
        save_adapter(backbone, folder / MODEL, plan.record)
    return lessons


@contextmanager
def _labels_at_rest(backbone: LocalBackbone) -> Iterator[None]:
    """Leave the rows of label tokens as they are.

    Choice: no caption has a label in it, so all that they could learn is to be unlikely; and their
        gradient costs that of the whole vocabulary, a tenth of a step of a small model.
    """
    weights = backbone.parts.model.named_parameters()
    labels = [weight for name, weight in weights if "trainable_tokens_delta" in name]
    resting = [weight for weight in labels if weight.requires_grad]
    for weight in resting:
        weight.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for weight in resting:
            weight.requires_grad_(requires_grad=True)


def _metrics(line: Mapping[str, Any]) -> Mapping[str, float]:  # Any: JSON
    return {name: value for name, value in line.items() if name not in ("kind", "step", "seconds")}


def _refuse_other_photos(plan: CaptionPlan, folder: Path) -> None:
    """Note the photos of a run, or compare them with those it began with."""
    digest = hashlib.sha256()
    for photo in (*plan.train, *plan.dev):
        digest.update(json.dumps([photo.id, *photo.captions]).encode())
    here = {"train": len(plan.train), "dev": len(plan.dev), "sha256": digest.hexdigest()}
    path = folder / _PHOTOS
    try:
        if path.exists():
            there = json.loads(path.read_text("utf-8"))
        else:
            there = here
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{_PHOTOS}.{os.getpid()}.part")
            part.write_text(json.dumps(here), encoding="utf-8")
            part.replace(path)
    except (OSError, ValueError) as error:
        advice = "Mend or free the folder, or choose another --out."
        raise TrainingError(f"{path} cannot be used ({error})", advice) from error
    if there != here:
        problem = f"{folder} is the folder of a run with other photos or captions"
        raise TrainingError(problem, "Choose another --out, or give the same --data.")
