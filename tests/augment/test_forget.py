from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.augment.test_pipeline import content, run
from tests.augment.test_store import record
from visuallens.augment import forget as forget_module
from visuallens.augment.forget import Receipt, forget
from visuallens.augment.records import save_photos
from visuallens.augment.store import Library
from visuallens.errors import LibraryBusyError, LibraryError, RequestError
from visuallens.models.server.cache import FILE_NAME, AnswerCache


@pytest.fixture
def library(tmp_path: Path, photo_folder: Path) -> Path:
    album = photo_folder / "album"
    album.mkdir()
    shutil.move(photo_folder / "5.jpg", album / "5.jpg")
    (album / "broken.jpg").touch()
    path = tmp_path / "library.sqlite"
    run(path, photo_folder)
    return path


def forgotten(library: Path, **what: object) -> Receipt:
    with Library.open(library, writable=True) as opened:
        return forget(opened, **what)  # type: ignore[arg-type]  # each test gives its own


def test_a_photo_is_gone_with_everything_made_of_it(library: Path, photo_folder: Path) -> None:
    path = photo_folder / "0.jpg"
    receipt = forgotten(library, photo=str(path))
    assert [photo.paths for photo in receipt.photos] == [(str(path),)]
    assert receipt.rows["embeddings"] == receipt.rows["augmentations"] == 1
    assert receipt.patterns_searched == 3
    assert path.exists()
    left = content(library)
    assert {len(left[name]) for name in ("photos", "sightings", "embeddings", "moments")} == {5}
    assert str(path).encode() not in library.read_bytes()
    assert "0 were found" in str(receipt)


def test_a_photo_is_found_by_the_beginning_of_its_id(library: Path) -> None:
    photo_id = str(content(library)["photos"][0][0])
    assert forgotten(library, photo=photo_id[:12]).photos[0].id == photo_id


def test_a_folder_goes_with_its_refusals(library: Path, photo_folder: Path) -> None:
    assert len(content(library)["refusals"]) == 1
    receipt = forgotten(library, folder=photo_folder / "album")
    assert len(receipt.photos) == 1
    assert content(library)["refusals"] == []
    assert len(content(library)["photos"]) == 5


def test_a_user_goes_and_what_others_share_stays(library: Path, photo_folder: Path) -> None:
    run(library, photo_folder, user="ann")
    receipt = forgotten(library, user="me")
    assert receipt.files == 6
    assert receipt.photos == ()
    with Library.open(library) as opened:
        assert opened.users() == ("ann",)
    everything = forgotten(library, user="ann")
    assert len(everything.photos) == 6
    assert not any(content(library)[name] for name in ("photos", "embeddings", "moments"))


def test_a_copy_elsewhere_keeps_the_photo(library: Path, photo_folder: Path) -> None:
    shutil.copy(photo_folder / "0.jpg", photo_folder / "copy.jpg")
    run(library, photo_folder)
    receipt = forgotten(library, photo=str(photo_folder / "0.jpg"))
    assert (receipt.files, receipt.photos) == (1, ())
    assert len(content(library)["photos"]) == 6


@pytest.mark.parametrize("what", [{"photo": "nothing.jpg"}, {"user": "nobody"}, {"photo": "0"}])
def test_nothing_matching_is_said(library: Path, what: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="Nothing in the library matches"):
        forgotten(library, **what)


