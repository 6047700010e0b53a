from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from visuallens.errors import PhotoError
from visuallens.formats import jxl_size
from visuallens.images import (
    SAME_PICTURE_BITS,
    OpenedPhoto,
    display_path,
    fingerprint,
    open_photo,
)
from visuallens.sources.base import FoundFile
from visuallens.sources.folder import FolderSource
from visuallens.types import DateSource, Refusal, RefusalReason

ORIENTATION = 0x0112
MEGA = 1_000_000


def scene(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """A smooth picture, red where it is up and left."""
    coarse = np.random.default_rng(seed).integers(0, 200, (6, 8, 3), dtype=np.uint8)
    coarse[0, 0] = (255, 0, 0)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


# Any: options of Pillow's writers.
def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def opened(path: Path, min_side_px: int = 64, max_pixels: int = MEGA) -> OpenedPhoto:
    return open_photo(path, min_side_px=min_side_px, max_pixels=max_pixels)


def refusal_of(path: Path, min_side_px: int = 64, max_pixels: int = MEGA) -> Refusal:
    with pytest.raises(PhotoError) as error:
        opened(path, min_side_px, max_pixels)
    return error.value.refusal


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks)


def is_reddish(color: tuple[int, ...] | float | None) -> bool:
    assert isinstance(color, tuple)
    return color[0] > 180 and color[1] < 90 and color[2] < 90


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.heic", "a.avif", "a.bmp", "a.tif"])
def test_every_format_becomes_upright_rgb(tmp_path: Path, name: str) -> None:
    pillow_heif.register_heif_opener()
    path = save(tmp_path / name, scene())

    photo = opened(path, min_side_px=240)

    assert photo.image.mode == "RGB"
    assert photo.image.size == (320, 240)
    assert is_reddish(photo.image.getpixel((3, 3)))
    assert (photo.metadata.width_px, photo.metadata.height_px) == (320, 240)
    assert photo.metadata.date_source is DateSource.FILE


def test_the_id_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", scene())

    photo = opened(path)

    assert photo.id == hashlib.sha256(path.read_bytes()).hexdigest()
    assert photo.size_bytes == path.stat().st_size


def test_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
    save(tmp_path / "a.png", scene())
    path = (tmp_path / "a.png").rename(tmp_path / "a.jpg")

    assert opened(path).image.mode == "RGB"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize(("width", "height"), [(1200, 900), (900, 1200), (700, 130), (65, 2000)])
def test_the_short_side_is_at_least_what_is_asked_and_not_twice(
    tmp_path: Path, name: str, width: int, height: int
) -> None:
    path = save(tmp_path / name, scene(width, height))

    photo = opened(path, min_side_px=64, max_pixels=2 * MEGA)

    assert 64 <= min(photo.image.size) < 128
    assert (photo.metadata.width_px, photo.metadata.height_px) == (width, height)


def test_a_small_photo_keeps_its_size(tmp_path: Path) -> None:
    assert opened(save(tmp_path / "a.jpg", scene(20, 10))).image.size == (20, 10)


@pytest.mark.parametrize(
    ("turn", "back"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.avif", "a.heic"])
def test_the_exif_turn_is_applied(
    tmp_path: Path, name: str, turn: int, back: Image.Transpose
) -> None:
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    path = save(tmp_path / name, scene().transpose(back), exif=exif.tobytes())

    photo = opened(path, min_side_px=240)

    assert photo.image.size == (320, 240)
    assert (photo.metadata.width_px, photo.metadata.height_px) == (320, 240)
    assert is_reddish(photo.image.getpixel((3, 3)))


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue", "green")]
    for name in ("a.gif", "a.webp", "a.png"):
        path = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])

        assert is_reddish(opened(path).image.getpixel((20, 15)))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    grey = np.full((30, 40), 0x8000, dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        path = save(tmp_path / name, Image.fromarray(grey))

        assert opened(path).image.getpixel((5, 5)) == (128, 128, 128)


def test_float_grey_is_stretched(tmp_path: Path) -> None:
    grey = np.array([[0.0, 0.5, 1.0, np.inf]], dtype=np.float32)
    path = save(tmp_path / "a.tif", Image.fromarray(grey))

    image = opened(path).image
    assert [image.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (127,) * 3, (255,) * 3]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "I", "F"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = scene().convert("P").convert("RGB") if mode == "P" else scene()
    image = picture if mode == "LAB" else picture.convert(mode)
    name = "a.jpg" if mode in ("CMYK", "YCbCr") else "a.tif"

    assert opened(save(tmp_path / name, image)).image.mode == "RGB"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_lies_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (300, 200), (255, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 150, 200))
    path = save(tmp_path / "a.png", image.convert("P" if mode == "PA" else mode))

    picture = opened(path).image
    assert picture.getpixel((5, 5)) == (0, 0, 0)
    assert picture.getpixel((picture.width - 5, 5)) == (255, 255, 255)


def test_a_transparent_color_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 200), (1, 2, 3))

    path = save(tmp_path / "a.png", image, transparency=(1, 2, 3))

    assert opened(path).image.getpixel((5, 5)) == (255, 255, 255)


def test_broken_metadata_does_not_refuse_the_photo(tmp_path: Path) -> None:
    block = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x69\x87\x04\0\xff\xff\xff\x7f" * 40
    path = save(tmp_path / "a.jpg", scene(), exif=block)

    assert opened(path).image.mode == "RGB"


