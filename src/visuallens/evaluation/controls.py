"""Controls: rankers that look at no pixels, which a ranker of photos has to be compared with.

They are told what each photo of a history shows, by id, and learn from the train split alone.

Source: §6.2 and Table 2, naive baselines; the others are ours. If popularity, or the history of
somebody else, scores as well as a ranker, there is no personalisation; item-kNN and EASE say how
much of it the ids alone would give.
Choice: a user's own train examples never speak for them, so that runs of the train split, or of
    splits that share users with it, are not told their ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.folder import Benchmark
from visuallens.evaluation.items import ItemSets, items_of, train_sets
from visuallens.rankers.base import to_ranking
from visuallens.rankers.baselines import RandomRanker, RatingRanker
from visuallens.types import Ranking, RankingRequest

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MAX_ITEMS = 10_000
"""Choice: EASE inverts a matrix of items by items: 800 MB for the 10,000 that most users have."""

_USERS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """How controls learn.

    Attributes:
        ease_ridge: lambda of EASE; larger trusts popular items more.
        ease_power: in the squared error that EASE minimises, the set of a user with n items weighs
            (n / mean n) to this power.

    Choice: both were chosen on the dev split of MovieLens-V.
    """

    ease_ridge: float = 1000.0
    ease_power: float = -0.25


class Random(RandomRanker):
    """The order of chance; see `chance.py` for its exact figures."""

    def __init__(self, benchmark: Benchmark, settings: ControlSettings) -> None:
        del benchmark, settings
        super().__init__()


class Rating(RatingRanker):
    """The best rated first."""

    def __init__(self, benchmark: Benchmark, settings: ControlSettings) -> None:
        del benchmark, settings
        super().__init__()


class Nearest:
    """The candidate in the middle of the candidates first, which they may be drawn around.

    Choice: the middle is the mean direction, or on a line, such as log popularity, the median.
    """

    name = "nearest"

    def __init__(self, benchmark: Benchmark, settings: ControlSettings) -> None:
        del settings
        self._positions = benchmark.positions()

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`; candidates without a position come last."""
        found = [self._positions.get(candidate.id) for candidate in request.candidates]
        known = [one for one in found if one is not None and not np.isnan(one).any()]
        if not known:
            return to_ranking(request, self.name, [0.0] * len(found))
        points = _points(np.stack(known))
        middle = np.median(points, axis=0) if points.shape[1] == 1 else points.mean(axis=0)
        if points.shape[1] > 1:
            middle = middle / max(float(np.linalg.norm(middle)), 1e-12)
        nearness = iter((-np.linalg.norm(points - middle, axis=1)).tolist())
        scores = [
            -np.inf if one is None or np.isnan(one).any() else next(nearness) for one in found
        ]
        return to_ranking(request, self.name, scores)


def _points(positions: Floats) -> Floats:
    """Place degrees on the unit sphere; what is on a line stays as it is."""
    if positions.shape[1] == 1:
        return positions
    latitude, longitude = np.radians(positions).T
    away = np.cos(latitude)
    return np.column_stack((away * np.cos(longitude), away * np.sin(longitude), np.sin(latitude)))


