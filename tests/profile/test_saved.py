from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visuallens.config import ProfileSettings, RetrievalSettings
from visuallens.errors import RequestError
from visuallens.profile.builder import build_profile, draw
from visuallens.profile.opened import OpenHistory
from visuallens.profile.saved import load_profile, save_profile
from visuallens.types import (
    Augmentation,
    GeoPoint,
    Photo,
    PhotoMetadata,
    Profile,
    Question,
    VisualHistory,
)


@pytest.fixture
def profile() -> Profile:
    here = PhotoMetadata(location=GeoPoint(38.72231, -9.13931))
    photos = tuple(Photo(f"id{n}", f"/photos/{n}.jpg", here) for n in range(3))
    said = {"id0": Augmentation("id0", "m", "p", 0, "A dog", ("dog", "animal"))}
    opened = OpenHistory(
        history=VisualHistory("me", photos),
        embeddings=np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32),
        moments=np.array([1, 2, 3]),
        age_days=None,
        word_shares={"dog": 0.3, "animal": 0.3},
        describe=lambda ids: {id_: said[id_] for id_ in ids if id_ in said},
    )
    return build_profile(
        opened,
        Question("a dog park", "dog park"),
        np.array([1, 0], np.float32),
        RetrievalSettings(max_photos=2),
        ProfileSettings(grid_side=2, image_side_px=64),
    )


def test_cells_are_numbered_in_the_order_of_similarity(profile: Profile) -> None:
    assert [cell.number for cell in profile.cells] == [1, 2]
    assert [cell.photo.id for cell in profile.cells] == ["id0", "id2"]
    assert profile.cells[0].caption == "A dog"
    assert profile.cells[1].aspect_words == ()
    assert profile.aspect_words == ("animal", "dog")
    expected = np.array([[1, 0], [0.6, 0.8]], np.float32)
    np.testing.assert_array_equal(profile.embeddings, expected)


def test_saved_and_loaded_is_the_same(profile: Profile, tmp_path: Path) -> None:
    drawn = draw(profile, lambda _photo: Image.new("RGB", (9, 9), (1, 2, 3)))
    image, record = save_profile(drawn, tmp_path / "new" / "folder")
    again = load_profile(tmp_path / "new" / "folder")
    assert image.exists()
    assert record.exists()
    blank = tuple(
        replace(c, photo=Photo(c.photo.id, c.photo.path)) for c in drawn.cells
    )  # the metadata of a photo is not saved
    assert [c.photo for c in again.cells] == [c.photo for c in blank]
    assert (again.question, again.text, again.aspect_words) == (
        drawn.question,
        drawn.text,
        drawn.aspect_words,
    )
    assert again.image is not None
    assert drawn.image is not None
    np.testing.assert_array_equal(np.asarray(again.image), np.asarray(drawn.image))


def test_no_position_is_saved(profile: Profile, tmp_path: Path) -> None:
    _, record = save_profile(draw(profile, lambda _photo: None), tmp_path)
    text = record.read_text()
    assert "38.7" not in text
    assert "latitude" not in json.dumps(json.loads(text))


def test_a_profile_without_image_is_not_saved(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no image yet"):
        save_profile(profile, tmp_path)


def test_a_folder_that_cannot_be_written_is_said(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="--out"):
        save_profile(draw(profile, lambda _photo: None), tmp_path / "file")


@pytest.mark.parametrize("content", [None, "", "[]", '{"cells": 3}'])
def test_an_unreadable_profile_is_said(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "profile.json").write_text(content)
        Image.new("RGB", (4, 4)).save(tmp_path / "grid.png")
    with pytest.raises(RequestError, match="no readable profile"):
        load_profile(tmp_path)


def test_a_profile_of_a_newer_version_is_said(profile: Profile, tmp_path: Path) -> None:
    _, record = save_profile(draw(profile, lambda _photo: None), tmp_path)
    record.write_text(record.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(RequestError, match="version 99"):
        load_profile(tmp_path)
