"""`visuallens doctor`: a real forward pass through every stage, timed."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.options import common, print_json

if TYPE_CHECKING:
    from visuallens.api import VisualLens
    from visuallens.images import OpenedPhoto
    from visuallens.models.base import PhotoModel
    from visuallens.types import Candidate, FloatArray, PhotoMetadata

DEFAULT_USER = "me"

_REPEATS = 3
_BATCH = 8
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
@click.option("--photos", type=int, default=10_000, show_default=True, help="Estimate for so many.")
@common
def command(
    photos: int,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run every stage on drawn photos, time it, and estimate a whole library."""
    from visuallens.config import load_settings

    del library, user  # a library of its own, thrown away afterwards
    with tempfile.TemporaryDirectory(prefix="visuallens-") as scratch:
        checks, rate = _run(Path(scratch), config, overrides)
    settings = load_settings(config, overrides)
    estimate_s = photos / rate
    if as_json:
        print_json(
            {
                "ok": True,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "model": settings.index.model,
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
    click.echo(
        f"\nIndexing runs at {rate:.0f} photos/s here: {photos:,} photos take about "
        f"{_duration(estimate_s)}."
    )


def _run(scratch: Path, config: Path | None, overrides: Sequence[str]) -> tuple[list[Check], float]:
    """Run every stage once for real; any error is the diagnosis and ends the run."""
    from visuallens.api import VisualLens
    from visuallens.config import load_settings
    from visuallens.images import open_photo
    from visuallens.places import bundled_city

    folder = _draw_photos(scratch / "photos")
    first = next(iter(sorted(folder.iterdir())))
    places = bundled_city("london")
    settings = load_settings(config, overrides)
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
            _once("forget and prove it", lambda: lens.forget(user=DEFAULT_USER)),
        ]
    return checks, report.indexed / report.seconds


def _load(
    model: PhotoModel, batch: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
) -> None:
    model.encode_categories(["museum"])
    model.read(batch, metadata)


def _ask(lens: VisualLens, places: Sequence[Candidate]) -> None:
    lens.recommend("a museum", places, anyway=True)


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


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
