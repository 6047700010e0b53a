"""Yelp-V: from the Yelp Open Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import msgspec

from visuallens.benchmark.base import (
    Business,
    BusinessPhoto,
    DatasetCard,
    MalformedRowError,
    RawFile,
    Review,
    Rules,
    Table,
)
from visuallens.benchmark.datasets.raw import (
    moment_ms,
    point,
    present,
    require_folder,
    whole_number,
)
from visuallens.benchmark.tags import KEPT_PHRASES
from visuallens.errors import RawDataError

_REMOVED = (
    "planning nightlife services wings arts dogs tacos caribbean beer spirits wine venues fusion "
    "entertainment southern spaces lounges breweries shopping smoothies flavor plates eastern "
    "tex-mex shop noodles markets market donuts gelato sum veggies fruits trucks bagels "
    "cheesesteaks clubs cuban ramen life roasteries stands brewpubs gluten-free gardens "
    "travel"
)
"""Source: appendix A.2, ambiguous or non-differentiable categories of Yelp-V."""

_NAMES: Mapping[Table, tuple[str, ...]] = {
    "businesses": ("yelp_academic_dataset_business.json", "business.json"),
    "reviews": ("yelp_academic_dataset_review.json", "review.json"),
    "photos": ("photos.json", "yelp_academic_dataset_photo.json"),
}


class _Review(msgspec.Struct):
    user_id: str | None = None
    business_id: str | None = None
    date: str | None = None


class _Business(msgspec.Struct):
    business_id: str | None = None
    name: str | None = None
    categories: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    stars: float | None = None
    review_count: float | None = None


class _Photo(msgspec.Struct):
    photo_id: str | None = None
    business_id: str | None = None
    caption: str | None = None


_REVIEWS = msgspec.json.Decoder(_Review)
_BUSINESSES = msgspec.json.Decoder(_Business)
_PHOTOS = msgspec.json.Decoder(_Photo)


class YelpV:
    """Reads business, review and photos.json, plain or gzip, and finds photos/PHOTO_ID.jpg.

    Args:
        raw: the folder of the dump.
        rules: of the benchmark.

    Choice: the dump has no descriptions, so a candidate's description is its tags; town and
        address are left out, because the candidates lie around a place of the ground truth.
    """

    name: ClassVar[str] = "yelp-v"
    card: ClassVar[DatasetCard] = DatasetCard(
        title="Yelp-V",
        source="https://business.yelp.com/data/resources/open-dataset/",
        licence="Yelp Dataset Terms of Use: academic use, no redistribution",
        citation="Asghar, Yelp Dataset Challenge, 2016; Yelp Open Dataset",
        files=("yelp_academic_dataset_business.json", "yelp_academic_dataset_review.json",
               "photos.json", "photos/PHOTO_ID.jpg"),
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            "min_ground_truth": 5,
            "history_gap_days": 0.0,
            "min_category_reviews": 50_000,
            "kept_phrases": KEPT_PHRASES,
            "visited": "keep",
            "dev_examples": 2_000,
            "test_examples": 100_000,
            "largest_share": 0.1,
        }
    )
    distance: ClassVar[str] = "great_circle"
    removed: ClassVar[frozenset[str]] = frozenset(_REMOVED.split())
    photo_share: ClassVar[float | None] = 1 / 3
    """Source: §6.1, one third of the business's photos for each review."""

    def __init__(self, raw: Path, rules: Rules) -> None:
        del rules
        self._raw = raw

    def files(self) -> tuple[RawFile, ...]:
        """See `Dataset.files`; each may also end in .gz."""
        require_folder(self._raw)
        return tuple(RawFile(self._find(table), table) for table in _NAMES)

    def _find(self, table: Table) -> Path:
        names = [name + end for name in _NAMES[table] for end in ("", ".gz")]
        found = [self._raw / name for name in names if (self._raw / name).is_file()]
        if not found:
            raise RawDataError(
                self._raw / names[0], "this file is missing", f"Get it from {self.card.source}"
            )
        if len(found) > 1:
            raise RawDataError(
                found[1], f"{found[0].name} is the same file", "Keep one of the two."
            )
        return found[0]

    def read(self, table: Table, line: bytes) -> Review | Business | BusinessPhoto | None:
        """See `Dataset.read`."""
        if table == "reviews":
            return _review(line)
        return _business(line) if table == "businesses" else _photo(line)

    def question(self, category: str) -> str:
        """See `Dataset.question`; the paper's wording (§6.1). Yelp's categories are plurals."""
        return f"Recommend nearby {category}."

    def photo_path(self, photo_id: str) -> str:
        """See `Dataset.photo_path`."""
        return f"{photo_id}.jpg"

    def photos_folder(self) -> Path | None:
        """See `Dataset.photos_folder`."""
        return self._raw / "photos"


def _review(line: bytes) -> Review:
    row = present(_REVIEWS, line)
    if not row.user_id or not row.business_id:
        raise MalformedRowError("no user_id" if not row.user_id else "no business_id")
    return Review(row.user_id, row.business_id, _milliseconds(row.date))


def _milliseconds(date: str | None) -> int:
    """Read "YYYY-MM-DD HH:MM:SS". Choice: as UTC, since the dump names no zone."""
    if not date:
        raise MalformedRowError("no date")
    try:
        moment = datetime.fromisoformat(date)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment_ms(round(aware.timestamp() * 1000))
    except (ValueError, OverflowError) as error:
        raise MalformedRowError("date not understood") from error


def _business(line: bytes) -> Business:
    row = present(_BUSINESSES, line)
    if not row.business_id:
        raise MalformedRowError("no business_id")
    tags = [tag.strip() for tag in (row.categories or "").split(",") if tag.strip()]
    count = row.review_count
    return Business(
        row.business_id,
        row.name,
        ", ".join(tags),
        tags,
        *point(row.latitude, row.longitude),
        row.stars,
        None if count is None else whole_number("review_count", count),
    )


def _photo(line: bytes) -> BusinessPhoto:
    row = present(_PHOTOS, line)
    if not row.photo_id or not row.business_id:
        raise MalformedRowError("no photo_id" if not row.photo_id else "no business_id")
    return BusinessPhoto(row.photo_id, row.business_id, f"{row.photo_id}.jpg", row.caption or "")
