"""Opens photos safely: size check before decoding, EXIF turn, RGB, and nothing but PhotoError.

Every image of the system passes through here before it is encoded (§4.1) or drawn into the grid
(§4.2). Photos come from anywhere, so a file is believed in nothing: its first bytes choose the
decoder, its header is checked against the pixel limit, and whatever a decoder raises becomes a
named refusal.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import imagehash
import numpy as np
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from visuallens.errors import PhotoError
from visuallens.exif import ODD_METADATA, hush_pillow, orientation, read_metadata, read_tags
from visuallens.formats import (
    HEAD_BYTES,
    JXL_ADVICE,
    is_cut_short,
    jxl_size,
    refuse_by_content,
    sniff,
)
from visuallens.types import PhotoMetadata, Refusal, RefusalReason

SAME_PICTURE_BITS = 6
"""Fingerprints that differ in at most this many bits are of the same picture.

Choice: measured on 1,596 photos (Flickr8k and food photos). Re-encoded at quality 60, halved, or
both: at most 4 bits apart; a quarter of the size at quality 60: at most 6. The 635,999 pairs of
different photos: at least 12 apart, and about ten times fewer pairs for every 2 bits less, so that
6 leaves room for libraries a hundred times larger.
"""

_OPENERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "JPEG": jpeg_factory,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "HEIF": HeifImageFile,
    "AVIF": AvifImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_BROKEN = (*ODD_METADATA, *_BOMB, AssertionError, BufferError, RuntimeError, zlib.error)
_LIMIT_ADVICE = "; the setting images.max_pixels raises the limit"
_CUT_SHORT = (EOFError, IndexError, struct.error)
_CUT_SHORT_WORDS = ("truncated", "end of file", "unexpected end", "end-of-file")
_SHRINKABLE = ("RGB", "RGBA", "L", "LA", "CMYK")
_BYTES_PER_PIXEL = 8
_EXTRA_BYTES = 256 << 20

_READ_ERRORS = {
    errno.ENOENT: (RefusalReason.MISSING, "there is no such file (any more)"),
    errno.ENOTDIR: (RefusalReason.MISSING, "there is no such file (any more)"),
    errno.EACCES: (RefusalReason.NO_PERMISSION, "you may not read this file"),
    errno.EPERM: (RefusalReason.NO_PERMISSION, "you may not read this file"),
    errno.ELOOP: (RefusalReason.SYMLINK_LOOP, "this link leads back to itself"),
}


@dataclass(frozen=True, slots=True)
class OpenedPhoto:
    """A photo's pixels with what identifies and describes them.

    Attributes:
        id: sha256 of the file's bytes, hex.
        image: RGB, upright, first frame of an animation; scaled down as `open_photo` says.
        metadata: of the file as stored, so its size is the full size.
        size_bytes: length of the file.
    """

    id: str
    image: Image.Image
    metadata: PhotoMetadata
    size_bytes: int


def open_photo(path: Path, *, min_side_px: int, max_pixels: int) -> OpenedPhoto:
    """Read, check and decode one photo; safe to call from many threads.

    Args:
        path: the file; its content decides the format, not its name.
        min_side_px: the image's short side will be at least this (or the photo's own, if that is
            smaller) and less than twice this.
        max_pixels: photos with more pixels are refused before they are decoded.

    Returns:
        The photo with its identity and metadata.

    Raises:
        PhotoError: for whatever reason the file cannot become an image; nothing else is raised.
    Choice: Pillow's decoders are called directly, without `Image.open`, whose own limit of pixels
        would win over `max_pixels`, and which tries dozens of formats that no camera writes.
        Colour profiles are not applied: it doubles the cost, and a tint is not a taste.
    """
    hush_pillow()
    try:
        data, modified_ns = _read(path, max_pixels)
    except OSError as error:
        reason, detail = explain_os_error(error)
        raise _refused(path, reason, detail) from error
    except MemoryError as error:
        detail = "there is not enough memory to read this file"
        raise _refused(path, RefusalReason.UNREADABLE, detail) from error
    except ValueError as error:
        detail = "this file name cannot be used on this system"
        raise _refused(path, RefusalReason.UNREADABLE, detail) from error
    try:
        opened = _open_header(path, data, max_pixels)
        image, metadata = _decode(opened, min_side_px, modified_ns)
    except _BROKEN as error:
        raise _undecodable(path, data, error) from error
    return OpenedPhoto(hashlib.sha256(data).hexdigest(), image, metadata, len(data))


def open_pixels(path: str, min_side_px: int, max_pixels: int) -> Image.Image | None:
    """Open a photo for looking at; None when its file is gone or cannot be read any more.

    Choice: nothing but pixels, for Pillow writes the comment of a photo into whatever is saved of
        it, and people may have written there where it was.
    """
    try:
        image = open_photo(Path(path), min_side_px=min_side_px, max_pixels=max_pixels).image
    except PhotoError:
        return None
    image.info.clear()
    return image


def fingerprint(image: Image.Image) -> int:
    """Compute the 64-bit perceptual hash of an image (pHash).

    Args:
        image: RGB, upright.

    Returns:
        Unsigned integer below 2**64. Two images whose hashes differ in at most
        `SAME_PICTURE_BITS` bits show the same picture.
    """
    bits = np.asarray(imagehash.phash(image).hash, dtype=bool)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def display_path(path: Path | str | bytes) -> str:
    r"""Write a path as valid text: bytes that are not UTF-8 become escapes such as \xe9."""
    text = os.fsdecode(path)
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogatepass")
    return raw.decode("utf-8", "backslashreplace")


def explain_os_error(error: OSError) -> tuple[RefusalReason, str]:
    """Name why the operating system did not give a file or folder."""
    if error.errno in _READ_ERRORS:
        return _READ_ERRORS[error.errno]
    return RefusalReason.UNREADABLE, f"it cannot be read: {error.strerror or error}"


def _refused(path: Path, reason: RefusalReason, detail: str) -> PhotoError:
    return PhotoError(Refusal(display_path(path), reason, detail))


def _read(path: Path, max_pixels: int) -> tuple[bytes, int]:
    """Read a file's bytes and its modification time, refusing early what is no photo.

    Choice: a file larger than 8 bytes for each allowed pixel (16-bit RGBA, uncompressed) plus
        256 MB for an attached video is not read, so that no file can fill the memory.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise _refused(path, RefusalReason.UNREADABLE, "a folder or device, not a file")
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        head = file.read(HEAD_BYTES)
        if not head:
            raise _refused(path, RefusalReason.EMPTY_FILE, "the file has no content (0 bytes)")
        if refusal := refuse_by_content(sniff(head), path.name):
            raise _refused(path, *refusal)
        if facts.st_size > _BYTES_PER_PIXEL * max_pixels + _EXTRA_BYTES:
            detail = f"{facts.st_size:,} bytes are more than a photo of {max_pixels:,} pixels has"
            raise _refused(path, RefusalReason.TOO_MANY_PIXELS, detail + _LIMIT_ADVICE)
        file.seek(0)
        return file.read(), facts.st_mtime_ns


