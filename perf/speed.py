"""How fast is it? Indexing, re-indexing, asking, starting; all in one run on this machine."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from visuallens.api import LIBRARY_FILE, VisualLens
from visuallens.augment.records import Made, PhotoRecord, Sighting, save_photos
from visuallens.augment.store import Library
from visuallens.config import Settings
from visuallens.images import open_photo
from visuallens.models.base import Description
from visuallens.models.efficientnet import FEATURE_DIM as DIM
from visuallens.models.embedded import EmbeddedModel
from visuallens.models.spaces import unit_length
from visuallens.types import Candidate, DateSource, FloatArray, PhotoMetadata

_MAX_PIXELS = 10**9
_BATCH = 16
_REPEATS = 3
_SYNTHETIC_PHOTOS = 100_000
_SYNTHETIC_BATCH = 2_000
_MANY_PHOTOS = 10_000


def indexing(data: Path) -> Iterator[str]:
    """Index photos, and compare with decoding alone and encoding alone."""
    yield "| photos | decoding alone | encoding alone | index | index / slower of the two |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as scratch:
        sets = {
            "food_aspects (800)": data / "food_aspects/images",
            "flickr8k (796)": data / "flickr8k/images",
            "12 megapixels (120)": _large_photos(Path(scratch) / "large", data, 120),
        }
        for name, folder in sets.items():
            runs = [_one_indexing(sorted(folder.iterdir()), folder) for _ in range(_REPEATS)]
            decode, encode, index = (statistics.median(rates) for rates in zip(*runs, strict=True))
            ratio = statistics.median(i / min(d, e) for d, e, i in runs)
            yield f"| {name} | {decode:.0f}/s | {encode:.0f}/s | {index:.0f}/s | {ratio:.2f} |"


def _one_indexing(files: list[Path], folder: Path) -> tuple[float, float, float]:
    model = EmbeddedModel()

    def prepare(path: Path) -> FloatArray:
        opened = open_photo(path, min_side_px=model.input_side_px, max_pixels=_MAX_PIXELS)
        return model.prepare(opened.image)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        start = time.perf_counter()
        for _ in threads.map(prepare, files):
            pass
        decode = len(files) / (time.perf_counter() - start)
        batch = list(threads.map(prepare, files[:_BATCH]))
    metadata = [PhotoMetadata()] * _BATCH
    model.read(batch, metadata)
    start = time.perf_counter()
    rounds = max(1, len(files) // _BATCH)
    for _ in range(rounds):
        model.read(batch, metadata)
    encode = rounds * _BATCH / (time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as library:
        lens = VisualLens(library)
        lens.model.read(batch, metadata)  # models are loaded once per process
        report = lens.index(folder)
    return decode, encode, report.indexed / report.seconds


def _large_photos(folder: Path, data: Path, count: int) -> Path:
    folder.mkdir()
    originals = sorted((data / "food_aspects/images").iterdir())[:count]
    for number, path in enumerate(originals):
        with Image.open(path) as image:
            large = image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
        large.save(folder / f"{number}.jpg", quality=90)
    return folder


def many_photos() -> Iterator[str]:
    """Index 10,000 photos, then again: peak memory, and the time of an unchanged library."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = _drawn_photos(Path(scratch) / "photos", _MANY_PHOTOS)
        code = (
            "import re, sys; from visuallens.api import VisualLens;"
            "report = VisualLens(sys.argv[1]).index(sys.argv[2]);"
            "status = open('/proc/self/status').read();"  # ru_maxrss would count the parent too
            "peak_kb = re.search(r'VmHWM:\\s+(\\d+)', status)[1];"
            "print(report.indexed, report.unchanged, report.seconds, int(peak_kb) / 1024)"
        )
        command = [sys.executable, "-c", code, f"{scratch}/library", str(folder)]
        for title in ("first index", "index again, nothing changed"):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            indexed, unchanged, seconds, peak = done.stdout.split()
            yield (
                f"- {title}: {indexed} indexed, {unchanged} unchanged, {float(seconds):.1f} s, "
                f"peak memory {float(peak):.0f} MB"
            )


def _drawn_photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BILINEAR)
        picture.save(folder / f"{number:05}.jpg", quality=85)
    return folder


def asking() -> Iterator[str]:
    """Ask a library of 100,000 photos (synthetic embeddings) about 100 places."""
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "library"
        fill_library(library, _SYNTHETIC_PHOTOS)
        places = [
            Candidate(str(n), f"Place {n}", f"A {word} with a view", ("attraction",))
            for n, word in enumerate(["museum", "garden", "cafe", "market"] * 25)
        ]
        with VisualLens(library, settings=Settings()) as lens:
            opening = _seconds(lens.open_user)
            lens.recommend("an attraction", places, anyway=True)
            times = [
                _seconds(lambda: lens.recommend("an attraction", places, anyway=True))
                for _ in range(20)
            ]
        file = Path(scratch) / "places.csv"
        rows = [f"{p.id},{p.name},{p.description},{p.categories[0]}" for p in places]
        file.write_text("\n".join(["id,name,description,category", *rows]))
        command = [
            *("visuallens", "recommend", "an attraction", "--anyway", "--json"),
            *("--library", str(library), "--candidates", str(file)),
        ]
        calls = [_seconds(lambda: _run(command)) for _ in range(_REPEATS)]
    yield f"- opening the library in the API: {opening:.2f} s"
    yield f"- `recommend` in the API: median {1000 * statistics.median(times):.0f} ms"
    yield f"- the whole command: median {statistics.median(calls):.2f} s"


def fill_library(folder: Path, photos: int) -> None:
    """Write a library of random unit vectors, as if so many photos had been indexed."""
    model = EmbeddedModel()
    generator = np.random.default_rng(0)
    path = folder / LIBRARY_FILE
    with Library.open(path, create=True, writable=True) as library:
        for start in range(0, photos, _SYNTHETIC_BATCH):
            rows = range(start, min(start + _SYNTHETIC_BATCH, photos))
            vectors = unit_length(generator.normal(size=(len(rows), DIM)).astype(np.float32))
            save_photos(
                library,
                [_record(model, row, vector) for row, vector in zip(rows, vectors, strict=True)],
            )


def _record(model: EmbeddedModel, number: int, vector: FloatArray) -> PhotoRecord:
    taken = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return PhotoRecord(
        photo_id=f"{number:064x}",
        sighting=Sighting("me", Path(f"/photos/{number}.jpg"), 1, 1),
        metadata=PhotoMetadata(taken, DateSource.EXIF, None, 4000, 3000),
        fingerprint=number,
        made=(Made(model, vector, Description(f"Photo {number}", (f"word {number % 100}",))),),
    )


def starting() -> Iterator[str]:
    """Start the command line, and import the package."""
    help_times = [_seconds(lambda: _run(["visuallens", "--help"])) for _ in range(7)]
    code = [sys.executable, "-c", "import visuallens"]
    import_times = [_seconds(lambda: _run(code)) for _ in range(7)]
    yield f"- `visuallens --help`: median {statistics.median(help_times):.2f} s"
    yield f"- `python -c 'import visuallens'`: median {statistics.median(import_times):.2f} s"


def _run(command: list[str]) -> None:
    executable = shutil.which(command[0], path=str(Path(sys.executable).parent)) or command[0]
    subprocess.run([executable, *command[1:]], capture_output=True, check=True)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
