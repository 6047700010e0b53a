from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from visuallens.exif import hush_pillow, read_metadata
from visuallens.types import DateSource, PhotoMetadata

ORIGINAL, DIGITIZED, CHANGED = 0x9003, 0x9004, 0x0132
SUBSEC, OFFSET, ORIENTATION = 0x9291, 0x9011, 0x0112
PARIS = {1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 24.0)}

# Any: EXIF values are of many types.
Tags = dict[int, Any]


def make_exif(
    *, base: Tags | None = None, detail: Tags | None = None, gps: Tags | None = None
) -> Image.Exif:
    exif = Image.Exif()
    exif.update(base or {})
    exif.get_ifd(0x8769).update(detail or {})
    exif.get_ifd(0x8825).update(gps or {})
    return exif


def read(exif: Image.Exif, modified_ns: int | None = None, kind: str = "JPEG") -> PhotoMetadata:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(file, kind, exif=exif.tobytes())
    return read_metadata(Image.open(file), modified_ns)


def test_original_date_wins_and_has_its_fraction_and_offset() -> None:
    detail = {ORIGINAL: "2023:10:06 08:30:00", SUBSEC: "139", OFFSET: "+02:00"}
    exif = make_exif(
        base={CHANGED: "2024:01:01 00:00:00"},
        detail=detail | {DIGITIZED: "2023:12:01 00:00:00"},
    )

    metadata = read(exif)

    zone = timezone(timedelta(hours=2))
    assert metadata.taken_at == datetime(2023, 10, 6, 8, 30, 0, 139_000, zone)
    assert metadata.date_source is DateSource.EXIF


def test_a_date_without_offset_is_naive() -> None:
    taken_at = read(make_exif(detail={ORIGINAL: "2023:10:06 08:30:00"})).taken_at

    assert taken_at is not None
    assert taken_at.tzinfo is None


@pytest.mark.parametrize(
    "broken",
    [
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "",
        "1024:01:01 00:00:00",
        "2023:13:40 25:61:00",
        "yesterday",
        "2023:02:30 10:00:00",
    ],
)
def test_a_broken_date_falls_through_to_the_next(broken: str) -> None:
    exif = make_exif(detail={ORIGINAL: broken, DIGITIZED: "2019:03:21 11:04:22"})

    assert read(exif).taken_at == datetime(2019, 3, 21, 11, 4, 22)  # noqa: DTZ001


@pytest.mark.parametrize("offset", ["+99:00", "east", "", "+2"])
def test_a_broken_offset_leaves_the_date_naive(offset: str) -> None:
    exif = make_exif(detail={ORIGINAL: "2023:10:06 08:30:00", OFFSET: offset})

    assert read(exif).taken_at == datetime(2023, 10, 6, 8, 30)  # noqa: DTZ001


def test_the_date_in_iso_form_is_understood() -> None:
    exif = make_exif(base={CHANGED: "2023-09-27T14:32:53+02:00"})

    zone = timezone(timedelta(hours=2))
    assert read(exif).taken_at == datetime(2023, 9, 27, 14, 32, 53, tzinfo=zone)


def test_gps_stamp_is_utc_and_comes_after_the_cameras_dates() -> None:
    stamp = {29: "2022:01:10", 7: (21.0, 15.0, 33.5)}

    alone = read(make_exif(gps=stamp))
    beside = read(make_exif(gps=stamp, base={CHANGED: "2022:01:10 14:15:33"}))

    assert alone.taken_at == datetime(2022, 1, 10, 21, 15, 33, 500_000, UTC)
    assert alone.date_source is DateSource.GPS
    assert beside.date_source is DateSource.EXIF


def test_gps_date_without_a_time_is_midnight() -> None:
    zero = IFDRational(1, 0)
    metadata = read(make_exif(gps={29: "2022:01:10", 7: (zero, zero, zero)}))

    assert metadata.taken_at == datetime(2022, 1, 10, tzinfo=UTC)


def test_file_date_is_the_last_resort() -> None:
    metadata = read(make_exif(), modified_ns=86_400_000_000_000)

    assert metadata.taken_at == datetime(1970, 1, 2, tzinfo=UTC)
    assert metadata.date_source is DateSource.FILE


@pytest.mark.parametrize("modified_ns", [None, 0, -5, 10**30, 2**63 - 1])
def test_an_impossible_file_date_is_no_date(modified_ns: int | None) -> None:
    metadata = read(make_exif(), modified_ns=modified_ns)

    assert metadata.taken_at is None
    assert metadata.date_source is DateSource.NONE


def test_position_in_degrees() -> None:
    # 48 + 51/60 + 30/3600 = 48.858333..., 2 + 17/60 + 24/3600 = 2.29
    location = read(make_exif(gps=PARIS)).location

    assert location is not None
    assert location.latitude == pytest.approx(48.858333, abs=1e-6)
    assert location.longitude == pytest.approx(2.29)


