"""The examples of a benchmark as the ranker `attention` sees them, in numbers and held in memory.

What is the same in many examples, photos, candidates and words, stands in tables once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from visuallens.config.training import AttentionTrainingSettings
from visuallens.errors import TrainingError
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.attention import relevance
from visuallens.types import Candidate, Example, FloatArray

Rows = NDArray[np.int64]
Key = TypeVar("Key")


class Numbered(Generic[Key]):
    """Numbers things in the order in which they are first met."""

    def __init__(self) -> None:
        self._numbers: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._numbers)

    def number(self, keys: Iterable[Key]) -> Rows:
        """Give the numbers of things; new ones get the next."""
        numbers = self._numbers
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


@dataclass(frozen=True, slots=True)
class Asked:
    """One example in numbers of the tables.

    Attributes:
        example_id: of the benchmark.
        user_id: who asks.
        photos: retrieved, most similar to the category first.
        relevance: (attended photos,) standardised similarity.
        words: aspect words of the profile.
        candidates: in the benchmark's order.
        relevant: (candidates,) bool, the ground truth.
        seed: of the request, which breaks ties.
    """

    example_id: str
    user_id: str
    photos: Rows
    relevance: FloatArray
    words: Rows
    candidates: Rows
    relevant: NDArray[np.bool_]
    seed: int


@dataclass(slots=True)
class AttendedTables:
    """Photos by their row of the library, candidates, words: what examples are numbered by."""

    photos: Numbered[int] = field(default_factory=Numbered)
    candidates: Numbered[Candidate] = field(default_factory=Numbered)
    words: Numbered[str] = field(default_factory=Numbered)


class AttendedReader:
    """Reads examples into tables.

    Args:
        profiles: of the benchmark.
        settings: how much of a profile is attended to.

    Attributes:
        tables: filled by `read`.
        chosen: user → photos of their histories and of their ground truth, of examples that were
            read with `as_chosen`.
        pictured: candidate id → photos of these histories that show it, as the benchmark says.
    """

    def __init__(self, profiles: BenchmarkProfiles, settings: AttentionTrainingSettings) -> None:
        self._profiles, self._settings = profiles, settings
        self.tables = AttendedTables()
        self.chosen: dict[str, set[int]] = {}
        self.pictured: dict[str, set[int]] = {}

    def read(
        self, split: str, rows: Sequence[int], *, as_chosen: bool = False
    ) -> tuple[list[Asked], list[Example]]:
        """Read some examples of a split.

        Args:
            split: of the benchmark.
            rows: numbers of examples.
            as_chosen: note what their users chose.

        Returns:
            What was asked, and the examples, in the order of the file.

        Raises:
            TrainingError: the ground truth of an example is not among its candidates.
        """
        benchmark = self._profiles.benchmark
        asked, examples = [], []
        for found in tqdm(
            benchmark.some(split, rows), f"Reading {split}", len(rows), unit="question", delay=2
        ):
            example = found.example
            asked.append(self._asked(example))
            examples.append(example)
            if as_chosen:
                self._note_choice(example)
        return asked, examples

    def shown(self, candidates: Iterable[Candidate]) -> list[Rows]:
        """Number the photos of candidates that are indexed."""
        return [self._number(candidate.photos) for candidate in candidates]

    def _asked(self, example: Example) -> Asked:
        request, settings = example.request, self._settings
        relevant = np.array([one.id in example.ground_truth for one in request.candidates], bool)
        if not relevant.any():
            raise TrainingError(
                f"{request.id}: none of its candidates is ground truth",
                "Build the benchmark again, or audit it: visuallens benchmark audit",
            )
        photos, words, similar = (
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros(0, np.float32),
        )
        if settings.history:
            profile = self._profiles.profile(request)
            photos = self._number([cell.photo.path for cell in profile.cells])
            words = self.tables.words.number(profile.aspect_words[: settings.max_words])
            similar = relevance(profile.cells[: settings.attended_photos])
        return Asked(
            request.id,
            request.history.user_id,
            photos,
            similar,
            words,
            self.tables.candidates.number(request.candidates),
            relevant,
            request.seed,
        )

    def _note_choice(self, example: Example) -> None:
        request = example.request
        mine = self.chosen.setdefault(request.history.user_id, set())
        for photo in request.history.photos:
            rows = self._number([photo.path]).tolist()
            mine.update(rows)
            shows = self._profiles.benchmark.shown_in(photo.id)
            if shows is not None:
                self.pictured.setdefault(shows, set()).update(rows)
        for candidate in request.candidates:
            if candidate.id in example.ground_truth:
                mine.update(self._number(candidate.photos).tolist())

    def _number(self, paths: Sequence[str]) -> Rows:
        rows = self._profiles.rows(paths)
        return self.tables.photos.number(row for row in rows if row >= 0)


def padded(rows: Sequence[FloatArray | Rows], width: int) -> tuple[Rows, NDArray[np.bool_]]:
    """Put rows of numbers below each other.

    Args:
        rows: of any length; what is beyond `width` is cut.
        width: of the result.

    Returns:
        (rows, width) int64, 0 where there is nothing, and the mask of what there is.
    """
    filled = np.zeros((len(rows), width), np.int64)
    mask = np.zeros((len(rows), width), bool)
    for at, row in enumerate(rows):
        own = row[:width]
        filled[at, : len(own)] = own
        mask[at, : len(own)] = True
    return filled, mask
