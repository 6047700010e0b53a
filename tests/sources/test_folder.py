from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from visuallens.errors import PhotoError, SourceError
from visuallens.images import display_path, open_photo
from visuallens.sources import open_source
from visuallens.sources.base import FoundFile
from visuallens.sources.folder import FolderSource
from visuallens.types import Refusal, RefusalReason


def make(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(folder: Path) -> list[str]:
    files = [file for file in FolderSource(folder).find() if isinstance(file, FoundFile)]
    return [display_path(file.path.relative_to(folder)) for file in files]


def refused(folder: Path) -> dict[str, Refusal]:
    refusals = [file for file in FolderSource(folder).find() if isinstance(file, Refusal)]
    return {refusal.path.removeprefix(f"{folder}/"): refusal for refusal in refusals}


def test_photos_are_found_in_every_folder_by_name(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.heic", "a.png", "c.webp", "b/deep/er/0.avif", "scan"):
        make(tmp_path / name)

    assert found(tmp_path) == ["a.png", "b/1.heic", "b/2.JPG", "b/deep/er/0.avif", "c.webp", "scan"]


def test_a_file_tells_size_and_time(tmp_path: Path) -> None:
    path = make(tmp_path / "a.jpg", b"12345")
    os.utime(path, ns=(7, 1_600_000_000_123_456_789))

    (file,) = FolderSource(tmp_path).find()

    assert file == FoundFile(path, 5, 1_600_000_000_123_456_789)


def test_one_file_is_a_source(tmp_path: Path) -> None:
    photo, video = make(tmp_path / "a.jpg"), make(tmp_path / "b.mp4")

    (file,) = FolderSource(photo).find()
    (refusal,) = FolderSource(video).find()

    assert isinstance(file, FoundFile)
    assert isinstance(refusal, Refusal)


def test_an_empty_folder_has_no_photos(tmp_path: Path) -> None:
    assert list(FolderSource(tmp_path).find()) == []


@pytest.mark.parametrize(
    ("name", "reason", "word"),
    [
        ("IMG_1.jpg.json", RefusalReason.SIDE_FILE, "json"),
        ("IMG_1.xmp", RefusalReason.SIDE_FILE, "xmp"),
        ("IMG_1.AAE", RefusalReason.SIDE_FILE, "aae"),
        ("desktop.ini", RefusalReason.SIDE_FILE, "ini"),
        ("a.whatever", RefusalReason.SIDE_FILE, "whatever"),
        ("IMG_1.MOV", RefusalReason.UNSUPPORTED_FORMAT, "video"),
        ("IMG_1.dng", RefusalReason.UNSUPPORTED_FORMAT, "RAW"),
        ("plan.pdf", RefusalReason.UNSUPPORTED_FORMAT, "document"),
    ],
)
def test_other_files_are_refused_with_a_reason(
    tmp_path: Path, name: str, reason: RefusalReason, word: str
) -> None:
    make(tmp_path / name)

    refusal = refused(tmp_path)[name]

    assert refusal.reason is reason
    assert word in refusal.detail


def test_hidden_files_and_thumbnail_folders_are_skipped_silently(tmp_path: Path) -> None:
    for name in (".a.jpg", ".trash/b.jpg", "@eaDir/c.jpg", "__MACOSX/d.jpg", "Thumbs.db", "e.jpg"):
        make(tmp_path / name)

    assert found(tmp_path) == ["e.jpg"]
    assert refused(tmp_path) == {}


def test_a_link_to_a_folder_above_is_a_loop(tmp_path: Path) -> None:
    make(tmp_path / "a/b/photo.jpg")
    (tmp_path / "a/b/up").symlink_to(tmp_path)

    assert found(tmp_path) == ["a/b/photo.jpg"]
    assert refused(tmp_path)["a/b/up"].reason is RefusalReason.SYMLINK_LOOP


def test_a_link_to_itself_is_a_loop(tmp_path: Path) -> None:
    (tmp_path / "me.jpg").symlink_to(tmp_path / "me.jpg")

    assert refused(tmp_path)["me.jpg"].reason is RefusalReason.SYMLINK_LOOP


def test_two_links_to_each_others_folders_end(tmp_path: Path) -> None:
    make(tmp_path / "a/1.jpg")
    make(tmp_path / "b/2.jpg")
    (tmp_path / "a/to-b").symlink_to(tmp_path / "b")
    (tmp_path / "b/to-a").symlink_to(tmp_path / "a")

    assert sorted(Path(name).name for name in found(tmp_path)) == ["1.jpg", "2.jpg"]
    assert {refusal.reason for refusal in refused(tmp_path).values()} == {
        RefusalReason.SYMLINK_LOOP
    }


def test_links_to_files_and_outside_folders_are_followed(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside/1.jpg")
    library = tmp_path / "library"
    library.mkdir()
    (library / "folder").symlink_to(outside.parent)
    (library / "link.jpg").symlink_to(outside)

    assert found(library) == ["folder/1.jpg", "link.jpg"]


def test_a_broken_link_is_missing(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")

    refusal = refused(tmp_path)["gone.jpg"]

    assert refusal.reason is RefusalReason.MISSING
    assert "broken link" in refusal.detail


def test_a_pipe_is_refused_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")

    assert refused(tmp_path)["pipe.jpg"].reason is RefusalReason.UNREADABLE


def test_names_that_are_not_utf8_work(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        Path(os.fsdecode(raw)).mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    for name in (b"/1.jpg", b"/2\xff.txt"):
        Path(os.fsdecode(raw + name)).write_bytes(b"x")

    assert found(tmp_path) == [r"caf\xe9/1.jpg"]
    assert list(refused(tmp_path)) == [r"caf\xe9/2\xff.txt"]


@pytest.fixture
def deep_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A photo below 1,200 folders; taken apart afterwards, for `rmtree` cannot go so deep."""
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    Path("a.jpg").write_bytes(b"x")
    yield tmp_path
    Path("a.jpg").unlink()
    for _ in range(1200):
        os.chdir("..")
        Path("d").rmdir()


def test_folders_may_be_nested_beyond_the_recursion_limit(deep_folder: Path) -> None:
    assert len(found(deep_folder)) == 1


def test_an_unreadable_folder_is_refused_and_the_rest_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "locked/1.jpg")
    make(tmp_path / "open/2.jpg")
    scandir = os.scandir

    def deny(path: Path) -> os._ScandirIterator[str]:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)

    assert found(tmp_path) == ["open/2.jpg"]
    assert refused(tmp_path)["locked"].reason is RefusalReason.NO_PERMISSION


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    """A folder, while this process acts as nobody, because root may read everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if is_root:
                os.seteuid(0)


def test_real_permissions_are_respected(nobodys_folder: Path) -> None:
    locked, photo = nobodys_folder / "locked", make(nobodys_folder / "a.jpg")
    locked.mkdir()
    photo.chmod(0)
    locked.chmod(0)

    with pytest.raises(PhotoError) as error:
        open_photo(photo, min_side_px=8, max_pixels=100)

    assert error.value.refusal.reason is RefusalReason.NO_PERMISSION
    assert refused(nobodys_folder)["locked"].reason is RefusalReason.NO_PERMISSION
    locked.chmod(0o700)


def test_a_path_that_is_not_there_is_a_source_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file or folder.*Check the path"):
        FolderSource(tmp_path / "nowhere").find()


def test_a_folder_that_cannot_be_listed_at_all_is_a_source_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)

    with pytest.raises(SourceError, match="permissions"):
        FolderSource(tmp_path).find()


def test_a_path_with_a_null_byte_is_a_source_error() -> None:
    with pytest.raises(SourceError):
        FolderSource(Path("a\0b")).find()


def test_finding_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        make(tmp_path / f"{number}/photo.jpg")
    listed: list[Path] = []
    scandir = os.scandir

    def count(path: Path) -> os._ScandirIterator[str]:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", count)
    assert len(list(islice(FolderSource(tmp_path).find(), 2))) == 2
    assert len(listed) == 3


def test_the_path_decides_the_source(tmp_path: Path) -> None:
    table = make(tmp_path / "photos.csv", b"path\n")
    odd_folder = tmp_path / "trip.csv"
    odd_folder.mkdir()

    assert type(open_source(tmp_path)).__name__ == "FolderSource"
    assert type(open_source(table)).__name__ == "ManifestSource"
    assert type(open_source(odd_folder)).__name__ == "FolderSource"


@pytest.mark.data
def test_a_takeout_tree_is_told_apart(data: Path) -> None:
    items = list(FolderSource(data / "takeout").find())

    reasons = [item.reason for item in items if isinstance(item, Refusal)]
    assert sum(isinstance(item, FoundFile) for item in items) == 13
    assert reasons.count(RefusalReason.UNSUPPORTED_FORMAT) == 1
    assert set(reasons) == {RefusalReason.UNSUPPORTED_FORMAT, RefusalReason.SIDE_FILE}
