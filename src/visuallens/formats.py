"""Which files are photos, by their names and by their first bytes, and what to say of the others.

The paper takes photos as given (§3); a real library also holds videos, camera RAW and side files.
"""

from __future__ import annotations

from typing import Literal

from visuallens.types import RefusalReason

HEAD_BYTES = 256
"""First bytes of a file that `sniff` needs."""

PHOTO_SUFFIXES = frozenset(
    [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "webp",
        "heic",
        "heif",
        "hif",
        "avif",
        "gif",
        "jxl",
        "bmp",
        "tif",
        "tiff",
    ]
)
VIDEO_SUFFIXES = frozenset(
    [
        "mp4",
        "mov",
        "m4v",
        "avi",
        "mkv",
        "webm",
        "3gp",
        "3g2",
        "mts",
        "m2ts",
        "mpg",
        "mpeg",
        "wmv",
        "flv",
        "ogv",
        "insv",
        "mp",
    ]
)
RAW_SUFFIXES = frozenset(
    [
        "dng",
        "raw",
        "cr2",
        "cr3",
        "crw",
        "nef",
        "nrw",
        "arw",
        "sr2",
        "srf",
        "orf",
        "rw2",
        "raf",
        "pef",
        "srw",
        "x3f",
        "rwl",
        "gpr",
        "3fr",
        "iiq",
        "erf",
        "kdc",
        "dcr",
        "mrw",
    ]
)
DRAWING_SUFFIXES = frozenset(
    [
        "psd",
        "psb",
        "svg",
        "svgz",
        "ai",
        "eps",
        "pdf",
        "ico",
        "tga",
        "exr",
        "hdr",
        "jp2",
        "j2k",
        "xcf",
    ]
)

VIDEO_ADVICE = "a video, not a photo; VisualLens reads photos only"
RAW_ADVICE = "a camera RAW file; export it as JPEG, or keep the camera's JPEG beside it"
DRAWING_ADVICE = "a drawing or document, not a photo; export it as JPEG or PNG to have it read"
JXL_ADVICE = (
    'a JPEG XL photo, which needs one more package; install it with: pip install "visuallens[jxl]"'
)

_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\xff\x0a", "JXL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JXL"),
    (b"FUJIFILMCCD-RAW", "RAW"),
    (b"IIU\x00", "RAW"),
    (b"IIRO", "RAW"),
    (b"IIRS", "RAW"),
    (b"MMOR", "RAW"),
    (b"FOVb", "RAW"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x1aE\xdf\xa3", "VIDEO"),
    (b"\x00\x00\x01\xba", "VIDEO"),
    (b"\x00\x00\x01\xb3", "VIDEO"),
    (b"FLV\x01", "VIDEO"),
    (b"8BPS", "DRAWING"),
    (b"%PDF", "DRAWING"),
    (b"<svg", "DRAWING"),
    (b"BM", "BMP"),
)
_ADVICE = {"VIDEO": VIDEO_ADVICE, "RAW": RAW_ADVICE, "DRAWING": DRAWING_ADVICE}


def suffix(name: str) -> str:
    """Return the file name's extension in lower case without its dot, or "" if it has none."""
    stem, dot, extension = name.rpartition(".")
    return extension.lower() if dot and stem else ""


def refuse_by_name(name: str) -> tuple[RefusalReason, str] | None:
    """Say why a file of this name is no photo.

    Args:
        name: the file name without its folder.

    Returns:
        Reason and sentence, or None if the file may be a photo.
    Choice: a file without extension may be a photo (exports of phones and chats drop it); an
        unknown extension is a side file, so that nothing is opened on a guess.
    """
    extension = suffix(name)
    if not extension or extension in PHOTO_SUFFIXES:
        return None
    if extension in VIDEO_SUFFIXES:
        return RefusalReason.UNSUPPORTED_FORMAT, VIDEO_ADVICE
    if extension in RAW_SUFFIXES:
        return RefusalReason.UNSUPPORTED_FORMAT, RAW_ADVICE
    if extension in DRAWING_SUFFIXES:
        return RefusalReason.UNSUPPORTED_FORMAT, DRAWING_ADVICE
    return RefusalReason.SIDE_FILE, f"a .{extension} file, not a photo"


