from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from visuallens.models.backbones.digests import file_digest, folder_digest


def write(folder: Path, size_bytes: int, header_bytes: int = 1000) -> Path:
    """Write what has the outline of a safetensors file; a hole takes no place on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.safetensors"
    header = json.dumps({"a": "b"}).ljust(header_bytes).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with file.open("r+b") as opened:
        opened.truncate(size_bytes)
    return file


def change(file: Path, place: int, length: int = 1) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(b"\x01" * length)


@pytest.mark.parametrize("place", [20, 900_000, 3_999_999])
def test_a_small_file_is_read_whole(tmp_path: Path, place: int) -> None:
    file = write(tmp_path, 4_000_000)
    before = folder_digest(tmp_path)
    change(file, place)
    assert folder_digest(tmp_path) != before


def test_later_layers_count(tmp_path: Path) -> None:
    file = write(tmp_path, 100_000_000)
    before = folder_digest(tmp_path)
    change(file, 60_000_000, 2_000_000)  # one layer; places are 1.6 MB apart
    assert folder_digest(tmp_path) != before


def test_the_end_and_a_long_header_count(tmp_path: Path) -> None:
    file = write(tmp_path, 100_000_000, header_bytes=5_000_000)
    first = folder_digest(tmp_path)
    change(file, 99_999_999)
    second = folder_digest(tmp_path)
    change(file, 4_900_000)
    assert len({first, second, folder_digest(tmp_path)}) == 3


def test_the_record_of_a_merged_model_counts(tmp_path: Path) -> None:
    write(tmp_path, 10_000)
    first = folder_digest(tmp_path)
    (tmp_path / "visuallens.json").write_text("{}", encoding="utf-8")
    second = folder_digest(tmp_path)
    (tmp_path / "visuallens.json").write_text("[]", encoding="utf-8")
    assert len({first, second, folder_digest(tmp_path)}) == 3


def test_odd_files_have_digests_too(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "model.safetensors").touch()
    empty = folder_digest(tmp_path / "odd")
    (tmp_path / "odd" / "model.safetensors").write_bytes(b"\xff" * 100)
    assert len({folder_digest(tmp_path / "none"), empty, folder_digest(tmp_path / "odd")}) == 3


def test_a_large_file_takes_no_time(tmp_path: Path) -> None:
    write(tmp_path, 20_000_000_000)
    begin = time.monotonic()
    folder_digest(tmp_path)
    assert time.monotonic() - begin < 2


def test_a_file_is_known_by_content_and_what_is_made_of_it(tmp_path: Path) -> None:
    file = tmp_path / "weights.gguf"
    file.write_bytes(bytes(10_000))
    first = file_digest(file, "1")
    other_layout = file_digest(file, "2")
    change(file, 5_000)
    assert len({first, other_layout, file_digest(file, "1")}) == 3
