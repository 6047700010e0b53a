"""Turns the records of a places file into candidates: which column means what, and is it sane.

The values become the x_s and I_s of §3. They are data from outside, checked once, here.
"""

from __future__ import annotations

import hashlib
import math
import re
import reprlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from visuallens.errors import PlacesError
from visuallens.types import Candidate, GeoPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ACCEPTED_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "business_id", "gmap_id", "place_id", "fsq_id", "osm_id"),
    "name": ("name", "title"),
    "description": ("description",),
    "category": ("category", "categories", "kind", "types", "amenity", "tourism", "type"),
    "latitude": ("latitude", "lat", "y"),
    "longitude": ("longitude", "lon", "lng", "long", "x"),
    "rating": ("rating", "stars", "avg_rating", "score"),
    "rating_count": ("rating_count", "review_count", "num_of_reviews", "reviews"),
    "images": ("images", "image", "photos", "photo", "pictures"),
}
"""Field → the column names understood for it, best first; letter case, spaces, hyphens and
underscores do not matter. Where several have a value in one row, the first one counts."""

MAX_NAME_CHARACTERS = 200
MAX_DESCRIPTION_CHARACTERS = 2_000
_MAX_LISTED_COLUMNS = 40

# Control characters that are not white space, invisible marks that reorder or hide text, and
# halves of surrogate pairs, which no UTF-8 file could store.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_NO_NUMBER = frozenset({"nan", "null", "none", "n/a", "na", "-"})


def to_candidates(
    records: Iterable[tuple[int, Mapping[str, object]]], path: Path
) -> tuple[Candidate, ...]:
    """Map the records of one file to candidates, in the file's order.

    Args:
        records: pairs of row number (1-based) and record.
        path: of the file; relative image paths are resolved against its folder.

    Returns:
        One candidate a record; empty for no records.

    Raises:
        PlacesError: a row without a name, with half a position, with a value that is not what its
            column needs, or with an id that an earlier row has. It names row and column.

    Choice: a row without an id gets one made of its name and position, so it stays the same when
    rows are added or sorted; namesakes at one position are numbered in the order of the file.
    """
    candidates: list[Candidate] = []
    row_of_id: dict[str, int] = {}
    folder = path.resolve().parent
    for number, record in records:
        row = _Row(path, number, record)
        name = _name(row)
        location = _location(row)
        candidate_id = _id(row, name, location, row_of_id)
        row_of_id[candidate_id] = number
        candidates.append(
            Candidate(
                id=candidate_id,
                name=name,
                description=_text(row, "description", MAX_DESCRIPTION_CHARACTERS),
                categories=_categories(row),
                photos=_photos(row, folder),
                location=location,
                rating=_rating(row),
                rating_count=_rating_count(row),
            )
        )
    return tuple(candidates)


def clean_text(text: str, max_characters: int | None = None) -> str:
    """Make text from a file safe to show: one line, nothing invisible, not too long.

    Args:
        text: anything.
        max_characters: the rest is cut off; None for no limit.

    Returns:
        The text without control characters, white space collapsed; may be empty.

    Choice: names keep 200 characters and descriptions 2,000, so that one odd row cannot flood a
    page or a prompt.
    """
    cleaned = " ".join(_UNSAFE.sub("", text).split())
    return cleaned if max_characters is None else cleaned[:max_characters].rstrip()


@lru_cache(maxsize=1024)
def _columns_of(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    by_key = {_key(name): name for name in names}
    return {
        field: tuple(by_key[key] for key in map(_key, accepted) if key in by_key)
        for field, accepted in ACCEPTED_NAMES.items()
    }


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold())


@dataclass(frozen=True, slots=True)
class _Row:
    """One record with what its error messages need."""

    path: Path
    number: int
    record: Mapping[str, object]

    def columns(self, field: str) -> tuple[str, ...]:
        return _columns_of(tuple(self.record))[field]

    def value(self, field: str) -> tuple[str, object]:
        """Return the column and the first value that is there; else the field's name and None."""
        columns = self.columns(field)
        for column in columns:
            value = self.record[column]
            if not _is_empty(value):
                return column, value
        return (columns[0] if columns else field), None

    def error(self, column: str, problem: str, advice: str) -> PlacesError:
        return PlacesError(self.path, problem, advice, row=self.number, column=column)


def _is_empty(value: object) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, list | tuple | dict) and not value)


def _name(row: _Row) -> str:
    name = _text(row, "name", MAX_NAME_CHARACTERS)
    if name:
        return name
    columns = row.columns("name")
    if columns:
        raise row.error(columns[0], "the name is missing", "Give the place a name.")
    found = ", ".join(repr(clean_text(name)) for name in list(row.record)[:_MAX_LISTED_COLUMNS])
    raise row.error(
        "name",
        "no column holds the name of the place",
        f"Call one column {' or '.join(ACCEPTED_NAMES['name'])}. Columns found: {found or 'none'}.",
    )


def _id(row: _Row, name: str, location: GeoPoint | None, row_of_id: Mapping[str, int]) -> str:
    column, _ = row.value("id")
    given = _text(row, "id", None)
    if not given:
        return _made_id(name, location, row_of_id)
    if given in row_of_id:
        problem = f"the id {reprlib.repr(given)} is already that of row {row_of_id[given]}"
        raise row.error(column, problem, "Give every place its own id, or remove the repetition.")
    return given