def _open_header(path: Path, data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Let the format's decoder read the header, and check the size before any pixel is decoded."""
    kind = sniff(data[:HEAD_BYTES]) or ""
    if kind == "JXL":
        return _open_jxl(path, data, max_pixels)
    image = _OPENERS[kind](BytesIO(data))
    _check_pixels(path, image.size, max_pixels)
    return image


def _open_jxl(path: Path, data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    except ImportError as error:
        raise _refused(path, RefusalReason.UNSUPPORTED_FORMAT, JXL_ADVICE) from error
    size = jxl_size(data)
    if size is None:
        raise _refused(path, RefusalReason.DECODE_FAILED, "its JPEG XL header is broken")
    _check_pixels(path, size, max_pixels)
    return cast("ImageFile.ImageFile", JXLImageFile(BytesIO(data)))


def _check_pixels(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        detail = f"{width} x {height} pixels are more than {max_pixels:,}"
        raise _refused(path, RefusalReason.TOO_MANY_PIXELS, detail + _LIMIT_ADVICE)


def _decode(
    opened: ImageFile.ImageFile, min_side_px: int, modified_ns: int
) -> tuple[Image.Image, PhotoMetadata]:
    """Decode to RGB, upright and scaled down, and read the metadata.

    Choice: a JPEG's metadata is read first, because `draft` changes the size; that of other
        formats afterwards, because a PNG may keep it behind its pixels. `draft` is not used for
        HEIF, where it picks an embedded thumbnail.
    """
    if opened.format in ("JPEG", "MPO"):
        metadata = read_metadata(opened, modified_ns)
        opened.draft(None, (min_side_px, min_side_px))
        opened.load()
    else:
        opened.load()
        metadata = read_metadata(opened, modified_ns)
    image = _shrink(_to_rgb(_shrink(opened, min_side_px)), min_side_px)
    turn = _TURNS.get(orientation(opened, read_tags(opened)[0]))
    image = image.transpose(turn) if turn is not None else image
    # A decoder's image object keeps the whole file in memory; its pixels are enough.
    return (image.copy() if image is opened else image), metadata


def _shrink(image: Image.Image, min_side_px: int) -> Image.Image:
    """Average whole blocks of pixels while the short side stays at least `min_side_px`."""
    factor = min(image.size) // max(min_side_px, 1)
    if factor < 2 or image.mode not in _SHRINKABLE or "transparency" in image.info:
        return image
    return image.reduce(factor)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB.

    Choice: transparency is laid on white: what is transparent in a photo library is mostly
        cut-outs, stickers and dark writing made for a white page. 16-bit grey keeps its upper
        byte; 32-bit and float grey, whose range no header states, is stretched to what occurs.
    """
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = _stretch(image)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        paper = Image.new("RGB", picture.size, "white")
        paper.paste(picture, mask=picture.getchannel("A"))
        return paper
    return image if image.mode == "RGB" else image.convert("RGB")


def _stretch(image: Image.Image) -> Image.Image:
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    scaled = (grey - low) * (255 / (high - low)) if high > low else np.zeros_like(grey)
    return Image.fromarray(scaled.astype(np.uint8))


def _undecodable(path: Path, data: bytes, error: BaseException) -> PhotoError:
    """Name what a decoder's error means."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, _BOMB):
        return _refused(path, RefusalReason.TOO_MANY_PIXELS, message)
    if isinstance(error, MemoryError):
        detail = "there is not enough memory to decode it; a lower images.max_pixels refuses such"
        return _refused(path, RefusalReason.DECODE_FAILED, detail)
    is_cut = isinstance(error, _CUT_SHORT) or any(
        word in message.lower() for word in _CUT_SHORT_WORDS
    )
    if is_cut or is_cut_short(sniff(data[:HEAD_BYTES]) or "", data):
        detail = f"the file ends too early; copy it again from its origin ({message})"
        return _refused(path, RefusalReason.TRUNCATED, detail)
    return _refused(path, RefusalReason.DECODE_FAILED, f"its content is damaged ({message})")
