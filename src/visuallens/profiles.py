"""Profiles of a benchmark's requests: from the library in which its photos are indexed.

The photo files of a benchmark are indexed once, as those of one user of a library
(`visuallens index FOLDER --library LIBRARY`); here they are found again by their paths, so captions
and aspect words of any model or backbone serve training and evaluation without being made twice.

Source: §4.1, offline augmentation; §4.2, history retrieval and preference profiling.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.config import Settings
from visuallens.errors import RequestError
from visuallens.models.base import Backbone, PhotoModel
from visuallens.profile.builder import build_profile
from visuallens.profile.category import category_embedding
from visuallens.profile.opened import OpenHistory, age_days
from visuallens.rankers.base import RankerResources
from visuallens.types import (
    Augmentation,
    FloatArray,
    Profile,
    RankingRequest,
    VisualHistory,
)
from visuallens.users import User

if TYPE_CHECKING:
    from visuallens.models.attention import AttentionMatcher

logger = logging.getLogger(__name__)


class BenchmarkProfiles:
    """Builds the profiles of requests, one benchmark and one library at hand.

    Args:
        benchmark: whose requests they are.
        indexed: the user of the library as which the benchmark's photos are indexed, opened.
        model: that encoded them.
        settings: `retrieval`, `profile` and `matching`.

    Attributes:
        benchmark: as given.

    Choice: a photo is looked up by its path and, where that is not known, by the bytes of its
        file: a library holds photos of equal bytes once, under one of their paths, and a benchmark
        may reach its photos through links.
    """

    def __init__(
        self, benchmark: Benchmark, indexed: User, model: PhotoModel, settings: Settings
    ) -> None:
        self.benchmark, self._model, self._settings = benchmark, model, settings
        self._opened = indexed.opened
        photos = indexed.opened.history.photos
        self._by_path = {photo.path: row for row, photo in enumerate(photos)}
        self._by_id = {photo.id: row for row, photo in enumerate(photos)}
        self._row = lru_cache(maxsize=None)(self._find_row)
        self._category = lru_cache(maxsize=4096)(self._embed_category)

    def opened(self, history: VisualHistory) -> OpenHistory:
        """Open the history of a request.

        Args:
            history: of the benchmark; photos that are not indexed are left out.

        Returns:
            The photos that are, with embeddings and descriptions.

        Choice: how much an aspect word tells is judged against all photos of the library, so
            against everybody's, not against the user's own.
        """
        found = [
            (photo, row) for photo in history.photos if (row := self._row(photo.path)) is not None
        ]
        if len(found) < len(history.photos):
            missing = len(history.photos) - len(found)
            logger.debug("%d of %d photos are not indexed", missing, len(history.photos))
        photos = tuple(photo for photo, _ in found)
        rows = np.array([row for _, row in found], np.int64)
        recency = self._settings.retrieval.half_life_days is not None
        of_library = [self._opened.history.photos[int(row)].id for row in rows]
        here = dict(zip((photo.id for photo in photos), of_library, strict=True))

        def describe(photo_ids: Sequence[str]) -> Mapping[str, Augmentation]:
            known = self._opened.describe([here[one] for one in photo_ids])
            return {one: known[here[one]] for one in photo_ids if here[one] in known}

        return OpenHistory(
            history=VisualHistory(history.user_id, photos),
            embeddings=self._opened.embeddings[rows],
            moments=np.arange(len(photos), dtype=np.int64),
            age_days=age_days(photos) if recency else None,
            word_shares=self._opened.word_shares,
            describe=describe,
        )

    def count_indexed(self, history: VisualHistory) -> int:
        """Count the photos of a history that are indexed."""
        return sum(self._row(photo.path) is not None for photo in history.photos)

    def digest(self) -> str:
        """Tell what is indexed, and how it is described, from what would answer otherwise."""
        photos = sorted(photo.id for photo in self._opened.history.photos)
        known = json.dumps([photos, sorted(self._opened.word_shares.items())])
        return hashlib.sha256(known.encode()).hexdigest()

    def profile(self, request: RankingRequest) -> Profile:
        """Build the profile of a request, without its grid image.

        Args:
            request: of the benchmark.

        Returns:
            Its profile; empty where none of its photos is indexed.
        """
        return build_profile(
            self.opened(request.history),
            request.question,
            self.category(request),
            self._settings.retrieval,
            self._settings.profile,
            seed=request.seed,
        )

    def category(self, request: RankingRequest) -> FloatArray:
        """Embed the category of a request.

        Args:
            request: of the benchmark.

        Returns:
            (dim,) float32, unit length: the mean of photos of the category that show none of the
            request's candidates; of its name, where there are none.
        """
        count = self._settings.retrieval.category_images
        try:
            paths = self.benchmark.category_photos(request, count)
        except RequestError:
            paths = ()
        rows = self.embeddings(paths)
        if len(rows):
            return category_embedding(rows)
        return self._category(request.question.category)

    def embeddings(self, paths: Sequence[str]) -> FloatArray:
        """Look up the embeddings of photo files.

        Args:
            paths: of the benchmark.

        Returns:
            (photos that are indexed, dim) float32, unit-length rows, in the order of the paths.
        """
        rows = [row for row in self.rows(paths) if row >= 0]
        return self.vectors(rows)

    def rows(self, paths: Sequence[str]) -> list[int]:
        """Find photo files in the library.

        Args:
            paths: of the benchmark.

        Returns:
            One row per path, the same for the same photo; -1 where it is not indexed.
        """
        return [-1 if (row := self._row(path)) is None else row for path in paths]

    def vectors(self, rows: Sequence[int]) -> FloatArray:
        """Give the embeddings of photos by their rows.

        Args:
            rows: see `rows`; none is -1.

        Returns:
            (rows, dim) float32, unit-length rows.
        """
        found: FloatArray = self._opened.embeddings[list(rows)]
        return found

    def resources(
        self,
        backbone: Callable[[], Backbone] | None = None,
        draw: Callable[[Profile], Profile] | None = None,
        matcher: Callable[[], AttentionMatcher] | None = None,
    ) -> RankerResources:
        """Gather what rankers may use for the requests of this benchmark.

        Args:
            backbone: opens it, or None.
            draw: adds the grid image to a profile, or None.
            matcher: opens the trained matcher of the ranker `attention`, or None.

        Returns:
            Resources for any ranker; images that are not indexed have no embedding.
        """
        return RankerResources(
            profile=self.profile,
            texts=self._model,
            sentences=self._model.sentences,
            images=self._embed_images,
            backbone=backbone,
            draw=draw,
            matching=self._settings.matching,
            matcher=matcher,
        )

    def _embed_images(self, paths: Sequence[str]) -> dict[str, FloatArray]:
        rows = {path: self._row(path) for path in paths}
        return {path: self._opened.embeddings[row] for path, row in rows.items() if row is not None}

    def _find_row(self, path: str) -> int | None:
        row = self._by_path.get(os.path.abspath(path))  # noqa: PTH100 - links stay as named
        if row is not None:
            return row
        try:
            with Path(path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
        return self._by_id.get(digest)

    def _embed_category(self, category: str) -> FloatArray:
        (embedded,) = self._model.encode_categories([category])
        return np.asarray(embedded)
