"""What a photo file says about itself: when and where it was taken (§3, the order of H_u).

Photos of one history are ordered by their dates, so a date is read from the best place that has
one and its origin is kept. Metadata is often odd; odd metadata is left out, never an error.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from visuallens.types import DateSource, GeoPoint, PhotoMetadata

if TYPE_CHECKING:
    from PIL import Image

# Any: EXIF values are whatever the file holds; each is checked where it is used.
Tags = Mapping[int, Any]

ODD_METADATA = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
"""What Pillow raises for metadata that breaks its own format."""

_EXIF_IFD, _GPS_IFD, _ORIENTATION = 0x8769, 0x8825, 0x0112
# (date, fraction of a second, offset from UTC), best first.
_DATE_TAGS = (
    (0x9003, 0x9291, 0x9011),  # DateTimeOriginal
    (0x9004, 0x9292, 0x9012),  # DateTimeDigitized
    (0x0132, 0x9290, 0x9010),  # DateTime
)
_GPS_DATE, _GPS_TIME = 29, 7
_DATE = re.compile(
    r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?"
)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_FIRST_YEAR, _LAST_YEAR = 1826, 2099
_HUSHED = re.compile(r"(PIL|pillow_heif|pillow_jxl)\b")


def read_metadata(image: Image.Image, modified_ns: int | None) -> PhotoMetadata:
    """Read date, place and size of an opened photo; odd values count as absent.

    Args:
        image: as opened by Pillow, before it is turned or scaled down.
        modified_ns: the file's modification time in nanoseconds since 1970 UTC, if known.

    Returns:
        Metadata with the size after the EXIF turn. `taken_at` has an offset where the file gives
        one, is naive local time where it does not, and is UTC for dates of GPS and of the file.
    Choice: DateTimeOriginal, DateTimeDigitized, DateTime, then the GPS stamp: a camera's clock
        shows the hour the person lived in, GPS only the instant. The file's date is the last
        resort because copying a library rewrites it.
    """
    base, detail, gps = read_tags(image)
    taken_at, source = _date(base, detail, gps, modified_ns)
    width, height = image.size
    if orientation(image, base) >= 5:
        width, height = height, width
    return PhotoMetadata(
        taken_at=taken_at,
        date_source=source,
        location=_location(gps),
        width_px=width,
        height_px=height,
    )


def read_tags(image: Image.Image) -> tuple[Tags, Tags, Tags]:
    """Read the three EXIF directories; one that is broken comes back empty.

    Args:
        image: opened, before or after decoding.

    Returns:
        Base tags, EXIF tags and GPS tags, by tag number.
    """
    hush_pillow()
    try:
        exif = image.getexif()
    except ODD_METADATA:
        return {}, {}, {}
    parts: list[Tags] = []
    for number in (_EXIF_IFD, _GPS_IFD):
        try:
            parts.append(exif.get_ifd(number))
        except ODD_METADATA:
            parts.append({})
    return exif, parts[0], parts[1]


def orientation(image: Image.Image, base: Tags) -> int:
    """Return the EXIF turn that is still to be made, 1 to 8; 1 is upright.

    Choice: odd or absent values are 1. So are TIFF, which Pillow turns by itself, and JPEG XL,
        whose decoder does, unless the file is a repacked JPEG and the package unpacks that.
    """
    is_turned = image.format == "TIFF" or (
        image.format == "JXL" and not getattr(image, "jpeg", False)
    )
    value = _get(base, _ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 and not is_turned else 1


def hush_pillow() -> None:
    """Keep Pillow's remarks about odd metadata ("Possibly corrupt EXIF data") to itself.

    Choice: one filter for UserWarning of Pillow's own modules, put in front when it is not there.
        `warnings.catch_warnings` would swap filters of the whole process back and forth, which
        goes wrong between threads. Pillow's warning of decompression bombs stays as it is.
    """
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[0] != "ignore" or first[3] != _HUSHED:
        warnings.filterwarnings("ignore", category=UserWarning, module=_HUSHED.pattern)


def _date(
    base: Tags, detail: Tags, gps: Tags, modified_ns: int | None
) -> tuple[datetime | None, DateSource]:
    for date_tag, fraction_tag, offset_tag in _DATE_TAGS:
        for tags in (detail, base):
            fraction, offset = _get(detail, fraction_tag), _get(detail, offset_tag)
            if taken_at := _camera_date(_get(tags, date_tag), fraction, offset):
                return taken_at, DateSource.EXIF
    if taken_at := _gps_date(gps):
        return taken_at, DateSource.GPS
    if taken_at := _file_date(modified_ns):
        return taken_at, DateSource.FILE
    return None, DateSource.NONE


def _camera_date(value: object, fraction: object, offset: object) -> datetime | None:
    """Build a date of EXIF text; '0000:00:00', spaces and impossible years are no date."""
    match = _DATE.match(_text(value))
    if match is None or not _FIRST_YEAR <= int(match[1]) <= _LAST_YEAR:
        return None
    digits = match[7] or _text(fraction)
    micro = int(digits[:6].ljust(6, "0")) if digits.isdecimal() and digits.isascii() else 0
    zone = _zone(match[8] or _text(offset))
    try:
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        return datetime(year, month, day, hour, minute, second, micro, zone)
    except ValueError:
        return None


def _zone(text: str) -> timezone | None:
    if text == "Z":
        return UTC
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    minutes = 60 * int(match[2]) + int(match[3])
    # UTC-12 to UTC+14 are in use; what is beyond is a broken tag.
    if minutes > 14 * 60:
        return None
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))


def _gps_date(gps: Tags) -> datetime | None:
    """Build the UTC instant of the GPS stamp.

    Choice: a date stamp without a time counts as midnight UTC; it is at most a day off, the
        file's date can be off by years.
    """
    stamp = re.match(r"(\d{4})[:/-](\d\d)[:/-](\d\d)", _text(_get(gps, _GPS_DATE)))
    if stamp is None or not _FIRST_YEAR <= int(stamp[1]) <= _LAST_YEAR:
        return None
    hour, minute, second = _numbers(_get(gps, _GPS_TIME)) or (0.0, 0.0, 0.0)
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        hour = minute = second = 0.0
    try:
        day = datetime(int(stamp[1]), int(stamp[2]), int(stamp[3]), tzinfo=UTC)
    except ValueError:
        return None
    return day + timedelta(hours=hour, minutes=minute, seconds=second)


def _file_date(modified_ns: int | None) -> datetime | None:
    if modified_ns is None or modified_ns <= 0:
        return None
    moment = datetime.fromtimestamp(0, UTC)
    try:
        moment += timedelta(microseconds=modified_ns // 1000)
    except OverflowError:
        return None
    return moment if moment.year <= _LAST_YEAR else None


def _location(gps: Tags) -> GeoPoint | None:
    """Build the GPS position.

    Choice: a position without its N/S or E/W letter is left out, for it may be on the other side
        of the earth; 0,0 is what software writes for an empty position.
    """
    latitude = _degrees(_get(gps, 2), _get(gps, 1), "N", "S", limit=90)
    longitude = _degrees(_get(gps, 4), _get(gps, 3), "E", "W", limit=180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    return GeoPoint(latitude, longitude)


def _degrees(
    value: object, letter: object, positive: str, negative: str, *, limit: int
) -> float | None:
    parts, side = _numbers(value), _text(letter)[:1].upper()
    if parts is None or side not in (positive, negative):
        return None
    degrees = parts[0] + parts[1] / 60 + parts[2] / 3600
    if min(parts) < 0 or degrees > limit:
        return None
    return degrees if side == positive else -degrees


def _numbers(value: object) -> tuple[float, float, float] | None:
    """Turn up to three rationals into finite floats; a zero denominator makes them absent."""
    parts = value if isinstance(value, tuple | list) else (value,)
    try:
        numbers = [float(part) for part in parts]
    except (ArithmeticError, TypeError, ValueError):
        return None
    if not 1 <= len(numbers) <= 3 or not all(math.isfinite(number) for number in numbers):
        return None
    first, second, third = (*numbers, 0.0, 0.0)[:3]
    return first, second, third


def _get(tags: Tags, number: int) -> object:
    """Read one tag; Pillow decodes lazily, so a broken value only shows here."""
    try:
        return tags.get(number)
    except ODD_METADATA:
        return None


def _text(value: object) -> str:
    if isinstance(value, tuple | list) and value:
        value = value[0]
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.replace("\0", " ").strip() if isinstance(value, str) else ""
