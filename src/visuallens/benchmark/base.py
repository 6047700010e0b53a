"""What a raw dataset is, and the plain records that every one of them is read into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from visuallens import registry
from visuallens.config import BenchmarkSettings
from visuallens.errors import MissingPackageError

INSTALL = "pip install 'visuallens[benchmark]'"

Table = Literal["reviews", "businesses", "photos"]
Distance = Literal["great_circle", "log_popularity"]


class Review(NamedTuple):
    """One review: a user was at a business, and may have shown it.

    Attributes:
        at_ms: milliseconds since 1970, UTC.
        photos: URLs of the photos that came with it.
    """

    user_id: str
    business_id: str
    at_ms: int
    photos: Sequence[str] = ()


class Business(NamedTuple):
    """One business as the dump describes it.

    Attributes:
        source_id: as the dump writes it, where `business_id` is another one.
        tags: as written; `tags.py` makes categories of them.
        latitude: degrees; None where the dump gives no position.
        longitude: degrees; None where the dump gives no position.
    """

    business_id: str
    name: str | None
    description: str = ""
    tags: Sequence[str] = ()
    latitude: float | None = None
    longitude: float | None = None
    rating: float | None = None
    rating_count: int | None = None
    source_id: str | None = None


class BusinessPhoto(NamedTuple):
    """A photo that belongs to a business and to no review.

    Attributes:
        path: below the dataset's folder of photos.
    """

    photo_id: str
    business_id: str
    path: str
    caption: str = ""


class MalformedRowError(ValueError):
    """A row of a dump that cannot be read; its text is the reason under which it is counted."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """One file of a dump and the table it is read into."""

    path: Path
    table: Table


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """Where a dump comes from.

    Attributes:
        source: address of the page that offers it.
        files: names of the files expected, as patterns.
        checksums: file name → sha256, where the dump has one fixed edition.
        note: what every table that is made with it has to say.
    """

    title: str
    source: str
    licence: str
    citation: str
    files: tuple[str, ...]
    checksums: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """`BenchmarkSettings` once those that the dataset decides are filled in; see there."""

    split: Literal["by_user", "by_category", "by_time"]
    business_disjoint: bool
    min_drawn: int
    max_drawn: int
    min_candidates: int
    min_ground_truth: int
    min_history: int
    history_gap_days: float
    min_category_reviews: int
    categories: tuple[str, ...]
    most_reviewed: int
    kept_phrases: tuple[str, ...]
    visited: Literal["keep", "drop"]
    genre_words: bool
    dev_examples: int
    test_examples: int
    largest_share: float
    candidate_photos: int
    category_photos: int
    max_rejected_share: float

    @classmethod
    def resolve(cls, settings: BenchmarkSettings, defaults: Mapping[str, object]) -> Rules:
        """Fill in what the settings leave to the dataset."""
        given = settings.model_dump()
        # Any: values of many types, each checked by `BenchmarkSettings`.
        whole: dict[str, Any] = {
            name: defaults[name] if given[name] is None else given[name]
            for name in (one.name for one in fields(cls))
        }
        return cls(**whole)


@dataclass(frozen=True, slots=True)
class Job:
    """What every task of a build has to know.

    Attributes:
        name: of the dataset and of the benchmark.
        raw: folder of the dump.
        seed: decides every draw.
        memory_gb: that each worker may use for sorting and joining.
        workers: how many tasks run at a time.
    """

    name: str
    raw: Path
    rules: Rules
    seed: int
    memory_gb: float
    workers: int

    def dataset(self) -> Dataset:
        """Open the dump.

        Returns:
            The dataset of that name, with the folder and the rules of this job.

        Raises:
            UnknownNameError: there is no dataset of that name.
        """
        dataset: Dataset = registry.load("datasets", self.name)(self.raw, self.rules)
        return dataset


class Dataset(Protocol):
    """A raw dump that a benchmark is built from. Made with `Dataset(raw_folder, rules)`.

    Attributes:
        name: under which it is registered; the benchmark's name.
        card: where it comes from.
        defaults: the rules that the paper gives for it.
        distance: what `nearest` means in Algorithm 1.
        removed: categories that questions never ask for.
        photo_share: None where photos come with reviews; else the share of a business's photos
            that each review shows.
    """

    name: str
    card: DatasetCard
    defaults: Mapping[str, object]
    distance: Distance
    removed: frozenset[str]
    photo_share: float | None

    def files(self) -> tuple[RawFile, ...]:
        """Find the files of the dump.

        Returns:
            Every file, in a fixed order.

        Raises:
            RawDataError: the folder or one of its files is missing.
        """
        ...

    def read(self, table: Table, line: bytes) -> Review | Business | BusinessPhoto | None:
        """Read one line of a file.

        Args:
            table: that the file is read into.
            line: as it stands in the file.

        Returns:
            The row; None for a line that holds none, such as a header.

        Raises:
            MalformedRowError: the line cannot be understood.
        """
        ...

    def question(self, category: str) -> str:
        """Ask for a category in words."""
        ...

    def photo_path(self, photo_id: str) -> str:
        """Say where the file of a photo lies, below `photos_folder`."""
        ...

    def photos_folder(self) -> Path | None:
        """Say where the dump's photo files are; None where they have to be fetched."""
        ...


def needs(package: str) -> MissingPackageError:
    """Make the error that says how to install a package that benchmarks need."""
    return MissingPackageError(package, "Working with benchmarks", INSTALL)
