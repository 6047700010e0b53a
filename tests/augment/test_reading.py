from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.augment.reader import ColourReader
from tests.augment.test_pipeline import draw
from tests.cluster import HERE, ROOT, TWO_ON_RAY, TWO_PROCESSES, two_workers
from visuallens.api import VisualLens
from visuallens.augment.base import File, IndexReport
from visuallens.augment.pipeline import index
from visuallens.augment.reading import BatchRead, Job, Team, read_files
from visuallens.augment.store import Library
from visuallens.config import Settings, load_settings
from visuallens.errors import ServerRefusedError, WorkerError
from visuallens.models.base import Description, PhotoReader, PhotoReadings
from visuallens.sources import open_source
from visuallens.types import FloatArray, PhotoMetadata, Refusal, RefusalReason
from visuallens.workers import Workers


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with two_workers():
        yield


@pytest.fixture(params=[TWO_PROCESSES, TWO_ON_RAY], ids=["processes", "ray"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Workers:
    chosen: Workers = request.param
    if chosen.engine == "ray":
        request.getfixturevalue("cluster")
    monkeypatch.syspath_prepend(ROOT)
    return chosen


class Writer:
    """Describes photos by their brightness; does not want to hear of dark ones, and has a price."""

    prompt_version = "brightness-1"
    input_side_px = 8
    encodes = False
    describes = True
    id = "writer@1"

    def __init__(self) -> None:
        self.cost = 0.0

    def prepare(self, image: Image.Image) -> FloatArray:
        return np.asarray(image.resize((4, 4)), np.float32) / np.float32(255)

    def read(
        self, inputs: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        del metadata
        means = [float(one.mean()) for one in inputs]
        if min(means) < 0.05:
            raise ServerRefusedError("writer", "http://here", "it is too dark", status=400)
        self.cost += 0.25 * len(inputs)
        words = [Description(f"{mean:.6f}", ("bright",)) for mean in means]
        return PhotoReadings(None, tuple(words))


def two_readers() -> list[PhotoReader]:
    return [ColourReader(), Writer()]


class DyingReader(ColourReader):
    """Its process is killed when it reads the second batch."""

    def __init__(self, here: int) -> None:
        super().__init__()
        self._here = here

    def read(
        self, inputs: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        if self.photos_read and os.getpid() != self._here:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(inputs, metadata)


def dying_reader(here: int) -> list[PhotoReader]:
    return [DyingReader(here)]


class Bar:
    def __init__(self) -> None:
        self.count = self.done = 0
        self.notes: list[str] = []

    def total(self, count: int) -> None:
        self.count = count

    def advance(self, count: int) -> None:
        self.done += count

    def note(self, text: str) -> None:
        self.notes.append(text)


def small() -> Settings:
    return load_settings(None, ["index.batch_size=4"])


def indexed(library: Path, photos: Path, team: Team, bar: Bar | None = None) -> IndexReport:
    files = open_source(photos).find()
    with Library.open(library, create=True, writable=True) as opened:
        return index(opened, files, team, user_id="me", settings=small(), progress=bar)


def tables(library: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table as it is, in the order in which it was written; no timestamps."""
    with sqlite3.connect(library) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall()
        found = {}
        for (name,) in names:
            columns = connection.execute(f"SELECT name FROM pragma_table_info('{name}')")  # noqa: S608
            kept = ", ".join(one for (one,) in columns if one != "made_at")
            found[name] = connection.execute(f"SELECT {kept} FROM {name}").fetchall()  # noqa: S608
    connection.close()
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty photos; some are twice there, dark, broken or none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(24):
        draw(folder / f"{number:02}.jpg", number)
    for copy, original in (("02b", "02"), ("05b", "20"), ("21b", "03")):
        shutil.copy(folder / f"{original}.jpg", folder / f"{copy}.jpg")
    Image.new("RGB", (160, 120)).save(folder / "07b.png")
    (folder / "04b.jpg").touch()
    (folder / "11b.jpg").write_text("not a photo")
    whole = (folder / "09.jpg").read_bytes()
    (folder / "22b.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("side file")
    return folder


def test_a_team_writes_the_same_library(tmp_path: Path, photos: Path, workers: Workers) -> None:
    alone, together = tmp_path / "alone.sqlite", tmp_path / "together.sqlite"
    first = indexed(alone, photos, Team(two_readers()))
    readers = two_readers()
    bar = Bar()
    second = indexed(together, photos, Team(readers, two_readers, workers), bar)
    assert isinstance(readers[0], ColourReader)
    assert readers[0].photos_read == 0  # the others have read
    assert tables(together) == tables(alone)
    rows = tables(alone)
    assert len(rows["photos"]) == len(rows["embeddings"]) == 25
    assert len(rows["sightings"]) == 28
    assert len(rows["augmentations"]) == 25 + 24  # the dark one has no words of the writer's
    assert (second.indexed, second.unchanged) == (first.indexed, first.unchanged) == (25, 3)
    assert second.duplicates == first.duplicates
    assert second.skipped == first.skipped
    assert sorted(second.refused, key=lambda one: one.path) == sorted(
        first.refused, key=lambda one: one.path
    )
    reasons = [one.reason for one in first.refused]
    assert sorted(reasons) == ["empty_file", "not_an_image", "not_described", "truncated"]
    assert (bar.count, bar.done) == (31, 31)
    # Once both workers have read a batch, what they charged is known.
    assert len(bar.notes) == 1
    assert "and cost about" in bar.notes[0]


def test_a_team_reads_only_what_is_missing(tmp_path: Path, photos: Path, workers: Workers) -> None:
    library, whole = tmp_path / "library.sqlite", tmp_path / "whole.sqlite"
    team = Team(two_readers(), two_readers, workers)
    indexed(whole, photos, Team(two_readers()))
    later = tmp_path / "later"
    later.mkdir()
    for path in sorted(photos.iterdir())[12:]:
        path.rename(later / path.name)
    assert indexed(library, photos, Team(two_readers())).indexed == 10
    for path in sorted(later.iterdir()):
        path.rename(photos / path.name)
    report = indexed(library, photos, team)
    assert (report.indexed, report.unchanged) == (15, 13)
    assert indexed(library, photos, team).indexed == 0
    assert sorted(tables(library)["embeddings"]) == sorted(tables(whole)["embeddings"])


def test_a_lost_process_keeps_what_was_written(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    library, alone = tmp_path / "library.sqlite", tmp_path / "alone.sqlite"
    opener = partial(dying_reader, os.getpid())
    with pytest.raises(WorkerError, match="it goes on where it was"):
        indexed(library, photos, Team(opener(), opener, TWO_PROCESSES))
    indexed(alone, photos, Team([ColourReader()]))
    indexed(library, photos, Team([ColourReader()], None, HERE))
    assert tables(library) == tables(alone)


def test_what_is_read_is_cut_in_batches_by_hand(tmp_path: Path) -> None:
    # Six files, two a batch in workers: photo and empty, photo and photo, photo and its copy.
    for number in (0, 2, 3, 4):
        draw(tmp_path / f"{number}.jpg", number)
    (tmp_path / "1.jpg").touch()
    shutil.copy(tmp_path / "4.jpg", tmp_path / "5.jpg")
    found = [one for one in open_source(tmp_path).find() if not isinstance(one, Refusal)]
    files: list[File] = list(found)
    settings = load_settings(None, ["index.batch_size=2"])
    job = Job("me", settings, [set()])

    def shape(batches: Iterator[BatchRead]) -> list[tuple[int, int, int, int]]:
        return [
            (one.files, len(one.opened), len(one.readings[0]), len(one.refused)) for one in batches
        ]

    team = Team([ColourReader()], colour_readers, TWO_PROCESSES)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT)
        assert shape(read_files(files, team, job)) == [(2, 1, 1, 1), (2, 2, 2, 0), (2, 2, 1, 0)]
    # This process fills its batches: 0 and 2, which the empty file is counted with, 3 and 4, 5.
    assert shape(read_files(files, Team([ColourReader()]), job)) == [
        (3, 2, 2, 1), (2, 2, 2, 0), (1, 1, 1, 0),
    ]  # fmt: skip


class CountedReader(ColourReader):
    """Leaves one file for each photo that it reads, whichever process it is in."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def read(
        self, inputs: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        for _ in inputs:
            (self._folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return super().read(inputs, metadata)


def counted_readers(folder: Path) -> list[PhotoReader]:
    return [CountedReader(folder)]


def test_a_worker_reads_copies_of_a_photo_once(tmp_path: Path, workers: Workers) -> None:
    photos, counts = tmp_path / "photos", tmp_path / "counts"
    photos.mkdir()
    counts.mkdir()
    draw(photos / "00.jpg", 0)
    for number in range(1, 40):
        shutil.copy(photos / "00.jpg", photos / f"{number:02}.jpg")
    opener = partial(counted_readers, counts)
    report = indexed(tmp_path / "library.sqlite", photos, Team(opener(), opener, workers))
    # Ten batches of four copies: one reading in each worker, not in each batch.
    assert len(list(counts.iterdir())) <= 2
    assert (report.indexed, report.unchanged) == (1, 39)
    rows = tables(tmp_path / "library.sqlite")
    assert (len(rows["embeddings"]), len(rows["sightings"])) == (1, 40)


def colour_readers() -> list[PhotoReader]:
    return [ColourReader()]


@pytest.mark.usefixtures("cluster")
def test_the_embedded_model_reads_the_same_on_ray(tmp_path: Path, photos: Path) -> None:
    for name, workers in (("alone", HERE), ("together", TWO_ON_RAY)):
        with VisualLens(tmp_path / f"{name}.sqlite", settings=small()) as lens:
            report = lens.index(photos, workers=workers)
        assert report.indexed == 25
        assert RefusalReason.TRUNCATED in {one.reason for one in report.refused}
    assert tables(tmp_path / "together.sqlite") == tables(tmp_path / "alone.sqlite")
