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
from PIL import Image

from visuallens.errors import PhotoError
from visuallens.images import (
    SAME_PICTURE_BITS,
    OpenedPhoto,
    display_path,
    fingerprint,
    open_photo,
)
from visuallens.sources.base import FoundFile
from visuallens.sources.folder import FolderSource
from visuallens.types import DateSource, RefusalReason

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


def opened(path: Path, min_side_px: int = 64, max_pixels: int = MEGA) -> OpenedPhoto:
    return open_photo(path, min_side_px=min_side_px, max_pixels=max_pixels)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


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


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.heic"])
def test_no_damage_to_the_metadata_alone_refuses_the_photo(tmp_path: Path, name: str) -> None:
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0132] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0)})
    whole = save(tmp_path / name, scene(48, 36), exif=exif.tobytes()).read_bytes()
    start = whole.index(exif.tobytes()[6:])
    generator = np.random.default_rng(0)
    for _ in range(100):
        data = bytearray(whole)
        for place in generator.integers(start, start + len(exif.tobytes()) - 6, 6):
            data[place] = generator.choice((0, 1, 127, 255))
        (tmp_path / name).write_bytes(data)

        assert opened(tmp_path / name).image.mode == "RGB"


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


def test_display_path_is_always_text() -> None:
    assert display_path(Path("a/ñ.jpg")) == "a/ñ.jpg"
    assert display_path(b"caf\xe9.jpg") == r"caf\xe9.jpg"
    assert display_path(Path(os.fsdecode(b"caf\xe9.jpg"))) == r"caf\xe9.jpg"
    assert display_path("\ud800.jpg").encode("utf-8")


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
