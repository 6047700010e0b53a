"""What memories recall of the photos and candidates of a benchmark, and batches for the head."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from visuallens.config.training import AttentionTrainingSettings
from visuallens.errors import TrainingError
from visuallens.models.attention import Attended, MatcherShape, Memory, Recalled
from visuallens.models.base import TextEncoder
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.attention import candidate_texts, numbers_of, taste
from visuallens.training.attended import Asked, AttendedReader, Rows, padded
from visuallens.training.memory import MemoryMaker, Reductions, Tastes, principal_axes
from visuallens.types import Candidate

if TYPE_CHECKING:
    from torch import Tensor

HALVES = 2
"""Candidates are dealt into so many parts, where the head shall learn about unknown ones."""

_RECALLED_AT_ONCE = 8192

Fold = tuple[int, int | None]
"""Which users a memory does not know, and which candidates: None, it knows all."""


@dataclass(frozen=True, slots=True)
class _Recollection:
    """What one memory recalls, row by row of the tables."""

    photos: Tensor
    candidates: Recalled


class Recollections:
    """The tables of a reader in numbers, and what memories of training users recall of them.

    Args:
        reader: that has read the train split, then dev.
        train_candidates: candidates of the train split; they come first in the table.
        profiles: of the benchmark.
        sentences: embeds texts.
        settings: of the matcher.
        seed: of folds, clusters and factors.

    Attributes:
        candidates: of the table.
        shape: sizes.

    Raises:
        TrainingError: there are fewer training users than folds.
    """

    def __init__(
        self,
        reader: AttendedReader,
        *,
        train_candidates: int,
        profiles: BenchmarkProfiles,
        sentences: TextEncoder,
        settings: AttentionTrainingSettings,
        seed: int,
    ) -> None:
        self._settings, self._seed = settings, seed
        tables = reader.tables
        self.candidates = list(tables.candidates)
        shown = reader.shown(self.candidates)  # which adds their photos to the table
        vectors = torch.from_numpy(profiles.vectors(list(tables.photos)))
        names, descriptions = (
            torch.from_numpy(sentences.encode_texts(texts))
            for texts in zip(*map(candidate_texts, self.candidates), strict=True)
        )
        self._words = torch.from_numpy(sentences.encode_texts(list(tables.words)))
        self.shape = _shape(settings, vectors.shape[1], names.shape[1])
        self._fold_of = _folds(sorted(reader.chosen), settings.folds, seed)
        self._half_of = np.array([_half(one.id, seed) for one in self.candidates], np.int64)
        train = slice(0, train_candidates)
        reductions = self._reductions(
            vectors[sorted({row for rows in reader.chosen.values() for row in rows})],
            names[train],
            descriptions[train],
        )
        reducing = _reducing(self.shape, reductions)
        described = torch.tensor([bool(candidate_texts(one)[1]) for one in self.candidates])
        self._images = reducing.reduce_images(vectors)
        self._texts = reducing.reduce_texts(names, descriptions, described)
        self._numbers = reducing.standardise(*numbers_of(self.candidates))
        self._candidate_images = self._mean_images(shown)
        nobody: set[int] = set()
        known_shown = [
            np.array(sorted({*rows.tolist(), *reader.pictured.get(one.id, nobody)}), np.int64)
            if at < train_candidates
            else rows[:0]
            for at, (one, rows) in enumerate(zip(self.candidates, shown, strict=True))
        ]
        chosen = {user: frozenset(rows) for user, rows in reader.chosen.items()}
        tastes = Tastes(self._images, self._texts, known_shown, chosen)
        self._maker = MemoryMaker(tastes, reductions, self.shape, settings, seed)
        self.memory = self._maker.whole
        self._final = self._recall(self.memory)

    @cached_property
    def _folds(self) -> dict[Fold, _Recollection]:
        """What the memories of all folds recall."""
        halves = range(HALVES) if self._settings.new_candidates else (None,)
        keys = [(fold, half) for fold in range(self._settings.folds) for half in halves]
        found = {}
        for fold, half in tqdm(keys, "Memories of other users", delay=2):
            others = [user for user, own in self._fold_of.items() if own != fold]
            without = [] if half is None else np.flatnonzero(self._half_of == half).tolist()
            found[fold, half] = self._recall(self._maker.make(others, without))
        return found

    def fold(self, asked: Asked, generator: np.random.Generator) -> Fold:
        """Choose the memory that a training example is shown with; it does not know its user."""
        user = self._fold_of[asked.user_id]
        if not self._settings.new_candidates:
            return user, None
        usable = np.unique(self._half_of[asked.candidates[asked.relevant]])
        return user, int(generator.choice(usable))

    def counted(self, asked: Asked, fold: Fold | None) -> NDArray[np.bool_]:
        """Tell which candidates the loss counts: with some held out, these alone."""
        if fold is None or fold[1] is None:
            return np.ones(len(asked.candidates), bool)
        found: NDArray[np.bool_] = self._half_of[asked.candidates] == fold[1]
        return found

    def batch(self, asked: Sequence[Asked], folds: Sequence[Fold | None]) -> Attended:
        """Put examples before the head.

        Args:
            asked: at least one.
            folds: of each; None: the final memory.

        Returns:
            A batch; candidates that are not counted are masked.
        """
        shape = self.shape
        most = max(len(one.candidates) for one in asked)
        sources = [self._final if fold is None else self._folds[fold] for fold in folds]
        width = min(max(len(one.photos) for one in asked), shape.attended_photos)
        photos, photo_mask = padded([one.photos for one in asked], width)
        words, word_mask = padded([one.words for one in asked], max(len(o.words) for o in asked))
        candidates, mask = padded([one.candidates for one in asked], most)
        for row, (one, fold) in enumerate(zip(asked, folds, strict=True)):
            mask[row, : len(one.candidates)] &= self.counted(one, fold)
        similar = np.zeros((len(asked), width), np.float32)
        for row, one in enumerate(asked):
            similar[row, : len(one.relevance)] = one.relevance
        rows = [torch.from_numpy(row) for row in photos]
        of_candidates = [torch.from_numpy(row) for row in candidates]
        recalled = [one.candidates for one in sources]
        pairs = list(zip(recalled, of_candidates, strict=True))
        return Attended(
            taste=torch.stack(
                [_taste(s.photos, o.photos) for s, o in zip(sources, asked, strict=True)]
            ),
            photos=torch.stack([s.photos[own] for s, own in zip(sources, rows, strict=True)]),
            images=self._images[torch.from_numpy(photos)],
            relevance=torch.from_numpy(similar),
            photo_mask=torch.from_numpy(photo_mask),
            words=self._words[torch.from_numpy(words)]
            if word_mask.any()
            else self._no_words(asked),
            word_mask=torch.from_numpy(word_mask),
            recalled=Recalled(
                torch.stack([one.by_image[own] for one, own in pairs]),
                torch.stack([one.by_text[own] for one, own in pairs]),
                torch.stack([one.familiarity[own] for one, own in pairs]),
            ),
            texts=self._texts[torch.from_numpy(candidates)],
            numbers=self._numbers[torch.from_numpy(candidates)],
            mask=torch.from_numpy(mask),
        )

    def _no_words(self, asked: Sequence[Asked]) -> Tensor:
        return torch.zeros((len(asked), max(len(one.words) for one in asked), self.shape.text_dim))

    def _recall(self, memory: Memory) -> _Recollection:
        """Recall everything, some at a time: attention to all landmarks is large."""
        photos = [memory.recall_photos(part) for part in self._images.split(_RECALLED_AT_ONCE)]
        sides = (self._candidate_images, self._texts)
        pairs = zip(*(side.split(_RECALLED_AT_ONCE) for side in sides), strict=True)
        recalled = [memory.recall_candidates(*pair) for pair in pairs]
        candidates = Recalled(
            torch.cat([one.by_image for one in recalled]),
            torch.cat([one.by_text for one in recalled]),
            torch.cat([one.familiarity for one in recalled]),
        )
        return _Recollection(torch.cat(photos), candidates)

    def _mean_images(self, shown: Sequence[Rows]) -> Tensor:
        """Compute the mean image of each candidate, as the ranker does; zero without photos."""
        counts = torch.tensor([len(rows) for rows in shown])
        own = torch.arange(len(shown)).repeat_interleave(counts)
        rows = torch.from_numpy(np.concatenate([*shown, np.zeros(0, np.int64)]))
        sums = torch.zeros((len(shown), self.shape.image_dims))
        sums.index_add_(0, own, self._images[rows])
        return torch.nn.functional.normalize(sums, dim=-1)

    def _reductions(self, images: Tensor, names: Tensor, descriptions: Tensor) -> Reductions:
        """Fit the reductions on what training users chose and saw."""
        numbers = _number_scales(self.candidates[: len(names)])
        image_mean, image_axes = principal_axes(images, self.shape.image_dims)
        name_mean, name_axes = principal_axes(names, self.shape.text_dims)
        description_mean, description_axes = principal_axes(descriptions, self.shape.text_dims)
        return Reductions(
            {
                "image_mean": image_mean,
                "image_axes": image_axes,
                "name_mean": name_mean,
                "name_axes": name_axes,
                "description_mean": description_mean,
                "description_axes": description_axes,
                "number_means": numbers[0],
                "number_scales": numbers[1],
            }
        )


def _reducing(shape: MatcherShape, reductions: Reductions) -> Memory:
    """Make a memory without landmarks, which only reduces."""
    memory = Memory(shape, 0, 0)
    memory.load_state_dict(reductions.buffers, strict=False)
    return memory


def _shape(settings: AttentionTrainingSettings, photo_dim: int, text_dim: int) -> MatcherShape:
    return MatcherShape(
        photo_dim,
        text_dim,
        image_dims=min(settings.image_dims, photo_dim),
        text_dims=min(settings.text_dims, text_dim),
        factors=settings.factors,
        sharpness=settings.sharpness,
        attended_photos=settings.attended_photos,
        max_words=settings.max_words,
        width=settings.width,
        heads=settings.heads,
        layers=settings.layers,
        history=settings.history,
    )


def _number_scales(candidates: Sequence[Candidate]) -> tuple[Tensor, Tensor]:
    """Compute means and deviations of what is known of ratings and of their (log) number."""
    ratings, counts = numbers_of(candidates)
    means, scales = torch.zeros(2), torch.ones(2)
    for at, values in enumerate((ratings, counts.log1p())):
        known = values[~values.isnan()]
        if len(known):
            means[at] = known.mean()
            scales[at] = known.std(correction=0).clamp(min=1e-6)
    return means, scales


def _taste(recalled: Tensor, photos: Rows) -> Tensor:
    return taste(recalled[torch.from_numpy(photos)])


def _folds(users: Sequence[str], count: int, seed: int) -> dict[str, int]:
    if len(users) < count:
        raise TrainingError(
            f"the train split has {len(users)} users, fewer than {count} folds",
            "Build a larger benchmark, or lower training.attention.folds.",
        )
    order = np.random.default_rng((seed, 6)).permutation(len(users))
    return {users[int(user)]: at % count for at, user in enumerate(order)}


def _half(candidate_id: str, seed: int) -> int:
    """Deal a candidate into one of two halves, by its id, whichever photos it shows."""
    return hashlib.sha256(f"{seed}/{candidate_id}".encode()).digest()[0] % HALVES
