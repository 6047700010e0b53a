"""`visuallens doctor`: a real forward pass through every stage, timed."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.options import backbone_overrides, common, print_json

if TYPE_CHECKING:
    from visuallens.api import VisualLens
    from visuallens.images import OpenedPhoto
    from visuallens.models.base import PhotoModel
    from visuallens.types import Candidate, FloatArray, PhotoMetadata

DEFAULT_USER = "me"

_REPEATS = 3
_BATCH = 8
_RANKED = 50
_PHOTOS = 48
_PHOTO_SIDE_PX = (1024, 768)


@dataclass(frozen=True, slots=True)
class Check:
    """One stage that was run.

    Attributes:
        milliseconds: median of several runs, for one photo or one question.
    """

    stage: str
    milliseconds: float


@click.command()
@click.option(
    "--photos",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Estimate for so many.",
)
@click.option("--backbone", help="Check this one. [default: the settings', nano]")
@click.option("--no-backbone", is_flag=True, help="Check everything but the backbone.")
@common
def command(
    photos: int,
    backbone: str | None,
    no_backbone: bool,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run every stage on drawn photos, time it, and estimate a whole library."""
    from visuallens.augment.base import Estimate
    from visuallens.config import load_settings

    del library, user  # a library of its own, thrown away afterwards
    overrides = (*overrides, *backbone_overrides(backbone))
    with tempfile.TemporaryDirectory(prefix="visuallens-") as scratch:
        checks, rate = _run(Path(scratch), config, overrides, with_backbone=not no_backbone)
    settings = load_settings(config, overrides)
    estimate_s = photos / rate
    if as_json:
        print_json(
            {
                "ok": True,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "model": settings.index.model,
                "backbone": None if no_backbone else settings.backbone.name,
                "memory_mb": round(_peak_memory_mb()),
                "stages": [
                    {"stage": check.stage, "ms": round(check.milliseconds, 3)} for check in checks
                ],
                "photos_per_second": round(rate, 1),
                "estimate": {"photos": photos, "seconds": round(estimate_s, 1)},
            }
        )
        return
    for check in checks:
        click.echo(f"ok  {check.stage:22} {check.milliseconds:9.1f} ms")
    click.echo(f"\nPeak memory {_peak_memory_mb():,.0f} MB.")
    click.echo(f"Indexing runs at {rate:.0f} photos/s here: {Estimate(photos, estimate_s)}")


def _run(
    scratch: Path, config: Path | None, overrides: Sequence[str], *, with_backbone: bool
) -> tuple[list[Check], float]:
    """Run every stage once for real; any error is the diagnosis and ends the run."""
    from visuallens.api import VisualLens
    from visuallens.config import load_settings
    from visuallens.images import open_photo
    from visuallens.places import bundled_city

    folder = _draw_photos(scratch / "photos")
    first = next(iter(sorted(folder.iterdir())))
    places = bundled_city("london")
    # The backbone is timed by itself; here it neither describes nor ranks.
    settings = load_settings(config, (*overrides, "index.describe_by=model"))
    with VisualLens(scratch / "library", settings=settings) as lens:
        model = lens.model

        def opened() -> OpenedPhoto:
            return open_photo(
                first, min_side_px=model.input_side_px, max_pixels=settings.images.max_pixels
            )

        photo = opened()
        batch = [model.prepare(photo.image)] * _BATCH
        metadata = [photo.metadata] * _BATCH
        checks = [
            _once("load the models", lambda: _load(model, batch, metadata)),
            _timed("open a photo", opened),
            _timed("read a photo", lambda: model.read(batch, metadata), share=_BATCH),
            _timed("read a question", lambda: model.encode_categories(["museum"])),
        ]
        report = lens.index(folder)
        checks.append(Check("index a photo", report.seconds * 1000 / report.indexed))
        lens.open_user()
        checks += [
            _timed(f"rank {len(places)} places", lambda: _ask(lens, places)),
            _timed("draw the grid", lambda: lens.draw(lens.profile("a museum"))),
        ]
        if with_backbone:
            checks += _backbone_checks(lens, places)
        checks.append(_once("forget and prove it", lambda: lens.forget(user=DEFAULT_USER)))
    return checks, report.indexed / report.seconds


def _backbone_checks(lens: VisualLens, places: Sequence[Candidate]) -> list[Check]:
    """Load the backbone, let it write, and let it rank: first anew, then with its profile kept."""
    from visuallens.models.base import PromptImage
    from visuallens.prompts import caption_prompt

    backbone = _once("load the backbone", lambda: lens.backbone)
    some, others = places[:_RANKED], places[_RANKED : 2 * _RANKED]
    if lens.backbone.sees:
        profile = lens.draw(lens.profile("a museum"))
        shown = None if profile.image is None else PromptImage(profile.image, profile.grid_side)
    else:
        shown = None
    return [
        backbone,
        _once(
            "caption by it",
            lambda: lens.backbone.generate([shown], [caption_prompt()], max_new_tokens=24),
        ),
        _once(f"rank {len(some)} places by it", lambda: _ask_backbone(lens, some)),
        _once(f"rank {len(others)} others", lambda: _ask_backbone(lens, others)),
    ]


def _ask_backbone(lens: VisualLens, places: Sequence[Candidate]) -> None:
    lens.recommend("a museum", _of_one_kind(places), ranker="visuallens", anyway=True)


def _of_one_kind(places: Sequence[Candidate]) -> list[Candidate]:
    return [replace(place, categories=("museum",)) for place in places]


def _peak_memory_mb() -> float:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _load(
    model: PhotoModel, batch: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
) -> None:
    model.encode_categories(["museum"])
    model.read(batch, metadata)


def _ask(lens: VisualLens, places: Sequence[Candidate]) -> None:
    lens.recommend("a museum", places, ranker="similarity", anyway=True)


def _once(stage: str, run: Callable[[], object]) -> Check:
    start = time.perf_counter()
    run()
    return Check(stage, (time.perf_counter() - start) * 1000)


def _timed(stage: str, run: Callable[[], object], *, share: int = 1) -> Check:
    run()
    times = [_once(stage, run).milliseconds / share for _ in range(_REPEATS)]
    return Check(stage, statistics.median(times))


def _draw_photos(folder: Path) -> Path:
    """Draw noisy photos of an ordinary size, each different."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(_PHOTOS):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(_PHOTO_SIDE_PX, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:02}.jpg", quality=90)
    return folder