class Popularity:
    """What most train users have comes first.

    Choice: how many distinct train users have the candidate, be it as a ground truth or in a
        history; not how many examples name it, for those of an active user would count often.
    """

    name = "popularity"

    def __init__(self, benchmark: Benchmark, settings: ControlSettings) -> None:
        del settings
        self._sets = train_sets(benchmark)

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`; what no train user has is ordered by the seed, last."""
        counts = self._sets.counts.copy()
        counts[self._sets.of_user(request.history.user_id)] -= 1
        numbers = _numbers(self._sets, [one.id for one in request.candidates])
        return to_ranking(request, self.name, np.append(counts, 0.0)[numbers].tolist())


class ItemKnn:
    """What train users have who have what the history shows.

    The cosine between two items over the sets of train users, summed over the items of the history.

    Source: Sarwar et al. 2001, item-based collaborative filtering.
    """

    name = "item-knn"

    def __init__(self, benchmark: Benchmark, settings: ControlSettings) -> None:
        del settings
        self._benchmark, self._sets = benchmark, train_sets(benchmark)

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`; what no train user has is ordered by the seed, last."""
        sets, user_id = self._sets, request.history.user_id
        own = sets.of_user(user_id)
        counts = sets.counts.copy()
        counts[own] -= 1
        weights = 1 / np.sqrt(np.maximum(counts, 1.0))
        history = _known(sets, items_of(request.history, self._benchmark))
        closeness = np.zeros(len(sets.users))
        for item in history.tolist():
            closeness[sets.owners_of(item)] += weights[item]
        if len(own):
            closeness[sets.users[user_id]] = 0.0
        shown = set(history.tolist())
        scores = []
        for number in _numbers(sets, [one.id for one in request.candidates]).tolist():
            if number == len(sets.items):
                scores.append(0.0)
                continue
            score = float(closeness[sets.owners_of(number)].sum() * weights[number])
            # An item says nothing about itself.
            scores.append(score - counts[number] * weights[number] ** 2 * (number in shown))
        return to_ranking(request, self.name, scores)


class Ease:
    """A linear model from the items of a user to each item, that no item may explain itself.

    Source: Steck 2019, "Embarrassingly shallow autoencoders for sparse data", equation 8.
    Choice: users with many items weigh less (`ControlSettings.ease_power`), for their sets say
        little about each item.
    """

    name = "ease"

    def __init__(self, benchmark: Benchmark, settings: ControlSettings) -> None:
        self._benchmark, self._sets = benchmark, train_sets(benchmark)
        sets = self._sets
        kept = np.sort(np.argsort(-sets.counts, kind="stable")[:_MAX_ITEMS])
        self._column = np.full(len(sets.items) + 1, -1, np.int64)
        self._column[kept] = np.arange(len(kept))
        self._scales = (sets.sizes / sets.sizes.mean()) ** (settings.ease_power / 2)
        gram = np.eye(len(kept)) * settings.ease_ridge
        for first in range(0, len(sets.users), _USERS_AT_ONCE):
            rows = self._rows(np.arange(first, min(first + _USERS_AT_ONCE, len(sets.users))))
            gram += rows.T @ rows
        self._inverse: Floats = np.asarray(np.linalg.inv(gram), np.float64)

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`; what no train user has is ordered by the seed, beside what is 0."""
        history = self._columns(items_of(request.history, self._benchmark))
        history = history[history >= 0]
        columns = self._columns([candidate.id for candidate in request.candidates])
        there = np.flatnonzero(columns >= 0)
        chosen = columns[there]
        between = self._inverse[np.ix_(history, chosen)]
        diagonal = self._inverse[chosen, chosen]
        user = self._sets.users.get(request.history.user_id)
        if user is not None:
            # Without the user's own set: Sherman and Morrison 1950.
            (row,) = self._rows(np.array([user]))
            changed = self._inverse @ row
            share = changed / (1 - row @ changed)
            between = between + np.outer(changed[history], share[chosen])
            diagonal = diagonal + changed[chosen] * share[chosen]
        between = np.where(history[:, None] == chosen[None], 0.0, between)
        scores = np.zeros(len(columns))
        scores[there] = -(between / diagonal).sum(axis=0)
        return to_ranking(request, self.name, scores.tolist())

    def _rows(self, users: Ints) -> Floats:
        """Write the sets of some users, whose numbers ascend, as scaled rows, (users, columns)."""
        start, end = np.searchsorted(self._sets.owners, (users[0], users[-1] + 1))
        columns = self._column[self._sets.owned[start:end]]
        rows = np.zeros((len(users), int(self._column.max()) + 1))
        at = self._sets.owners[start:end] - users[0]
        rows[at[columns >= 0], columns[columns >= 0]] = 1.0
        scaled: Floats = rows * self._scales[users][:, None]
        return scaled

    def _columns(self, ids: Sequence[str]) -> Ints:
        return self._column[_numbers(self._sets, ids)]


def _numbers(sets: ItemSets, ids: Sequence[str]) -> Ints:
    """Number items; what no set holds gets the number after the last."""
    return np.array([sets.items.get(one, len(sets.items)) for one in ids], np.int64)


def _known(sets: ItemSets, ids: Sequence[str]) -> Ints:
    numbers = _numbers(sets, ids)
    return numbers[numbers < len(sets.items)]
