"""Checks that the readers of all dumps make on what comes in."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from visuallens.benchmark.base import MalformedRowError
from visuallens.errors import RawDataError

Row = TypeVar("Row")

_FIRST_MS, _LAST_MS = (
    round(datetime(*day, tzinfo=UTC).timestamp() * 1000) for day in ((1, 1, 1), (9999, 12, 31))
)


def require_folder(raw: Path) -> None:
    """Refuse a folder that is not there.

    Args:
        raw: folder of a dump.

    Raises:
        RawDataError: it is none.
    """
    if not raw.is_dir():
        raise RawDataError(raw, "there is no such folder", "Give the folder of the dump as --raw.")


def present(decoder: msgspec.json.Decoder[Row], line: bytes) -> Row:
    """Decode one JSON line.

    Args:
        decoder: of the row's type.
        line: of a file.

    Returns:
        The row.

    Raises:
        MalformedRowError: it is no JSON, or a field has a wrong type; names the field.
    """
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        found = re.search(r"at `\$\.?([^`]*)`", str(error))
        field = re.sub(r"\[.*", "", found[1]) if found else ""
        raise MalformedRowError(f"wrong type of {field}" if field else "not an object") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRowError("not JSON") from error
    except RecursionError as error:
        raise MalformedRowError("nested too deeply") from error


def moment_ms(milliseconds: float) -> int:
    """Read a time since 1970.

    Args:
        milliseconds: as a dump has it.

    Returns:
        The same, whole.

    Raises:
        MalformedRowError: no calendar has it.
    """
    if not _FIRST_MS <= milliseconds <= _LAST_MS:
        raise MalformedRowError("time out of range")
    return int(milliseconds)


def whole_number(name: str, value: float) -> int:
    """Read a number that may be written as 1.0.

    Args:
        name: of the field.
        value: as a dump has it.

    Returns:
        The same, whole.

    Raises:
        MalformedRowError: it is not finite, or too large for 64 bits.
    """
    if not math.isfinite(value) or abs(value) >= 2**62:
        raise MalformedRowError(f"{name} out of range")
    return int(value)


def point(latitude: float | None, longitude: float | None) -> tuple[float | None, float | None]:
    """Keep a position that is on earth; half a position, or another planet's, is none."""
    if latitude is None or longitude is None:
        return None, None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None, None
    return latitude, longitude
