from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tests.augment.reader import ColourReader
from visuallens.augment.base import IndexReport
from visuallens.augment.pipeline import index, index_lock
from visuallens.augment.store import Library
from visuallens.config import Settings
from visuallens.errors import LibraryBusyError, LibraryFullError, LibraryReadOnlyError
from visuallens.models.base import PhotoReader
from visuallens.sources import open_source
from visuallens.types import RefusalReason

_NOBODY = 65534


def run(
    library: Path, photos: Path, *readers: PhotoReader, user: str = "me", batch_size: int = 4
) -> IndexReport:
    settings = Settings().model_copy(
        update={"index": Settings().index.model_copy(update={"batch_size": batch_size})}
    )
    with Library.open(library, create=True, writable=True) as opened:
        return index(
            opened,
            open_source(photos).find(),
            readers or [ColourReader()],
            user_id=user,
            settings=settings,
        )


def content(library: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that does not depend on when or in what order it was written."""
    queries = {
        "photos": "SELECT id, width_px, fingerprint FROM photos ORDER BY id",
        "sightings": "SELECT s.user_id, s.path, p.id FROM sightings s JOIN photos p "
        "ON p.number = s.photo ORDER BY 1, 2",
        "embeddings": "SELECT p.id, d.id, e.vector FROM embeddings e JOIN photos p "
        "ON p.number = e.photo JOIN models d ON d.number = e.model ORDER BY 1, 2",
        "augmentations": "SELECT p.id, d.id, a.caption, a.aspect_words FROM augmentations a "
        "JOIN photos p ON p.number = a.photo JOIN models d ON d.number = a.model ORDER BY 1, 2",
        "moments": "SELECT p.id, COUNT(*) OVER (PARTITION BY m.moment) FROM moments m "
        "JOIN photos p ON p.number = m.photo ORDER BY 1",
        "refusals": "SELECT path, reason FROM refusals ORDER BY 1",
    }
    with sqlite3.connect(library) as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((160, 120), Image.Resampling.NEAREST).save(path)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return tmp_path / "library.sqlite"


def test_everything_is_indexed_once(library: Path, photo_folder: Path) -> None:
    reader = ColourReader()
    first = run(library, photo_folder, reader)
    assert (first.indexed, first.unchanged, first.refused) == (6, 0, ())
    second = run(library, photo_folder, reader)
    assert (second.indexed, second.unchanged) == (0, 6)
    assert reader.photos_read == 6


def test_only_new_photos_are_read(library: Path, photo_folder: Path) -> None:
    run(library, photo_folder)
    draw(photo_folder / "new.png", 99)
    reader = ColourReader()
    report = run(library, photo_folder, reader)
    assert (report.indexed, report.unchanged, reader.photos_read) == (1, 6, 1)


def test_a_moved_file_is_the_same_photo(library: Path, photo_folder: Path, tmp_path: Path) -> None:
    run(library, photo_folder)
    moved = tmp_path / "moved"
    shutil.move(photo_folder, moved)
    reader = ColourReader()
    report = run(library, moved, reader)
    assert (report.indexed, report.unchanged, reader.photos_read) == (0, 6, 0)
    assert len(content(library)["photos"]) == 6


def test_two_models_live_side_by_side(library: Path, photo_folder: Path) -> None:
    run(library, photo_folder, ColourReader("first"))
    first, second = ColourReader("first"), ColourReader("second")
    report = run(library, photo_folder, first, second)
    assert (report.indexed, first.photos_read, second.photos_read) == (6, 0, 6)
    assert len(content(library)["embeddings"]) == 12


def test_duplicates_are_counted_at_their_level(library: Path, photo_folder: Path) -> None:
    shutil.copy(photo_folder / "0.jpg", photo_folder / "copy.jpg")
    with Image.open(photo_folder / "1.jpg") as picture:
        picture.resize((200, 150)).save(photo_folder / "smaller.jpg", quality=70)
    report = run(library, photo_folder)
    assert report.duplicates.same_bytes == 1
    assert report.duplicates.same_picture == 1
    assert report.duplicates.same_moment == 0
    with Library.open(library) as opened:
        history = opened.history("me", "colours@1")
    assert len(history.history) == 7
    assert len(np.unique(history.moments)) == 6


def test_a_burst_is_one_moment(library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "burst"
    folder.mkdir()
    for number, second in enumerate((0, 3, 40)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:01 12:00:{second:02}"
        pixels = np.full((12, 16, 3), (200, 90 + number, 40), np.uint8)
        pixels[number :: 3 + number] = (10, 200, 90)
        image = Image.fromarray(pixels).resize((160, 120), Image.Resampling.NEAREST)
        image.save(folder / f"{number}.jpg", exif=exif)
    report = run(library, folder)
    assert report.duplicates.same_moment == 1  # 0 s and 3 s; 40 s is too late


def test_bad_files_are_named_and_the_rest_is_indexed(library: Path, photo_folder: Path) -> None:
    (photo_folder / "empty.jpg").touch()
    (photo_folder / "text.jpg").write_text("not a photo")
    whole = (photo_folder / "0.jpg").read_bytes()
    (photo_folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photo_folder / "notes.txt").write_text("side file")
    (photo_folder / "loop").symlink_to(photo_folder, target_is_directory=True)
    os.close(os.open(os.fsencode(photo_folder) + b"/caf\xe9.png", os.O_CREAT))
    draw(Path(os.fsdecode(os.fsencode(photo_folder) + b"/gr\xfcn.png")), 5)
    report = run(library, photo_folder)
    reasons = {refusal.path.split("/")[-1]: refusal.reason for refusal in report.refused}
    assert report.indexed == 7
    assert reasons == {
        "empty.jpg": RefusalReason.EMPTY_FILE,
        "text.jpg": RefusalReason.NOT_AN_IMAGE,
        "cut.jpg": RefusalReason.TRUNCATED,
        "loop": RefusalReason.SYMLINK_LOOP,
        "caf\\xe9.png": RefusalReason.EMPTY_FILE,
    }
    assert [refusal.path.split("/")[-1] for refusal in report.skipped] == ["notes.txt"]
    assert len(content(library)["refusals"]) == 5
    assert len(content(library)["sightings"]) == 7


def test_a_huge_picture_is_refused_before_it_is_decoded(library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "huge"
    folder.mkdir()
    Image.new("1", (30_000, 30_000)).save(folder / "huge.png")
    start = time.perf_counter()
    report = run(library, folder)
    assert [refusal.reason for refusal in report.refused] == [RefusalReason.TOO_MANY_PIXELS]
    assert time.perf_counter() - start < 2


def test_a_repaired_file_is_no_longer_refused(library: Path, photo_folder: Path) -> None:
    broken = photo_folder / "broken.jpg"
    broken.touch()
    run(library, photo_folder)
    draw(broken, 7)
    report = run(library, photo_folder)
    assert (report.indexed, report.refused) == (1, ())
    assert content(library)["refusals"] == []


def test_an_overwritten_file_leaves_no_old_photo(library: Path, photo_folder: Path) -> None:
    run(library, photo_folder)
    draw(photo_folder / "0.jpg", 42)
    run(library, photo_folder)
    assert len(content(library)["photos"]) == 6
    assert len(content(library)["embeddings"]) == 6


def test_two_users_share_a_photo_but_not_a_history(library: Path, photo_folder: Path) -> None:
    run(library, photo_folder, user="ann")
    reader = ColourReader()
    run(library, photo_folder, reader, user="ben")
    assert reader.photos_read == 0
    with Library.open(library) as opened:
        assert opened.users() == ("ann", "ben")
        assert len(opened.history("ben", "colours@1").history) == 6
        assert opened.status().photos == 6


def test_a_manifest_says_whose_and_when(library: Path, photo_folder: Path) -> None:
    manifest = photo_folder / "photos.csv"
    manifest.write_text("path,user_id,taken_at\n0.jpg,ann,2001-02-03T04:05:06+00:00\n1.jpg,,\n")
    run(library, manifest)
    with Library.open(library) as opened:
        (photo,) = opened.history("ann", "colours@1").history.photos
        assert photo.metadata.taken_at is not None
        assert photo.metadata.taken_at.year == 2001
        assert opened.users() == ("ann", "me")


def test_an_unexpected_error_costs_one_photo(
    library: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ColourReader()
    prepare = reader.prepare
    calls = iter(range(100))

    def fails_once(image: Image.Image) -> object:
        if next(calls) == 2:
            raise RuntimeError("a bug")
        return prepare(image)

    monkeypatch.setattr(reader, "prepare", fails_once)
    report = run(library, photo_folder, reader)
    assert report.indexed == 5
    assert [refusal.reason for refusal in report.refused] == [RefusalReason.UNREADABLE]


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_loses_and_doubles_nothing(tmp_path: Path, kills: int) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(120):
        draw(folder / f"{number:03}.jpg", number)
    unbroken, killed = tmp_path / "unbroken.sqlite", tmp_path / "killed.sqlite"
    run(unbroken, folder)
    code = (
        "import sys; from pathlib import Path; from tests.augment.test_pipeline import run;"
        "run(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    generator = np.random.default_rng(kills)
    root = Path(__file__).resolve().parents[2]
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", code, killed, folder], cwd=root)
        time.sleep(0.4 + float(generator.uniform(0, 0.8)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(killed, folder)
    assert content(killed) == content(unbroken)


def test_a_run_ends_what_a_killed_one_began(library: Path, photo_folder: Path) -> None:
    shutil.copy(photo_folder / "1.jpg", photo_folder / "copy.jpg")
    run(library, photo_folder)
    whole = content(library)
    with sqlite3.connect(library) as connection:  # as after a kill between saving and grouping
        connection.execute("DELETE FROM moments")
    connection.close()
    assert run(library, photo_folder).indexed == 0
    assert content(library) == whole


def test_a_second_run_waits_for_the_first(library: Path, photo_folder: Path) -> None:
    reports = {}

    def work(name: str) -> None:
        reports[name] = run(library, photo_folder)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.indexed for report in reports.values()) == [0, 6]
    assert len(content(library)["sightings"]) == 6


def test_waiting_ends_with_a_clear_message(library: Path) -> None:
    with (
        FileLock(library.with_name(library.name + ".lock")),
        pytest.raises(LibraryBusyError, match="another run is still writing"),
        index_lock(library, patience_s=0.05),
    ):
        pass


def test_a_full_disk_keeps_what_was_written(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        draw(folder / f"{number:02}.jpg", number)
    opened = Library.open

    def small(path: Path, **options: bool) -> Library:
        found = opened(path, **options)
        ((pages,),) = found.connection.execute("PRAGMA page_count")
        found.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        return found

    monkeypatch.setattr(Library, "open", small)
    with pytest.raises(LibraryFullError, match="What was indexed so far is safe"):
        run(library, folder)
    monkeypatch.undo()
    kept = len(content(library)["photos"])
    report = run(library, folder)
    assert report.indexed == 60 - kept
    assert len(content(library)["embeddings"]) == 60


def test_a_read_only_library_can_be_read_but_not_written(library: Path, photo_folder: Path) -> None:
    run(library, photo_folder)
    library.chmod(0o444)
    library.parent.chmod(0o555)
    try:
        if os.access(library, os.W_OK):  # an administrator may write everywhere
            _as_nobody(library, photo_folder)
            return
        with Library.open(library) as opened:
            assert opened.status().photos == 6
        with pytest.raises(LibraryReadOnlyError):
            run(library, photo_folder)
    finally:
        library.parent.chmod(0o755)


def _as_nobody(library: Path, photo_folder: Path) -> None:
    """Do the same as a user without rights, in a process of its own."""
    for folder in library.parents:
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
        if folder == Path(tempfile.gettempdir()):
            break
    child = os.fork()
    if child == 0:
        os.setuid(_NOBODY)
        passed = False
        try:
            with Library.open(library) as opened:
                readable = opened.status().photos == 6
            with pytest.raises(LibraryReadOnlyError):
                run(library, photo_folder)
            passed = readable
        finally:
            os._exit(0 if passed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
