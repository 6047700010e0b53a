"""What did a backbone learn in stage 1? Measured on the photos that its run held out.

Run as: python perf/learned.py RUN --data ../shared/data [--grids 40]
RUN is the folder of `visuallens train captions` on flickr8k and food_aspects. The first table
compares aspect words with the curated tags of the food photos, as `perf/words.py` does. The second
asks which caption of a grid is whose, on grids of one kind of photo alone, other ones than the run
itself was scored on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from photos import food_records, tags
from PIL import Image
from words import figures, singular

from visuallens import registry
from visuallens.config import Settings, load_settings
from visuallens.images import open_photo
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage
from visuallens.models.describe import Describer
from visuallens.models.embedded import EmbeddedModel
from visuallens.models.labels import imagenet_labels
from visuallens.models.spaces import softmax
from visuallens.prompts import aspect_prompt, parse_aspect_words
from visuallens.training.captioned import CaptionedPhoto, read_captioned, split_dev
from visuallens.training.captions import CaptionPlan, CaptionTask

_SIDES = (2, 4)
_SEED = 12_345
"""Of the grids; the run's own seed draws others."""
_NEW_TOKENS = 48


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--grids", type=int, default=12)
    arguments = parser.parse_args()
    settings = load_settings(arguments.run / "settings.json")
    places = [arguments.data / name for name in ("flickr8k", "food_aspects")]
    own = settings.training.captions
    read = read_captioned(places, max_pixels=settings.images.max_pixels, tags=own.tags)
    train, dev = split_dev(read.photos, own.dev_share, settings.seed)
    plan = CaptionPlan(
        train,
        dev,
        own.model_copy(update={"dev_grids": arguments.grids}),
        settings.profile,
        settings.images,
        _SEED,
    )
    backbone = _open(settings, arguments.run / "model")
    _words(backbone, [photo for photo in dev if photo.aspects], arguments.data)
    if arguments.grids:
        _grids(backbone, plan)


def _open(settings: Settings, adapter: Path | None) -> LocalBackbone:
    chosen = settings.backbone.model_copy(update={"adapter": adapter})
    opened: LocalBackbone = registry.load("backbones", chosen.name)(chosen)
    return opened


def _grids(backbone: LocalBackbone, plan: CaptionPlan) -> None:
    """Ask about grids of one kind of photo, where lists of tags do not give food away."""
    food = [photo for photo in plan.dev if photo.aspects]
    flickr = [photo for photo in plan.dev if not photo.aspects]
    print("\n| grid | photos | caption of cell | cell of caption | matched | chance | cells |")
    print("|---|---|---|---|---|---|---|")
    for side in _SIDES:
        for kind, photos in (("captions", flickr), ("tags", food)):
            task = CaptionTask(backbone, replace(plan, dev=photos), side)
            with torch.no_grad():
                found = task.evaluate()
            shares = " | ".join(
                f"{100 * found[one]:.0f}"
                for one in ("caption_of_cell", "cell_of_caption", "matched", "chance")
            )
            print(f"| {side} x {side} | {kind} | {shares} | {found['asked']:.0f} |", flush=True)


def _words(backbone: LocalBackbone, food: Sequence[CaptionedPhoto], data: Path) -> None:
    records = food_records(data)
    curated = [
        {
            singular(tag)
            for tag in tags(
                records[f"images/{photo.path.name}"], "isTags", "containsTags", "descriptiveTags"
            )
        }
        for photo in food
    ]
    print("| aspect words by | precision@5 | recall | words per photo | silent |")
    print("|---|---|---|---|---|")
    print(f"| the classifier's labels (`embedded`) | {figures(_labels(food), curated)} |")
    images = [PromptImage(_open_photo(photo.path)) for photo in food]
    said = backbone.generate(images, [aspect_prompt()] * len(images), max_new_tokens=_NEW_TOKENS)
    words = [parse_aspect_words(text) for text in said]
    print(f"| after the run | {figures(words, curated)} |")


def _labels(food: Sequence[CaptionedPhoto]) -> list[tuple[str, ...]]:
    model = EmbeddedModel()
    describer = Describer(imagenet_labels(), label_confidence=0.2, group_confidence=0.3)
    inputs = [model.prepare(_open_photo(photo.path)) for photo in food]
    logits = np.concatenate([model.classify([one])[1] for one in inputs])
    return [describer.aspect_words(row) for row in softmax(logits)]


def _open_photo(path: Path) -> Image.Image:
    return open_photo(path, min_side_px=896, max_pixels=10**8).image


if __name__ == "__main__":
    main()