def test_metadata_behind_the_pixels_of_a_png_is_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    exif = Image.Exif()
    exif[0x0132] = "2020:01:02 03:04:05"
    data = file.getvalue()
    end = data.index(b"IEND") - 4
    chunk = png_chunk(b"eXIf", exif.tobytes()[6:])
    (tmp_path / "a.png").write_bytes(data[:end] + chunk + data[end:])

    assert opened(tmp_path / "a.png").metadata.date_source is DateSource.EXIF


def test_many_threads_open_the_same_as_one(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{seed}.jpg", scene(seed=seed)) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        photos = list(pool.map(opened, paths))

    assert [photo.image.tobytes() for photo in photos] == [
        opened(path).image.tobytes() for path in paths
    ]


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
    assert opened(path, max_pixels=320 * 240).image.mode == "RGB"


def test_pillows_own_limit_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    assert opened(save(tmp_path / "a.jpg", scene())).image.mode == "RGB"


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

    try:
        assert opened(tmp_path / name, 16).image.mode == "RGB"
    except PhotoError as error:
        assert error.refusal.detail


def test_display_path_is_always_text() -> None:
    assert display_path(Path("a/ñ.jpg")) == "a/ñ.jpg"
    assert display_path(b"caf\xe9.jpg") == r"caf\xe9.jpg"
    assert display_path(Path(os.fsdecode(b"caf\xe9.jpg"))) == r"caf\xe9.jpg"
    assert display_path("\ud800.jpg").encode("utf-8")


def test_jpeg_xl_size_is_read_from_the_header() -> None:
    # 1 (sides in eights), 3 (height 32 = 8 * (3 + 1)), ratio 1 (square): 1 | 3 << 1 | 1 << 6.
    small = b"\xff\x0a" + (1 | 3 << 1 | 1 << 6).to_bytes(2, "little") + bytes(12)
    # 0, selector 1 (13 bits), height 1080 - 1, ratio 5 (16:9): width 1920.
    bits = 0 | 1 << 1 | 1079 << 3 | 5 << 16
    wide = b"\xff\x0a" + bits.to_bytes(4, "little") + bytes(12)
    box = struct.pack(">I", 8 + len(wide)) + b"jxlc" + wide
    container = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl " + box

    assert jxl_size(small) == (32, 32)
    assert jxl_size(wide) == (1920, 1080)
    assert jxl_size(container) == (1920, 1080)
    assert jxl_size(b"\0\0\0\x0cJXL \r\n\x87\n") is None


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


@pytest.mark.parametrize(
    "change",
    [recompressed, lambda image: recompressed(image.resize((image.width // 2, image.height // 2)))],
)
def test_the_same_picture_has_nearly_the_same_fingerprint(
    change: Callable[[Image.Image], Image.Image],
) -> None:
    for seed in range(10):
        distance = (
            fingerprint(scene(seed=seed)) ^ fingerprint(change(scene(seed=seed)))
        ).bit_count()
        assert distance <= SAME_PICTURE_BITS


def test_fingerprints_are_unsigned_64_bit_numbers() -> None:
    prints = [fingerprint(scene(seed=seed)) for seed in range(20)]

    assert all(0 <= number < 1 << 64 for number in prints)
    assert len(set(prints)) == 20


@pytest.mark.data
def test_real_photos_that_differ_have_different_fingerprints(data: Path) -> None:
    paths = sorted((data / "flickr8k" / "images").glob("*.jpg"))[:150]
    prints = np.array([fingerprint(opened(path).image) for path in paths], dtype=np.uint64)
    distances = np.bitwise_count(prints[:, None] ^ prints[None, :])
    np.fill_diagonal(distances, 64)

    assert distances.min() > SAME_PICTURE_BITS


EXPECTED_REFUSALS = {
    "8bit-sRGB.jxl": RefusalReason.UNSUPPORTED_FORMAT,
    "16bit-HDR-P3-nclx.jxl": RefusalReason.UNSUPPORTED_FORMAT,
    "DSC_0238(1).JPG": RefusalReason.EMPTY_FILE,
    "DSC_0238.JPG": RefusalReason.EMPTY_FILE,
    "DSC_0238_1.JPG": RefusalReason.EMPTY_FILE,
}


@pytest.mark.data
@pytest.mark.parametrize("folder", ["photo_formats", "takeout"])
def test_every_real_file_is_opened_or_refused_as_expected(data: Path, folder: str) -> None:
    refused: dict[str, RefusalReason] = {}
    for item in FolderSource(data / folder).find():
        if not isinstance(item, FoundFile):
            continue
        try:
            photo = opened(item.path, min_side_px=100, max_pixels=200 * MEGA)
        except PhotoError as error:
            refused[item.path.name] = error.refusal.reason
        else:
            assert photo.image.mode == "RGB"
            assert photo.metadata.width_px > 0

    assert refused.items() <= EXPECTED_REFUSALS.items()
    empty = {name for name, reason in refused.items() if reason is RefusalReason.EMPTY_FILE}
    assert len(empty) == (3 if folder == "takeout" else 0)


@pytest.mark.data
def test_a_real_turned_photo_stands_upright(data: Path) -> None:
    path = data / "photo_formats/metadata/faces/portrait-orientation-6.jpg"

    photo = opened(path, min_side_px=700)

    assert photo.image.size == (840, 700)
    assert (photo.metadata.width_px, photo.metadata.height_px) == (840, 700)
