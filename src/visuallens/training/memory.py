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
        shown: of each candidate, the rows of its photos.
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


class MemoryMaker:
    """Makes memories of some users, all with comparable factors.

    Args:
        tastes: of all training users.
        reductions: that `tastes` was reduced with.
        shape: sizes.
        settings: of the closed form.
        seed: of clusters and factors.

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
        chosen = sorted(frozenset().union(*tastes.chosen.values()))
        if len(chosen) < 2:
            raise TrainingError(
                "training users chose fewer than two photos that are indexed",
                "Index the benchmark's photos, and check the train split.",
            )
        self._keys, self._landmark_of = self._landmarks(np.array(chosen, np.int64))
        self._full: torch.Tensor | None = None

    def make(self, users: Collection[str] | None = None, without: Collection[int] = ()) -> Memory:
        """Make the memory of some users.

        Args:
            users: that it knows; None: all.
            without: candidates that it does not know, by row: none of their photos is a landmark.

        Returns:
            The memory.

        Choice: factors of a memory of some users are turned, by the best rotation, towards those of
            all users, so that one head can read either.
        """
        known = [
            rows for user, rows in self._tastes.chosen.items() if users is None or user in users
        ]
        kept = self._kept(known, without)
        factors, popularity = self._factors(known, kept)
        return self._memory(kept, factors, popularity)

    def _landmarks(self, chosen: Rows) -> tuple[torch.Tensor, dict[int, int]]:
        """Give the keys of landmarks, and the landmark of each chosen photo.

        Choice: every photo is one, while there are few enough; of more, clusters by k-means on the
            sphere, since a photo that only one user has says nothing of others.
        """
        import torch

        images = self._tastes.images[torch.from_numpy(chosen)]
        if len(chosen) <= self._settings.landmarks:
            return images, {int(row): at for at, row in enumerate(chosen)}
        generator = torch.Generator().manual_seed(self._seed)
        start = torch.randperm(len(images), generator=generator)[: self._settings.landmarks]
        centres = images[start]
        for _ in range(_CLUSTER_ROUNDS):
            nearest = _nearest(images, centres)
            sums = torch.zeros_like(centres).index_add_(0, nearest, images)
            filled = sums.norm(dim=-1, keepdim=True) > 0
            centres = torch.where(filled, torch.nn.functional.normalize(sums, dim=-1), centres)
        nearest = _nearest(images, centres)
        return centres, dict(zip(chosen.tolist(), nearest.tolist(), strict=True))

    def _kept(self, known: Sequence[frozenset[int]], without: Collection[int]) -> Rows:
        """List the landmarks that the users chose and that belong to no candidate left out."""
        of_photo = self._landmark_of
        found = {of_photo[row] for rows in known for row in rows}
        hidden = {
            of_photo[int(row)]
            for candidate in without
            for row in self._tastes.shown[candidate]
            if int(row) in of_photo
        }
        kept = np.array(sorted(found - hidden), np.int64)
        if len(kept) < 2:
            raise TrainingError(
                "a fold of the training users knows fewer than two photos",
                "Build the benchmark with more users, or lower training.attention.folds.",
            )
        return kept

    def _factors(
        self, known: Sequence[frozenset[int]], kept: Rows
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Factorise what goes together.

        Args:
            known: rows of the photos that users chose, user by user.
            kept: landmarks that are known.

        Returns:
            (kept, 2 * factors), those of photos beside those of candidates; and (kept,) popularity.

        Source: Steck 2019, Equation 8, EASE: B = I - P diag(1 / P), P = (X'X + lambda I)^-1.
        """
        import torch

        at = np.full(len(self._keys), -1, np.int64)
        at[kept] = np.arange(len(kept))
        chose = torch.zeros((len(known), len(kept)), dtype=torch.float64)
        for user, rows in enumerate(known):
            mine = at[[self._landmark_of[row] for row in rows]]
            chose[user, torch.from_numpy(mine[mine >= 0])] = 1
        counts = chose.sum(dim=1, keepdim=True)
        weights = (counts / counts.mean()).clamp(min=1e-9) ** -self._settings.user_power
        weighted = chose * weights
        gram = weighted.T @ weighted
        gram.diagonal().add_(self._settings.shrinkage)
        inverse = torch.linalg.inv(gram)
        goes_with = -inverse / inverse.diagonal()
        goes_with.fill_diagonal_(0)
        factors = self._turned(self._split(goes_with.float()), kept)
        popularity = chose.sum(dim=0).log1p()
        return factors, (popularity - popularity.mean()).float()

    def _split(self, goes_with: torch.Tensor) -> torch.Tensor:
        """Split a matrix into the factors of its rows and of its columns, side by side."""
        import torch

        wanted = self._shape.factors
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            most = min(wanted + _OVERSAMPLED, len(goes_with))
            left, sizes, right = torch.svd_lowrank(goes_with, most, niter=_ITERATIONS)
        both = torch.zeros((len(goes_with), 2, wanted))
        count = min(wanted, len(sizes))
        both[:, 0, :count] = (left * sizes.sqrt())[:, :count]
        both[:, 1, :count] = (right * sizes.sqrt())[:, :count]
        return both.flatten(1)

    def _turned(self, factors: torch.Tensor, kept: Rows) -> torch.Tensor:
        """Turn factors towards those of all users (orthogonal Procrustes)."""
        import torch

        wanted = self._shape.factors
        if self._full is None:
            self._full = torch.zeros((len(self._keys), 2 * wanted))
            self._full[torch.from_numpy(kept)] = factors
            return factors
        mine = factors.reshape(-1, wanted)
        others = self._full[torch.from_numpy(kept)].reshape(-1, wanted)
        left, _, right = torch.linalg.svd(mine.T @ others)
        turned: torch.Tensor = mine @ (left @ right)
        return turned.reshape(len(factors), 2 * wanted)

    def _memory(self, kept: Rows, factors: torch.Tensor, popularity: torch.Tensor) -> Memory:
        """Solve for the values of landmarks, and of their texts."""
        import torch

        wanted = self._shape.factors
        keys = self._keys[torch.from_numpy(kept)]
        texts, described = self._texts(kept)
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

    def _texts(self, kept: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the mean texts of the candidates that show a landmark, and which landmarks have."""
        import torch

        at = np.full(len(self._keys), -1, np.int64)
        at[kept] = np.arange(len(kept))
        pairs = {
            (int(at[self._landmark_of[int(row)]]), candidate)
            for candidate, rows in enumerate(self._tastes.shown)
            for row in rows
            if int(row) in self._landmark_of and at[self._landmark_of[int(row)]] >= 0
        }
        own = torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)
        sums = torch.zeros((len(kept), self._tastes.texts.shape[1]))
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
    largest = best.gather(0, best.abs().argmax(dim=0, keepdim=True))
    axes = torch.zeros((vectors.shape[1], count), dtype=torch.float64)
    axes[:, : best.shape[1]] = best * largest.sign()
    return mean.float(), axes.float()


def _nearest(images: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    import torch

    parts = [(part @ centres.T).argmax(dim=1) for part in images.split(16_384)]
    return torch.cat(parts)