def _made_id(name: str, location: GeoPoint | None, taken: Mapping[str, int]) -> str:
    position = f"{location.latitude:.6f}|{location.longitude:.6f}" if location else "|"
    base = hashlib.sha256(f"{name}|{position}".encode()).hexdigest()[:16]
    numbered, namesakes = base, 1
    while numbered in taken:
        namesakes += 1
        numbered = f"{base}-{namesakes}"
    return numbered


def _text(row: _Row, field: str, max_characters: int | None) -> str:
    column, value = row.value(field)
    if value is None:
        return ""
    parts = value if isinstance(value, list | tuple) else (value,)
    return clean_text(" ".join(_label(row, column, part) for part in parts), max_characters)


def _label(row: _Row, column: str, value: object, keys: tuple[str, ...] = ()) -> str:
    """Return the text of one value; of an object, the text under the first of the keys."""
    if isinstance(value, dict):
        value = next((value[key] for key in keys if key in value), value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # table tools turn whole-number ids into 123.0
    if isinstance(value, str):
        return value
    if _is_empty(value):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    problem = f"{reprlib.repr(value)} is a {type(value).__name__}, not text"
    raise row.error(column, problem, "Write it as text.")


def _parts(row: _Row, field: str, marks: str, keys: tuple[str, ...]) -> list[str]:
    column, value = row.value(field)
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [_label(row, column, part, keys) for part in value]
    return re.split(f"[{marks}]", _label(row, column, value, keys))


def _categories(row: _Row) -> tuple[str, ...]:
    """Return categories in the file's order, each once whatever its letter case."""
    first_spelling: dict[str, str] = {}
    for written in _parts(row, "category", ",;|", ("title", "name", "label")):
        category = clean_text(written, MAX_NAME_CHARACTERS)
        if category:
            first_spelling.setdefault(category.casefold(), category)
    return tuple(first_spelling.values())


def _photos(row: _Row, folder: Path) -> tuple[str, ...]:
    """Return paths of images.

    Choice: web addresses stay as they are; nothing is downloaded here.
    """
    column, value = row.value("images")
    if isinstance(value, int | float):
        problem = f"{value} is a number, not paths of images"
        raise row.error(column, problem, "Give a list of paths, or rename the column.")
    parts = (_UNSAFE.sub("", part).strip() for part in _parts(row, "images", ";|", ("path", "url")))
    return tuple(part if "://" in part else str(folder / part) for part in parts if part)


def _number(row: _Row, field: str) -> tuple[str, float | None]:
    """Return the column and its number.

    Choice: one comma and no point is a decimal comma, as many spreadsheets write it.
    """
    column, value = row.value(field)
    if value is None:
        return column, None
    written = value
    if isinstance(value, str):
        if value.strip().casefold() in _NO_NUMBER:
            return column, None
        written = value.replace(",", ".") if value.count(",") == 1 and "." not in value else value
    try:
        # The type is open on purpose: Decimal and other numbers of Parquet convert as well.
        number = math.nan if isinstance(value, bool) else float(written)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        problem = f"{reprlib.repr(value)} is not a number"
        raise row.error(column, problem, "Write plain digits, for example 4.5, or leave it empty.")
    return column, number


def _location(row: _Row) -> GeoPoint | None:
    latitude_column, latitude = _number(row, "latitude")
    longitude_column, longitude = _number(row, "longitude")
    if latitude is None and longitude is None:
        return None
    if latitude is None:
        raise row.error(latitude_column, "there is a longitude but no latitude", "Give both.")
    if longitude is None:
        raise row.error(longitude_column, "there is a latitude but no longitude", "Give both.")
    if abs(latitude) <= 90 and abs(longitude) <= 180:
        return GeoPoint(latitude, longitude)
    if 90 < abs(latitude) <= 180 and abs(longitude) <= 90:
        problem = f"latitude {latitude:g} and longitude {longitude:g}: these look swapped"
        raise row.error(latitude_column, problem, "Exchange the two columns.")
    column, value, limit = latitude_column, latitude, 90
    if abs(latitude) <= 90:
        column, value, limit = longitude_column, longitude, 180
    problem = f"{value:g} is outside -{limit} to {limit}"
    raise row.error(column, problem, "Give degrees (WGS 84), for example 51.5194 and -0.1270.")


def _rating(row: _Row) -> float | None:
    column, rating = _number(row, "rating")
    if rating is not None and rating < 0:
        raise row.error(
            column, f"the rating {rating:g} is negative", "Correct it or leave it empty."
        )
    return rating


def _rating_count(row: _Row) -> int | None:
    column, value = row.value("rating_count")
    if isinstance(value, str) and "," in value:
        problem = f"{reprlib.repr(value)} is not a whole number"
        raise row.error(column, problem, "Write plain digits, for example 1024.")
    _, count = _number(row, "rating_count")
    if count is None:
        return None
    if count < 0 or not count.is_integer():
        problem = f"{reprlib.repr(value)} is not a number of ratings"
        raise row.error(column, problem, "Write a whole number, 0 or more.")
    return int(count)
