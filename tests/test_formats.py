from __future__ import annotations

import struct

import pytest

from visuallens.formats import is_cut_short, jxl_size, refuse_by_name, sniff, suffix


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe1", "JPEG"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x1cftypisom\0\0\0\0isommp42", "VIDEO"),
        (b"\0\0\0\x1cftyp", "VIDEO"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"", None),
        (b"\0" * 256, None),
    ],
)
def test_the_first_bytes_tell_the_format(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


def test_suffixes_are_lower_case_and_hidden_names_have_none() -> None:
    assert suffix("IMG.1.JPG") == "jpg"
    assert suffix("scan") == ""
    assert suffix(".hidden") == ""
    assert suffix("end.") == ""


def test_photos_and_names_without_extension_pass() -> None:
    assert refuse_by_name("a.HEIC") is None
    assert refuse_by_name("scan") is None


def test_a_file_shorter_than_it_announces_is_cut_short() -> None:
    webp = b"RIFF\x08\0\0\0WEBPVP8 "
    box = struct.pack(">I", 24) + b"ftypheic" + bytes(12)

    assert not is_cut_short("WEBP", webp)
    assert is_cut_short("WEBP", webp[:-1])
    assert not is_cut_short("HEIF", box)
    assert is_cut_short("HEIF", box[:-1])
    assert not is_cut_short("JPEG", b"")


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
