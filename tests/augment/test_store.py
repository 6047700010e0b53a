from __future__ import annotations

import errno
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from tests.augment.reader import ColourReader
from visuallens.augment import schema
from visuallens.augment.records import Made, PhotoRecord, Sighting, save_photos
from visuallens.augment.schema import SCHEMA_VERSION
from visuallens.augment.store import Library, signed, unsigned
from visuallens.errors import (
    LibraryError,
    LibraryFullError,
    LibraryMissingError,
    LibraryVersionError,
)
from visuallens.models.base import Description
from visuallens.models.towns import nearest_town
from visuallens.types import DateSource, GeoPoint, PhotoMetadata

MODEL = ColourReader().id


def record(number: int, taken_at: datetime | None = None) -> PhotoRecord:
    source = DateSource.NONE if taken_at is None else DateSource.EXIF
    vector = np.array([number, 1], np.float32)
    return PhotoRecord(
        photo_id=f"{number:064x}",
        sighting=Sighting("me", Path(f"/photos/{number}.jpg"), 10, 20),
        metadata=PhotoMetadata(taken_at, source, GeoPoint(38.7, -9.1), 40, 30),
        fingerprint=(1 << 64) - 1 - number,
        made=(Made(ColourReader(), vector, Description(f"Caption {number}", ("red", "dog"))),),
    )


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library.open(tmp_path / "sub" / "library.sqlite", create=True, writable=True)


def test_history_comes_oldest_first_and_undated_before(library: Library) -> None:
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    # 13:00 at +02:00 is 11:00 UTC, an hour before noon.
    earlier = datetime(2024, 5, 1, 13, tzinfo=timezone(timedelta(hours=2)))
    save_photos(library, [record(1, noon), record(2), record(3, earlier)])
    stored = library.history("me", MODEL)
    assert [photo.path for photo in stored.history.photos] == [
        "/photos/2.jpg",
        "/photos/3.jpg",
        "/photos/1.jpg",
    ]
    np.testing.assert_array_equal(stored.embeddings[:, 0], [2, 3, 1])
    last = stored.history.photos[-1]
    assert last.metadata == PhotoMetadata(noon, DateSource.EXIF, GeoPoint(38.7, -9.1), 40, 30)


def test_photos_that_a_model_has_not_read_are_left_out(library: Library) -> None:
    save_photos(library, [record(1)])
    stored = library.history("me", "another@1")
    assert len(stored.history) == len(stored.embeddings) == len(stored.moments) == 0


def test_descriptions_are_found_by_model_and_prompt(library: Library) -> None:
    save_photos(library, [record(number) for number in range(1200)])
    ids = [f"{number:064x}" for number in range(1200)]
    found = library.descriptions(ids, MODEL, "colours-1")
    assert len(found) == 1200
    assert found[ids[7]].caption == "Caption 7"
    assert library.descriptions(ids, MODEL, "colours-2") == {}
    assert library.descriptions([], MODEL, "colours-1") == {}


def test_word_shares_count_photos(library: Library) -> None:
    save_photos(library, [record(1), record(2)])
    assert library.word_shares("me", MODEL, "colours-1") == {"red": 1.0, "dog": 1.0}
    assert library.word_shares("nobody", MODEL, "colours-1") == {}


def test_fingerprints_survive_the_signed_column() -> None:
    for number in (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        assert int(unsigned(np.array([signed(number)], np.int64))[0]) == number


def test_a_missing_library_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LibraryMissingError, match="visuallens index"):
        Library.open(tmp_path / "none.sqlite")


def test_a_newer_library_is_refused(library: Library) -> None:
    library.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    library.close()
    with pytest.raises(LibraryVersionError, match="Upgrade VisualLens"):
        Library.open(library.path)


@pytest.mark.parametrize("content", [b"", b"no library, just some text " * 50])
def test_another_file_is_refused_and_untouched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.sqlite"
    path.write_bytes(content)
    with pytest.raises(LibraryVersionError, match="not a library"):
        Library.open(path)
    assert path.read_bytes() == content


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name)")
    connection.close()
    with pytest.raises(LibraryVersionError):
        Library.open(path, create=True, writable=True)


def test_a_damaged_library_says_what_to_do(library: Library) -> None:
    save_photos(library, [record(number) for number in range(300)])
    library.close()
    content = bytearray(library.path.read_bytes())
    content[16384 * 2 :] = b"\x55" * (len(content) - 16384 * 2)
    library.path.write_bytes(content)
    with pytest.raises(LibraryError, match="restore a copy"), Library.open(library.path) as opened:
        opened.history("me", MODEL)


def test_a_disk_too_full_for_a_library_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "library.sqlite"
    tables = schema._TABLES
    monkeypatch.setattr(schema, "_TABLES", f"PRAGMA max_page_count = 3; {tables}")
    with pytest.raises(LibraryFullError):
        Library.open(path, create=True, writable=True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    Library.open(path, create=True, writable=True).close()


def test_a_drive_without_hard_links_can_hold_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    path = tmp_path / "library.sqlite"
    with Library.open(path, create=True, writable=True) as opened:
        save_photos(opened, [record(1)])
    with Library.open(path) as opened:
        assert opened.status().photos == 1


def test_a_library_from_before_the_indexes_gets_them(library: Library) -> None:
    library.connection.execute("DROP INDEX embeddings_by_photo")
    library.close()
    query = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'embeddings_by_photo'"
    with Library.open(library.path, writable=True) as opened:
        assert opened.connection.execute(query).fetchone() == (1,)


def test_a_corrected_place_renames_the_town_in_captions(library: Library) -> None:
    london, paris = GeoPoint(51.5, -0.12), GeoPoint(48.86, 2.35)
    old, new = nearest_town(london), nearest_town(paris)
    first = record(1)
    made = replace(first.made[0], description=Description(f"Palace, {old}", ("palace",)))
    placed = replace(first, metadata=replace(first.metadata, location=london), made=(made,))
    save_photos(library, [placed])
    corrected = replace(first, metadata=replace(first.metadata, location=paris), made=())
    save_photos(library, [replace(corrected, placed_by_source=True)])
    (found,) = library.descriptions([first.photo_id], MODEL, "colours-1").values()
    assert found.caption == f"Palace, {new}"
    # What people wrote stays as they wrote it.
    save_photos(library, [replace(corrected, caption=f"Home, {new}")])
    moved = replace(placed, made=(), placed_by_source=True)
    save_photos(library, [moved])
    (found,) = library.descriptions([first.photo_id], MODEL, "colours-1").values()
    assert found.caption == f"Home, {new}"
