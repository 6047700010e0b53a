"""Makes the memory of the ranker `attention` in closed form, from what training users chose.

EASE (Steck 2019) tells which photos go together in the tastes of users; its factors become values
of the photos, and a kernel ridge regression lets photos that were never seen recall them.

Choice: all of it is ours. A photo is never looked up by an id, only by what it looks like, so the
    same code serves benchmarks where histories and candidates share no photo.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visuallens.config.training import AttentionTrainingSettings
from visuallens.errors import TrainingError
from visuallens.models.attention import MatcherShape, Memory

if TYPE_CHECKING:
    import torch

Rows = NDArray[np.int64]

_CLUSTER_ROUNDS = 10
_OVERSAMPLED = 16
_ITERATIONS = 8


@dataclass(frozen=True, slots=True)
class Tastes:
    """What training users had before them, and what they chose.

    Attributes:
        images: (photos, image_dims) float32, reduced, unit length: all photos that are known.
        texts: (candidates, 2 * text_dims) float32, reduced.
        shown: of each candidate, the rows of photos that show it: its own, and those of histories
            that the benchmark says are of it.
        chosen: user → rows of photos in their histories and of the candidates that they chose.
    """

    images: torch.Tensor
    texts: torch.Tensor
    shown: Sequence[Rows]
    chosen: dict[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Reductions:
    """Buffers of a memory that do not depend on which users it knows, by name."""

    buffers: dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Landmarks:
    """What some users chose, as the memory of them sees it.

    Attributes:
        keys: (landmarks, image_dims) float32, unit length.
        of_photo: row of a photo → its landmark.
    """

    keys: torch.Tensor
    of_photo: dict[int, int]


class MemoryMaker:
    """Makes memories of some users, all with comparable factors.

    Args:
        tastes: of all training users.
        reductions: that `tastes` was reduced with.
        shape: sizes.
        settings: of the closed form.
        seed: of clusters and factors.

    Attributes:
        whole: the memory of all users.

    Raises:
        TrainingError: fewer than two photos were chosen by training users.
    """

    def __init__(
        self,
        tastes: Tastes,
        reductions: Reductions,
        shape: MatcherShape,
        settings: AttentionTrainingSettings,
        seed: int,
    ) -> None:
        self._tastes, self._reductions = tastes, reductions
        self._shape, self._settings, self._seed = shape, settings, seed
        if len(frozenset().union(*tastes.chosen.values())) < 2:
            raise TrainingError(
                "training users chose fewer than two photos that are indexed",
                "Index the benchmark's photos, and check the train split.",
            )
        self.whole = self._make([*tastes.chosen.values()], frozenset(), None)

    def make(self, users: Collection[str], without: Collection[int] = ()) -> Memory:
        """Make the memory of some users, which nothing of the others has touched.

        Args:
            users: that it knows.
            without: candidates that it does not know, by row: nobody has chosen their photos.

        Returns:
            The memory.

        Raises:
            TrainingError: these users chose fewer than two photos.

        Choice: factors of a memory of some users are turned, by the best rotation, towards those of
            all users, so that one head can read either.
        """
        hidden = {int(row) for candidate in without for row in self._tastes.shown[candidate]}
        own = [rows - hidden for user, rows in self._tastes.chosen.items() if user in users]
        if len(frozenset().union(*own)) < 2:
            raise TrainingError(
                "a fold of the training users knows fewer than two photos",
                "Build the benchmark with more users, or change training.attention.folds.",
            )
        return self._make(own, frozenset(without), self.whole)

    def _make(
        self, chosen: Sequence[frozenset[int]], without: frozenset[int], target: Memory | None
    ) -> Memory:
        landmarks = self._landmarks(np.array(sorted(frozenset().union(*chosen)), np.int64))
        factors, popularity = self._factors(chosen, landmarks)
        if target is not None:
            factors = self._turned(factors, landmarks, target)
        return self._memory(landmarks, factors, popularity, without)

    def _landmarks(self, chosen: Rows) -> _Landmarks:
        """Make landmarks of the photos that users chose.

        Choice: every photo is one, while there are few enough; of more, clusters by k-means on the
            sphere, since a photo that only one user has says nothing of others.
        """
        import torch

        images = self._tastes.images[torch.from_numpy(chosen)]
        if len(chosen) <= self._settings.landmarks:
            return _Landmarks(images, {int(row): at for at, row in enumerate(chosen)})
        generator = torch.Generator().manual_seed(self._seed)
        start = torch.randperm(len(images), generator=generator)[: self._settings.landmarks]
        centres = images[start]
        for _ in range(_CLUSTER_ROUNDS):
            nearest = _nearest(images, centres)
            sums = torch.zeros_like(centres).index_add_(0, nearest, images)
            filled = sums.norm(dim=-1, keepdim=True) > 0
            centres = torch.where(filled, torch.nn.functional.normalize(sums, dim=-1), centres)
        used, nearest = _nearest(images, centres).unique(return_inverse=True)
        return _Landmarks(centres[used], dict(zip(chosen.tolist(), nearest.tolist(), strict=True)))

    def _factors(
        self, chosen: Sequence[frozenset[int]], landmarks: _Landmarks
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Factorise what goes together.

        Args:
            chosen: rows of the photos that users chose, user by user.
            landmarks: of these photos.

        Returns:
            (landmarks, 2 * factors), those of photos beside those of candidates; and (landmarks,)
            popularity.

        Source: Steck 2019, Equation 8, EASE: B = I - P diag(1 / P), P = (X'X + lambda I)^-1.
        """
        import torch

        chose = torch.zeros((len(chosen), len(landmarks.keys)), dtype=torch.float64)
        for user, rows in enumerate(chosen):
            chose[user, [landmarks.of_photo[row] for row in rows]] = 1
        counts = chose.sum(dim=1, keepdim=True)
        weights = (counts / counts.mean()).clamp(min=1e-9) ** -self._settings.user_power
        weighted = chose * weights
        gram = weighted.T @ weighted
        gram.diagonal().add_(self._settings.shrinkage)
        inverse = torch.linalg.inv(gram)
        goes_with = -inverse / inverse.diagonal()
        goes_with.fill_diagonal_(0)
        popularity = chose.sum(dim=0).log1p()
        return self._split(goes_with.float()), (popularity - popularity.mean()).float()

    def _split(self, goes_with: torch.Tensor) -> torch.Tensor:
        """Split a matrix into the factors of its rows and of its columns, side by side."""
        import torch

        wanted = self._shape.factors
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            most = min(wanted + _OVERSAMPLED, len(goes_with))
            left, sizes, right = torch.svd_lowrank(goes_with, most, niter=_ITERATIONS)
        signs = _signs(left)
        both = torch.zeros((len(goes_with), 2, wanted))
        count = min(wanted, len(sizes))
        both[:, 0, :count] = (left * signs * sizes.sqrt())[:, :count]
        both[:, 1, :count] = (right * signs * sizes.sqrt())[:, :count]
        return both.flatten(1)

    def _turned(self, factors: torch.Tensor, landmarks: _Landmarks, target: Memory) -> torch.Tensor:
        """Turn factors towards what another memory recalls (orthogonal Procrustes)."""
        import torch

        wanted = self._shape.factors
        texts = torch.zeros((len(landmarks.keys), 2 * self._shape.text_dims))
        of_candidates = target.recall_candidates(landmarks.keys, texts).by_image[:, :wanted]
        others = torch.cat([target.recall_photos(landmarks.keys), of_candidates])
        mine = torch.cat([factors[:, :wanted], factors[:, wanted:]])
        left, _, right = torch.linalg.svd(mine.T @ others)
        rotation = left @ right
        return torch.cat([factors[:, :wanted] @ rotation, factors[:, wanted:] @ rotation], dim=1)

    def _memory(
        self,
        landmarks: _Landmarks,
        factors: torch.Tensor,
        popularity: torch.Tensor,
        without: frozenset[int],
    ) -> Memory:
        """Solve for the values of landmarks, and of their texts."""
        import torch

        wanted, keys = self._shape.factors, landmarks.keys
        texts, described = self._texts(landmarks, without)
        of_candidates = torch.cat([factors[:, wanted:], popularity[:, None]], dim=1)
        memory = Memory(self._shape, len(keys), len(texts))
        values = self._solve(keys, torch.cat([factors[:, :wanted], of_candidates], dim=1))
        found = {
            **self._reductions.buffers,
            "image_keys": keys,
            "photo_values": values[:, :wanted],
            "candidate_values": values[:, wanted:],
            "text_keys": texts,
            "text_values": self._solve(texts, of_candidates[described]),
        }
        memory.load_state_dict(found)
        return memory.requires_grad_(requires_grad=False)

    def _texts(
        self, landmarks: _Landmarks, without: frozenset[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the mean texts of the candidates that show a landmark, and which landmarks have."""
        import torch

        pairs = {
            (landmarks.of_photo[int(row)], candidate)
            for candidate, rows in enumerate(self._tastes.shown)
            if candidate not in without
            for row in rows
            if int(row) in landmarks.of_photo
        }
        own = torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)
        sums = torch.zeros((len(landmarks.keys), self._tastes.texts.shape[1]))
        sums.index_add_(0, own[:, 0], self._tastes.texts[own[:, 1]])
        described = own[:, 0].unique()
        return torch.nn.functional.normalize(sums[described], dim=-1), described

    def _solve(self, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Solve (K + ridge I) w = values, K the attention of keys to each other."""
        import torch

        if len(keys) == 0:
            return values[:0]
        wide = keys.double()
        kernel = torch.exp(self._shape.sharpness * (wide @ wide.T - 1))
        kernel.diagonal().add_(self._settings.ridge)
        solved: torch.Tensor = torch.cholesky_solve(values.double(), torch.linalg.cholesky(kernel))
        return solved.float()


def principal_axes(vectors: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute mean and first principal axes.

    Args:
        vectors: (rows, dim) float32, at least one.
        count: of axes; those that there are not are zero.

    Returns:
        (dim,) and (dim, count) float32. Choice: the largest entry of an axis is positive, so that
        machines agree.
    """
    import torch

    wide = vectors.double()
    mean = wide.mean(dim=0)
    centred = wide - mean
    _, found = torch.linalg.eigh(centred.T @ centred)
    best = found.flip(1)[:, :count]
    axes = torch.zeros((vectors.shape[1], count), dtype=torch.float64)
    axes[:, : best.shape[1]] = best * _signs(best)
    return mean.float(), axes.float()


def _signs(columns: torch.Tensor) -> torch.Tensor:
    """Give the signs that make the largest entry of each column positive."""
    return columns.gather(0, columns.abs().argmax(dim=0, keepdim=True)).sign()


def _nearest(images: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    import torch

    parts = [(part @ centres.T).argmax(dim=1) for part in images.split(16_384)]
    return torch.cat(parts)
