"""The synthetic world as a raw dump: the schema of Google Local, with photo files beside it.

Source: §6.1 and appendix A, as for Google Review-V; who lives in it is in `synthesis.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from visuallens.benchmark.base import (
    Business,
    BusinessPhoto,
    DatasetCard,
    RawFile,
    Review,
    Rules,
    Table,
)
from visuallens.benchmark.datasets.google import GoogleReviewV
from visuallens.benchmark.datasets.raw import require_folder

PHOTOS = "photos"
"""Folder of a synthetic dump that holds the photo files."""


class SyntheticGoogle:
    """Reads what `visuallens benchmark synthesize` wrote, with the reader of Google Review-V.

    Args:
        raw: the folder of the dump.
        rules: of the benchmark.

    Choice: the rules are those of Google Review-V but for sizes: few candidates, one ground truth
        is enough, no floor for categories, a quarter of the examples each for dev and test at most.
    """

    name: ClassVar[str] = "synthetic-google"
    card: ClassVar[DatasetCard] = DatasetCard(
        title="Synthetic Google world",
        source="visuallens benchmark synthesize",
        licence="none: made by a program",
        citation="VisualLens, docs/synthetic.md",
        files=GoogleReviewV.card.files,
        note="synthetic: nobody took these photos, and nobody was at these places",
    )
    defaults: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            **GoogleReviewV.defaults,
            "min_ground_truth": 1,
            "min_category_reviews": 0,
            "dev_examples": 60,
            "test_examples": 400,
            "largest_share": 0.25,
        }
    )
    distance = GoogleReviewV.distance
    removed = GoogleReviewV.removed
    photo_share = GoogleReviewV.photo_share

    def __init__(self, raw: Path, rules: Rules) -> None:
        self._raw, self._google = raw, GoogleReviewV(raw, rules)

    def files(self) -> tuple[RawFile, ...]:
        """See `Dataset.files`."""
        return self._google.files()

    def read(self, table: Table, line: bytes) -> Review | Business | BusinessPhoto | None:
        """See `Dataset.read`."""
        return self._google.read(table, line)

    def question(self, category: str) -> str:
        """See `Dataset.question`."""
        return self._google.question(category)

    def photo_path(self, photo_id: str) -> str:
        """See `Dataset.photo_path`."""
        return self._google.photo_path(photo_id)

    def photos_folder(self) -> Path | None:
        """See `Dataset.photos_folder`: they are part of the dump."""
        require_folder(self._raw)
        return self._raw / PHOTOS