def test_the_proof_fails_when_a_trace_is_left(
    library: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact = forget_module._compact

    def leaves_a_trace(opened: Library) -> None:
        compact(opened)
        with opened.path.open("ab") as file:
            file.write(str(photo_folder / "0.jpg").encode())

    monkeypatch.setattr(forget_module, "_compact", leaves_a_trace)
    with pytest.raises(LibraryError, match="traces of what was forgotten"):
        forgotten(library, photo=str(photo_folder / "0.jpg"))


def test_every_photo_is_proven_gone(library: Path) -> None:
    with Library.open(library, writable=True) as opened:
        save_photos(opened, [record(number) for number in range(11, 511)])
    receipt = forgotten(library, folder=Path("/photos"))
    # Each record has its id, its path and its embedding, all different.
    assert (len(receipt.photos), receipt.patterns_searched) == (500, 1500)


def test_traces_that_others_need_are_left_out(library: Path, photo_folder: Path) -> None:
    shutil.copy(photo_folder / "0.jpg", photo_folder / "0.jpg.jpg")
    run(library, photo_folder, user="ann")
    # What remains of 0.jpg: ann's photo, her path, and her path that begins with it.
    assert forgotten(library, photo=str(photo_folder / "0.jpg"), user="me").patterns_searched == 0


def test_the_refusals_of_others_stay(library: Path, photo_folder: Path) -> None:
    run(library, photo_folder, user="ann")
    forgotten(library, folder=photo_folder / "album", user="ann")
    assert len(content(library)["refusals"]) == 1


def test_a_refused_file_alone_can_be_forgotten(library: Path, photo_folder: Path) -> None:
    broken = str(photo_folder / "album" / "broken.jpg")
    receipt = forgotten(library, photo=broken)
    assert (receipt.files, receipt.rows["refusals"], receipt.patterns_searched) == (0, 1, 1)
    assert broken.encode() not in library.read_bytes()


def test_a_beginning_shared_by_several_ids_is_not_guessed(library: Path) -> None:
    with Library.open(library, writable=True) as opened:
        save_photos(opened, [record(1), record(2)])
    with pytest.raises(RequestError, match="2 photos have an id that begins with '00000000'"):
        forgotten(library, photo="00000000")
    assert len(content(library)["photos"]) == 8


def test_nothing_is_deleted_while_somebody_reads(library: Path, photo_folder: Path) -> None:
    with Library.open(library) as reading, Library.open(library, writable=True) as opened:
        reading.connection.execute("BEGIN")
        reading.status()
        save_photos(opened, [record(1)])
        opened.connection.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(LibraryBusyError):
            forget(opened, photo=str(photo_folder / "0.jpg"))
    assert len(content(library)["photos"]) == 7


def test_kept_answers_of_servers_go_too(
    library: Path, photo_folder: Path, answers_folder: Path
) -> None:
    cache = AnswerCache()
    cache.put("k", {"caption": "a lighthouse"})
    cache.put("l", {"caption": "lighthouse, sea"})
    receipt = forgotten(library, photo=str(photo_folder / "0.jpg"))
    assert receipt.answers_deleted == 2
    assert "Deleted all 2 answers of model servers" in str(receipt)
    assert b"lighthouse" not in b"".join(file.read_bytes() for file in answers_folder.iterdir())
    cache.close()
    again = forgotten(library, photo=str(photo_folder / "1.jpg"))
    assert (again.answers_deleted, "answers" in str(again)) == (0, False)


def test_no_file_of_answers_is_made(
    library: Path, photo_folder: Path, answers_folder: Path
) -> None:
    assert forgotten(library, photo=str(photo_folder / "0.jpg")).answers_deleted == 0
    assert list(answers_folder.iterdir()) == []


def test_nothing_is_forgotten_while_answers_cannot_be_deleted(
    library: Path, photo_folder: Path, answers_folder: Path
) -> None:
    (answers_folder / FILE_NAME).mkdir()
    with pytest.raises(LibraryError, match=FILE_NAME):
        forgotten(library, photo=str(photo_folder / "0.jpg"))
    assert len(content(library)["photos"]) == 6


def test_what_does_not_match_costs_no_answers(library: Path) -> None:
    cache = AnswerCache()
    cache.put("k", {"a": 1})
    with pytest.raises(RequestError):
        forgotten(library, user="nobody")
    assert cache.get("k") == {"a": 1}
    cache.close()
