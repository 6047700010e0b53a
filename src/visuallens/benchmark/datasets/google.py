"""Google Review-V: from the dump of Google Local reviews of 2021, files by state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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
    "shop store complex service company supplier caterer agency center organization attraction "
    "house mall landmark wash course preserve alley groomer field peak venue delivery dealer "
    "lounge office arcade court spot stop maintenance trainer wholesaler planner place facility "
    "school stand range consultant designer veterinarian ground contractor manufacturer studio "
    "point lot"
)
"""Source: appendix A.2, ambiguous or non-differentiable categories of Google Review-V."""


class _Picture(msgspec.Struct):
    url: list[str | None] | None = None


class _Review(msgspec.Struct):
    user_id: str | None = None
    gmap_id: str | None = None
    time: float | None = None
    pics: list[_Picture | None] | None = None


class _Business(msgspec.Struct):
    gmap_id: str | None = None
    name: str | None = None
    description: str | None = None
    category: list[str | None] | None = None
    latitude: float | None = None
    longitude: float | None = None
    avg_rating: float | None = None
    num_of_reviews: float | None = None


_REVIEWS = msgspec.json.Decoder(_Review)
_BUSINESSES = msgspec.json.Decoder(_Business)


class GoogleReviewV:
    """Reads `review-STATE.json.gz` and `meta-STATE.json.gz`, plain or gzip.

    Args:
        raw: the folder of the dump.
        rules: of the benchmark.

    Choice: address and town are not part of a candidate's description, because the candidates lie
        around a place of the ground truth.
    """

    name: ClassVar[str] = "google-review-v"
    card: ClassVar[DatasetCard] = DatasetCard(
        title="Google Review-V",
        source="https://mcauleylab.ucsd.edu/public_datasets/gdrive/googlelocal/",
        licence="for research, by its page; the photos belong to those who took them",
        citation="Li et al., UCTopic, ACL 2022; Yan et al., Personalized Showcases, SIGIR 2023",
        files=("review-STATE.json.gz", "meta-STATE.json.gz"),
    )
    defaults: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            "min_ground_truth": 2,
            "history_gap_days": 0.0,
            "min_category_reviews": 10_000,
            "kept_phrases": KEPT_PHRASES,
            "visited": "keep",
            "dev_examples": 2_000,
            "test_examples": 200_000,
            "largest_share": 0.1,
        }
    )
    distance: ClassVar[str] = "great_circle"
    removed: ClassVar[frozenset[str]] = frozenset(_REMOVED.split())
    photo_share: ClassVar[float | None] = None

    def __init__(self, raw: Path, rules: Rules) -> None:
        del rules
        self._raw = raw

    def files(self) -> tuple[RawFile, ...]:
        """See `Dataset.files`; every state needs both of its files."""
        require_folder(self._raw)
        reviews, businesses = (self._by_state(kind) for kind in ("review", "meta"))
        if not reviews and not businesses:
            raise RawDataError(
                self._raw,
                "there is no review-STATE.json.gz and no meta-STATE.json.gz",
                f"Download some from {self.card.source}",
            )
        for state in sorted(reviews.keys() ^ businesses.keys()):
            kind = "review" if state in businesses else "meta"
            raise RawDataError(
                self._raw / f"{kind}-{state}.json.gz",
                "this file is missing, its other half is there",
                "Add it, or take the other half away.",
            )
        return (
            *(RawFile(businesses[state], "businesses") for state in sorted(businesses)),
            *(RawFile(reviews[state], "reviews") for state in sorted(reviews)),
        )

    def _by_state(self, kind: str) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(self._raw.glob(f"{kind}-*.json*")):
            state = path.name.removeprefix(f"{kind}-").split(".json")[0]
            if state in found:
                raise RawDataError(
                    path, f"{found[state].name} is the same file", "Keep one of the two."
                )
            found[state] = path
        return found

    def read(self, table: Table, line: bytes) -> Review | Business | BusinessPhoto | None:
        """See `Dataset.read`."""
        return _business(line) if table == "businesses" else _review(line)

    def question(self, category: str) -> str:
        """See `Dataset.question`; the paper's wording (§6.1)."""
        return f"Recommend a nearby {category}."

    def photo_path(self, photo_id: str) -> str:
        """See `Dataset.photo_path`; in 256 folders, since there are millions of files."""
        return f"{photo_id[:2]}/{photo_id}.jpg"

    def photos_folder(self) -> Path | None:
        """See `Dataset.photos_folder`: they have to be fetched."""
        return None


def _review(line: bytes) -> Review:
    row = present(_REVIEWS, line)
    if not row.user_id or not row.gmap_id:
        raise MalformedRowError("no user_id" if not row.user_id else "no gmap_id")
    if row.time is None:
        raise MalformedRowError("no time")
    urls = [picture.url[0] for picture in row.pics or () if picture and picture.url]
    return Review(
        row.user_id, opaque(row.gmap_id), moment_ms(row.time), [url for url in urls if url]
    )


def _business(line: bytes) -> Business:
    row = present(_BUSINESSES, line)
    if not row.gmap_id:
        raise MalformedRowError("no gmap_id")
    count = row.num_of_reviews
    return Business(
        opaque(row.gmap_id),
        row.name,
        row.description or "",
        [tag for tag in row.category or () if tag],
        *point(row.latitude, row.longitude),
        row.avg_rating,
        None if count is None else whole_number("num_of_reviews", count),
        row.gmap_id,
    )


def opaque(gmap_id: str) -> str:
    """Turn the id of a place into one that says nothing.

    Choice: Google's ids begin with a cell of the map, and no position may reach a ranker.
        positions.parquet keeps them as `source_id`.
    """
    return hashlib.blake2b(gmap_id.encode(), digest_size=8).hexdigest()