def refuse_by_content(kind: str | None, name: str) -> tuple[RefusalReason, str] | None:
    """Say why a file with these first bytes is no photo.

    Args:
        kind: what `sniff` says about its first bytes.
        name: the file name; it only tells a RAW file from the TIFF it is built like.

    Returns:
        Reason and sentence, or None if its content is of a photo format.
    """
    if kind is None:
        return (
            RefusalReason.NOT_AN_IMAGE,
            "its content is not a photo, whatever its name says",
        )
    if kind == "TIFF" and suffix(name) in RAW_SUFFIXES:
        kind = "RAW"
    return (RefusalReason.UNSUPPORTED_FORMAT, _ADVICE[kind]) if kind in _ADVICE else None


def sniff(head: bytes) -> str | None:
    """Recognise a format by the first bytes of a file.

    Args:
        head: at least the first `HEAD_BYTES` bytes, or the whole file if it is shorter.

    Returns:
        JPEG, PNG, WEBP, HEIF, AVIF, GIF, BMP, TIFF, JXL, RAW, VIDEO, DRAWING, or None.
    Choice: content decides, not the extension, because exports rename HEIC to .jpg and back.
    """
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    if head[4:8] in (b"moov", b"mdat", b"wide", b"skip"):
        return "VIDEO"
    if head[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": "VIDEO"}.get(head[8:12])
    if head[:4] in (b"II*\x00", b"MM\x00*") and head[8:10] == b"CR":
        return "RAW"
    return next((kind for start, kind in _SIGNATURES if head.startswith(start)), None)


def _sniff_brands(head: bytes) -> str:
    """Tell the formats apart that share the ISO media container: HEIF, AVIF, RAW, video."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12]} | {head[start : start + 4] for start in range(16, end - 3, 4)}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if brands & _HEIF_BRANDS:
        return "HEIF"
    return "RAW" if b"crx " in brands else "VIDEO"


def is_cut_short(kind: str, data: bytes) -> bool:
    """Say whether a file that a decoder gave up on ends before the end it announces itself."""
    if kind == "WEBP":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if kind == "PNG":
        return b"IEND" not in data
    if kind == "GIF":
        return not data.endswith(b";")
    if kind == "BMP":
        return int.from_bytes(data[2:6], "little") > len(data)
    if kind == "TIFF":
        order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
        return int.from_bytes(data[4:8], order) >= len(data)
    return kind in ("HEIF", "AVIF") and _boxes_end(data) > len(data)


def _boxes_end(data: bytes) -> int:
    """Follow the top-level boxes of an ISO media file to where the last one should end."""
    start = 0
    while 0 <= start <= len(data) - 8:
        size = int.from_bytes(data[start : start + 4], "big")
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if size < 8:
            return len(data)
        start += size
    return start


def jxl_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height out of a JPEG XL header without decoding.

    Args:
        data: the whole file.

    Returns:
        (width, height) in pixels as stored, or None if the header cannot be read.
    Source: ISO/IEC 18181-1, SizeHeader; ISO/IEC 18181-2, boxes jxlc and jxlp.
    Choice: read here because the decoder package decodes the pixels before it tells their number.
    """
    stream = _jxl_codestream(data)
    if not stream.startswith(b"\xff\x0a"):
        return None
    bits = int.from_bytes(stream[2:16], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    in_eights = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if in_eights else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[take(3)]
    return (side() if ratio is None else height * ratio[0] // ratio[1]), height


def _jxl_codestream(data: bytes) -> bytes:
    """Return the start of the codestream: of the file itself or of its first codestream box."""
    if data.startswith(b"\xff\x0a"):
        return data[:16]
    start = 0
    while 0 <= start <= len(data) - 8:
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        body = start + 8
        if size == 1:
            size, body = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        if kind in (b"jxlc", b"jxlp"):
            body += 4 if kind == b"jxlp" else 0
            return data[body : body + 16]
        if size < 8:
            break
        start += size
    return b""