def test_south_and_west_are_negative() -> None:
    location = read(make_exif(gps=PARIS | {1: "S", 3: "w\0"})).location

    assert location is not None
    assert location.latitude < 0
    assert location.longitude < 0


@pytest.mark.parametrize(
    "change",
    [
        {2: (IFDRational(48, 0), 0.0, 0.0)},
        {2: (91.0, 0.0, 0.0)},
        {4: (180.0, 1.0, 0.0)},
        {1: ""},
        {3: "\0"},
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
        {2: (1.0, 2.0, 3.0, 4.0)},
    ],
)
def test_an_odd_position_is_none(change: Tags) -> None:
    assert read(make_exif(gps=PARIS | change)).location is None


def test_a_point_on_the_equator_is_a_position() -> None:
    location = read(make_exif(gps=PARIS | {2: (0.0, 0.0, 0.0)})).location

    assert location is not None
    assert location.latitude == 0
    assert location.longitude == pytest.approx(2.29)


@pytest.mark.parametrize(("turn", "size"), [(1, (40, 30)), (3, (40, 30)), (6, (30, 40)), (9, None)])
def test_size_is_given_after_the_turn(turn: int, size: tuple[int, int] | None) -> None:
    metadata = read(make_exif(base={ORIENTATION: turn}))

    assert (metadata.width_px, metadata.height_px) == (size or (40, 30))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_every_format_gives_date_and_position(kind: str) -> None:
    pillow_heif.register_heif_opener()
    detail = {ORIGINAL: "2023:10:06 08:30:00", OFFSET: "-08:00"}

    metadata = read(make_exif(detail=detail, gps=PARIS), kind=kind)

    zone = timezone(timedelta(hours=-8))
    assert metadata.taken_at == datetime(2023, 10, 6, 8, 30, tzinfo=zone)
    assert metadata.location is not None


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_metadata_never_raises(draw: st.DataObject) -> None:
    detail = {ORIGINAL: "2023:10:06 08:30:00", SUBSEC: "139"}
    exif = make_exif(
        base={ORIENTATION: 6, CHANGED: "2020:01:01 00:00:00"}, detail=detail, gps=PARIS
    )
    block = bytearray(exif.tobytes())
    for _ in range(draw.draw(st.integers(1, 6))):
        place = draw.draw(st.integers(6, len(block) - 1))
        block[place] = draw.draw(st.integers(0, 255))
    image = Image.new("RGB", (4, 3))
    image.info["exif"] = bytes(block[: draw.draw(st.integers(0, len(block)))])

    metadata = read_metadata(image, None)

    assert sorted((metadata.width_px, metadata.height_px)) == [3, 4]


def test_hushing_twice_adds_one_filter(recwarn: pytest.WarningsRecorder) -> None:
    import warnings

    hush_pillow()
    count = len(warnings.filters)
    hush_pillow()

    assert len(warnings.filters) == count


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "taken_at", "source", "has_place"),
    [
        ("photo_formats/formats/heic/IMG_2682.heic", "2019-03-21T11:04:22.348000", "exif", True),
        (
            "photo_formats/formats/motionphoto/samsung-one-ui-6.heic",
            "2024-01-12T21:38:53.853000-08:00",
            "exif",
            False,
        ),
        ("photo_formats/formats/webp/denali.webp", "2010-08-13T21:00:01.850000", "exif", False),
        (
            "photo_formats/metadata/dates/date-priority-test.jpg",
            "2023-02-02T02:00:00",
            "exif",
            None,
        ),
        (
            "photo_formats/metadata/gps-position/thompson-springs.jpg",
            "2022-01-10T21:15:33.519000+00:00",
            "gps",
            True,
        ),
        (
            "photo_formats/metadata/gps-position/empty_gps.jpg",
            "2025-06-01T16:59:26.023460",
            "exif",
            False,
        ),
        ("photo_formats/metadata/dates/datetimeoriginal-gps.jpg", None, "exif", True),
        ("photo_formats/formats/png/density_plot.png", None, "none", False),
        (
            "takeout/Takeout2/Google Photos/Photos from 2023/PXL_20231006_063000139.jpg",
            "2023-10-06T08:30:00.139000+02:00",
            "exif",
            True,
        ),
    ],
)
def test_known_real_photos(
    data: Path, name: str, taken_at: str | None, source: str, has_place: bool | None
) -> None:
    pillow_heif.register_heif_opener()
    with Image.open(data / name) as image:
        metadata = read_metadata(image, None)

    assert metadata.date_source == source
    if taken_at is not None:
        assert metadata.taken_at is not None
        assert metadata.taken_at.isoformat() == taken_at
    if has_place is not None:
        assert (metadata.location is not None) == has_place
