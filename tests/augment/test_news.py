"""What a source says later, and what a killed run left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.augment.reader import ColourReader
from tests.augment.test_pipeline import content, draw, run
from visuallens.augment import pipeline
from visuallens.augment.store import Library
from visuallens.types import DateSource, GeoPoint, Photo


class KilledError(BaseException):
    """Ends a run as abruptly as a test in one process can."""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return tmp_path / "library.sqlite"


def photo_at(library: Path, path: Path) -> Photo:
    with Library.open(library) as opened:
        photos = opened.history("me", ColourReader().id).history.photos
    return next(photo for photo in photos if photo.path == str(path))


def test_later_news_of_an_unchanged_file_arrives(library: Path, photo_folder: Path) -> None:
    run(library, photo_folder)
    manifest = photo_folder / "photos.csv"
    manifest.write_text(
        "path,taken_at,latitude,longitude\n0.jpg,2001-02-03T04:05:06+00:00,,\n1.jpg,,38.7,-9.1\n"
    )
    reader = ColourReader()
    report = run(library, manifest, reader)
    assert (report.indexed, report.unchanged, reader.photos_read) == (0, 2, 0)
    dated = photo_at(library, photo_folder / "0.jpg").metadata
    assert dated.date_source is DateSource.MANIFEST
    assert dated.taken_at is not None
    assert dated.taken_at.year == 2001
    assert photo_at(library, photo_folder / "1.jpg").metadata.location == GeoPoint(38.7, -9.1)


def test_a_plain_folder_takes_no_news_back(
    library: Path, photo_folder: Path, tmp_path: Path
) -> None:
    manifest = photo_folder / "photos.csv"
    manifest.write_text("path,taken_at,latitude,longitude\n0.jpg,2001-02-03,38.7,-9.1\n")
    run(library, manifest)
    before = photo_at(library, photo_folder / "0.jpg").metadata
    moved = tmp_path / "moved"
    shutil.move(photo_folder, moved)
    run(library, moved)
    with Library.open(library) as opened:
        photos = opened.history("me", ColourReader().id).history.photos
    assert before in [photo.metadata for photo in photos]


def captions(library: Path) -> dict[str, str]:
    with Library.open(library) as opened:
        rows = opened.connection.execute(
            "SELECT s.path, a.caption FROM augmentations a JOIN sightings s ON s.photo = a.photo"
        )
        return {Path(os.fsdecode(path)).name: caption for path, caption in rows}


def test_a_caption_that_somebody_wrote_takes_the_place_of_the_models(
    library: Path, photo_folder: Path
) -> None:
    run(library, photo_folder)
    made = captions(library)
    manifest = photo_folder / "photos.csv"
    manifest.write_text("path,caption\n0.jpg,Our first day in Lisbon\n1.jpg,\n")
    reader = ColourReader()
    report = run(library, manifest, reader)
    assert (report.indexed, reader.photos_read) == (0, 0)
    assert captions(library) == {**made, "0.jpg": "Our first day in Lisbon"}
    run(library, photo_folder)  # a plain folder takes nothing back
    assert captions(library)["0.jpg"] == "Our first day in Lisbon"


def test_a_new_photo_comes_with_the_caption_that_somebody_wrote(
    library: Path, photo_folder: Path
) -> None:
    manifest = photo_folder / "photos.csv"
    manifest.write_text("path,caption\n0.jpg,Our first day in Lisbon\n")
    assert run(library, manifest).indexed == 1
    assert captions(library) == {"0.jpg": "Our first day in Lisbon"}
    reopened: list[Path] = []

    class Opening(ColourReader):
        def prepare(self, image: Image.Image) -> np.ndarray:
            reopened.append(photo_folder)
            return super().prepare(image)

    assert run(library, manifest, Opening()).unchanged == 1
    assert not reopened


@pytest.mark.parametrize("last_step", ["save_moments", "drop_unseen_photos"])
def test_the_next_run_ends_what_a_killed_one_began(
    library: Path,
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    last_step: str,
) -> None:
    def killed(*_: object) -> None:
        raise KilledError

    run(library, photo_folder)
    shutil.copy(photo_folder / "1.jpg", photo_folder / "copy.jpg")
    draw(photo_folder / "0.jpg", 42)
    monkeypatch.setattr(pipeline, last_step, killed)
    with pytest.raises(KilledError):
        run(library, photo_folder)
    monkeypatch.undo()
    assert run(library, photo_folder).indexed == 0
    unbroken = tmp_path / "unbroken.sqlite"
    run(unbroken, photo_folder)
    assert content(library) == content(unbroken)
