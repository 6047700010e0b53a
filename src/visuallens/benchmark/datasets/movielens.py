"""MovieLens-V: films for businesses, posters for photos, genres for categories; a stand-in.

Real users with images that everybody can get. What differs from the paper's benchmarks: *nearest*
means nearest in log popularity, a candidate has not been rated by the time of the question, and a
history ends a day before it, because ratings are typed in batches.
"""

from __future__ import annotations

import re
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
from visuallens.benchmark.datasets.raw import moment_ms, present, require_folder
from visuallens.errors import RawDataError

_HEADER = b"userId,movieId,rating,timestamp"
_RATING = re.compile(rb"([^,]+),(\d{1,18}),\d+(?:\.\d+)?,(\d{1,18})")


class _Film(msgspec.Struct):
    id: int | None = None
    title: str | None = None
    year: int | None = None
    genres: list[str] | None = None
    plot: str | None = None
    country: str | None = None
    imdbrating: str | None = None


_FILMS = msgspec.json.Decoder(_Film)


class MovieLensV:
    """Reads ratings.csv, movies.jsonl and posters/ID.jpg.

    Args:
        raw: the folder of the dump.
        rules: `genre_words` decides whether the description of a film names its genres.

    Choice: the number of ratings is no field of a candidate: candidates are drawn around a film of
        the ground truth by popularity, so the middle one would be the answer.
    """

    name: ClassVar[str] = "movielens-v"
    card: ClassVar[DatasetCard] = DatasetCard(
        title="MovieLens-V",
        source="https://grouplens.org/datasets/movielens/",
        licence="MovieLens: research, no redistribution; posters belong to their owners",
        citation="Harper and Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015",
        files=("ratings.csv", "movies.jsonl", "posters/ID.jpg"),
        checksums={
            "ratings.csv": "6db02be497b9724b81ca589da1502e699bb46c54da30d062e41fa5f15ab4b134",
            "movies.jsonl": "504627b608aebf3f1aa57982a93414483c16747b62e531d3aa5d6b26a4a0a972",
        },
        note="posters stand in for photos, films for places, genres for categories",
    )
    defaults: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            "min_ground_truth": 2,
            "history_gap_days": 1.0,
            "min_category_reviews": 0,
            "kept_phrases": (),
            "visited": "drop",
            "dev_examples": 800,
            "test_examples": 2_000,
            "largest_share": 0.25,
        }
    )
    distance: ClassVar[str] = "log_popularity"
    removed: ClassVar[frozenset[str]] = frozenset()
    photo_share: ClassVar[float | None] = 1.0

    def __init__(self, raw: Path, rules: Rules) -> None:
        self._raw = raw
        self._genre_words = rules.genre_words

    def files(self) -> tuple[RawFile, ...]:
        """See `Dataset.files`."""
        require_folder(self._raw)
        tables: tuple[tuple[str, Table], ...] = (
            ("movies.jsonl", "businesses"),
            ("ratings.csv", "reviews"),
            ("movies.jsonl", "photos"),
        )
        for name in ("movies.jsonl", "ratings.csv", "posters"):
            if not (self._raw / name).exists():
                raise RawDataError(
                    self._raw / name, "this is missing", f"Make it from {self.card.source}"
                )
        return tuple(RawFile(self._raw / name, table) for name, table in tables)

    def read(self, table: Table, line: bytes) -> Review | Business | BusinessPhoto | None:
        """See `Dataset.read`."""
        if table == "reviews":
            return _rating(line)
        film = present(_FILMS, line)
        if film.id is None:
            raise MalformedRowError("no id")
        return self._film(film) if table == "businesses" else self._poster(film)

    def _film(self, film: _Film) -> Business:
        genres = [genre.casefold() for genre in film.genres or ()]
        facts = (
            (film.plot or "").strip(),
            str(film.year) if film.year else None,
            film.country,
            ", ".join(genres) if self._genre_words else None,
        )
        return Business(
            business_id=str(film.id),
            name=film.title,
            description=". ".join(fact.strip().rstrip(".") for fact in facts if fact),
            tags=genres,
            rating=_number(film.imdbrating),
        )

    def _poster(self, film: _Film) -> BusinessPhoto | None:
        path = self.photo_path(str(film.id))
        if not (self._raw / "posters" / path).is_file():
            return None
        return BusinessPhoto(str(film.id), str(film.id), path)

    def question(self, category: str) -> str:
        """See `Dataset.question`."""
        return f"Recommend a film: {category}."

    def photo_path(self, photo_id: str) -> str:
        """See `Dataset.photo_path`."""
        return f"{photo_id}.jpg"

    def photos_folder(self) -> Path | None:
        """See `Dataset.photos_folder`."""
        return self._raw / "posters"


def _rating(line: bytes) -> Review | None:
    if line.strip() == _HEADER:
        return None
    found = _RATING.fullmatch(line.strip())
    if not found:
        raise MalformedRowError("not user,film,rating,seconds")
    user_id, film, seconds = found.groups()
    return Review(_text(user_id), str(int(film)), moment_ms(int(seconds) * 1000))


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRowError("not UTF-8") from error


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) else None
