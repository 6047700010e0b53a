"""Files that cannot become images: every one is refused by name, whatever is in it."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from visuallens.errors import PhotoError
from visuallens.images import open_photo
from visuallens.types import Refusal, RefusalReason

ORIENTATION = 0x0112
MEGA = 1_000_000


def scene(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """A smooth picture, red where it is up and left."""
    coarse = np.random.default_rng(seed).integers(0, 200, (6, 8, 3), dtype=np.uint8)
    coarse[0, 0] = (255, 0, 0)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


# Any: options of Pillow's writers.
def save(path: Path, image: Image.Image, **options: Any) -> Path:  # noqa: ANN401
    image.save(path, **options)
    return path


def refusal_of(path: Path, min_side_px: int = 64, max_pixels: int = MEGA) -> Refusal:
    with pytest.raises(PhotoError) as error:
        open_photo(path, min_side_px=min_side_px, max_pixels=max_pixels)
    return error.value.refusal


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()

    assert refusal_of(tmp_path / "a.jpg").reason is RefusalReason.EMPTY_FILE


@pytest.mark.parametrize(
    ("content", "reason", "word"),
    [
        (b"Dear diary, this is text.", RefusalReason.NOT_AN_IMAGE, "not a photo"),
        (b"x", RefusalReason.NOT_AN_IMAGE, "not a photo"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", RefusalReason.UNSUPPORTED_FORMAT, "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", RefusalReason.UNSUPPORTED_FORMAT, "video"),
        (b"RIFF\0\0\0\0AVI LIST", RefusalReason.UNSUPPORTED_FORMAT, "video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", RefusalReason.UNSUPPORTED_FORMAT, "RAW"),
        (b"II*\0\x10\0\0\0CR\x02\0", RefusalReason.UNSUPPORTED_FORMAT, "RAW"),
        (b"%PDF-1.7", RefusalReason.UNSUPPORTED_FORMAT, "document"),
    ],
)
def test_content_that_is_no_photo(
    tmp_path: Path, content: bytes, reason: RefusalReason, word: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(content)

    refusal = refusal_of(tmp_path / "a.jpg")

    assert refusal.reason is reason
    assert word in refusal.detail


def test_raw_that_is_built_like_tiff(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", scene())
    path = (tmp_path / "a.tif").rename(tmp_path / "a.dng")

    assert refusal_of(path).reason is RefusalReason.UNSUPPORTED_FORMAT


def test_jpeg_xl_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_jxl.JpegXLImagePlugin", None)
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + bytes(20))

    refusal = refusal_of(tmp_path / "a.jxl")

    assert refusal.reason is RefusalReason.UNSUPPORTED_FORMAT
    assert 'pip install "visuallens[jxl]"' in refusal.detail


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.heic", "a.avif", "a.gif", "a.bmp"])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_photo_that_ends_too_early(tmp_path: Path, name: str, share: float) -> None:
    pillow_heif.register_heif_opener()
    data = save(tmp_path / name, scene()).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])

    assert refusal_of(tmp_path / name).reason is RefusalReason.TRUNCATED


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    # 900 million pixels would take 2.7 GB; there is not even a whole row of them in the file.
    (tmp_path / "a.png").write_bytes(png(30_000, 30_000, png_chunk(b"IDAT", bytes(20))))

    refusal = refusal_of(tmp_path / "a.png", max_pixels=200 * MEGA)

    assert refusal.reason is RefusalReason.TOO_MANY_PIXELS
    assert "images.max_pixels" in refusal.detail
    assert "30000 x 30000" in refusal.detail


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.heic", "a.avif", "a.gif", "a.bmp", "a.tif"])
def test_the_limit_holds_for_every_format(tmp_path: Path, name: str) -> None:
    pillow_heif.register_heif_opener()
    path = save(tmp_path / name, scene())

    assert refusal_of(path, max_pixels=320 * 240 - 1).reason is RefusalReason.TOO_MANY_PIXELS
    assert open_photo(path, min_side_px=64, max_pixels=320 * 240).image.mode == "RGB"


def test_pillows_own_limit_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    assert (
        open_photo(save(tmp_path / "a.jpg", scene()), min_side_px=64, max_pixels=MEGA).image.mode
        == "RGB"
    )


def test_a_file_larger_than_its_pixels_can_be_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", scene())
    os.truncate(path, 300 << 20)

    assert refusal_of(path).reason is RefusalReason.TOO_MANY_PIXELS


def test_a_png_with_a_text_bomb(tmp_path: Path) -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 << 20)))
    (tmp_path / "a.png").write_bytes(png(8, 8, text, png_chunk(b"IEND", b"")))

    assert refusal_of(tmp_path / "a.png").reason is RefusalReason.DECODE_FAILED


def test_damaged_pixels(tmp_path: Path) -> None:
    body = png_chunk(b"IDAT", b"this is not deflate")
    (tmp_path / "a.png").write_bytes(png(8, 8, body, png_chunk(b"IEND", b"")))

    assert refusal_of(tmp_path / "a.png").reason is RefusalReason.DECODE_FAILED


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "gone.jpg").reason is RefusalReason.MISSING
    assert refusal_of(Path("/dev/null/a.jpg")).reason is RefusalReason.MISSING


def test_what_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")

    assert refusal_of(tmp_path).reason is RefusalReason.UNREADABLE
    assert refusal_of(tmp_path / "pipe.jpg").reason is RefusalReason.UNREADABLE
    assert refusal_of(Path("a\0b.jpg")).reason is RefusalReason.UNREADABLE
    assert refusal_of(tmp_path / ("x" * 300)).reason is RefusalReason.UNREADABLE


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")

    assert refusal_of(tmp_path / "a.jpg").reason is RefusalReason.SYMLINK_LOOP


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), RefusalReason.NO_PERMISSION),
        (OSError(5, "Input/output error"), RefusalReason.UNREADABLE),
        (MemoryError(), RefusalReason.UNREADABLE),
    ],
)
def test_errors_while_reading(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    reason: RefusalReason,
) -> None:
    path = save(tmp_path / "a.jpg", scene())

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path, "open", fail)

    assert refusal_of(path).reason is reason


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.heic", "a.avif", "a.gif", "a.tif"])
@given(draw=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_file_is_opened_or_refused_and_nothing_else(
    tmp_path: Path, name: str, draw: st.DataObject
) -> None:
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x0132] = "2020:01:02 03:04:05"
    path = tmp_path / f"whole-{name}"
    if not path.exists():
        save(path, scene(48, 36), exif=exif.tobytes())
    data = bytearray(path.read_bytes())
    for _ in range(draw.draw(st.integers(1, 8))):
        # Most damage goes to the first bytes, where the headers are.
        last = len(data) if draw.draw(st.booleans()) else min(400, len(data))
        data[draw.draw(st.integers(4, last - 1))] = draw.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(data)

    with contextlib.suppress(PhotoError):
        assert open_photo(tmp_path / name, min_side_px=16, max_pixels=MEGA).image.mode == "RGB"
