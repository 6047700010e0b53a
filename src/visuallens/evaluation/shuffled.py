"""The control *shuffled history*: every user is asked about with the photos of somebody else.

A ranker that answers as well from a stranger's photos has learned what is liked, not who likes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.errors import EvaluationError
from visuallens.types import Photo, RankingRequest, VisualHistory

_ALIKE = 8
"""Users of a circle; the last ones make theirs larger."""


class ShuffledHistories:
    """Exchanges the history of each request for that of another user of the same split.

    Args:
        benchmark: an open one.
        split: "train", "dev" or "test".
        seed: decides who gets whose history.

    Raises:
        EvaluationError: the split has fewer than two users.

    Choice: users with about as many photos, eight or a few more, stand in a circle that the seed
        draws and get the history of the next one, so each history is given once and nobody keeps
        theirs. A user gets the same one in all questions; only where nothing of it can be shown do
        they get that of the user after.
    Choice: a history is cut to as many photos as the user's own has, the oldest, as it once was, so
        that its length is as little of the difference as can be.
    Choice: left out are photos that the user took, and photos that show a candidate of the request
        or, where the benchmark does not say what photos show, are among its own: no history of a
        benchmark shows one, so a stranger's would point at the answer. Pictures that both histories
        show, such as posters, stay: without them the stranger's taste would be the opposite of the
        user's.
    """

    def __init__(self, benchmark: Benchmark, split: str, seed: int) -> None:
        self._benchmark = benchmark
        self._histories = _longest(benchmark, split)
        users = sorted(self._histories)
        if len(users) < 2:
            raise EvaluationError(
                f"the {split} split of {benchmark.name} has {len(users)} user with questions, so "
                "there is no other history to give",
                "Choose another --split, or leave --shuffled-history out.",
            )
        users.sort(key=lambda user_id: len(self._histories[user_id]))
        generator = np.random.default_rng((seed, 6))
        self._circles: list[list[str]] = []
        for alike in np.array_split(np.arange(len(users)), max(1, len(users) // _ALIKE)):
            drawn: list[int] = generator.permutation(alike).tolist()
            self._circles.append([users[at] for at in drawn])
        self._circle_of = {one: at for at, circle in enumerate(self._circles) for one in circle}

    def __call__(self, request: RankingRequest) -> RankingRequest:
        """Exchange the history of a request.

        Args:
            request: of the split.

        Returns:
            The same request with a stranger's history, under the user's own id.

        Raises:
            EvaluationError: no other user has a photo that can be shown.
        """
        for giver in self._givers(request.history.user_id):
            photos = self._shown(request, self._histories[giver])
            if photos:
                return replace(request, history=VisualHistory(request.history.user_id, photos))
        raise EvaluationError(
            f"{request.id}: no other user has a photo that shows none of the candidates",
            "Choose another --split, or leave --shuffled-history out.",
        )

    def giver_of(self, user_id: str) -> str:
        """Name whose history a user gets."""
        return next(self._givers(user_id))

    def _givers(self, user_id: str) -> Iterator[str]:
        """Yield all others, those of the own circle first, then those of the next ones."""
        own = self._circle_of[user_id]
        for at in (*range(own, len(self._circles)), *range(own)):
            circle = self._circles[at]
            turn = circle.index(user_id) + 1 if at == own else 0
            yield from (one for one in (*circle[turn:], *circle[:turn]) if one != user_id)

    def _shown(self, request: RankingRequest, history: VisualHistory) -> tuple[Photo, ...]:
        offered = {candidate.id for candidate in request.candidates}
        pictured = {path for candidate in request.candidates for path in candidate.photos}
        user_id = request.history.user_id
        allowed = [
            photo
            for photo in history.photos
            if self._benchmark.shown_in(photo.id) not in offered
            and photo.path not in pictured
            and self._benchmark.taken_by(photo.id) != user_id
        ]
        return tuple(allowed[: len(request.history)])


def _longest(benchmark: Benchmark, split: str) -> Mapping[str, VisualHistory]:
    """Find the longest history of each user; the others are its beginnings."""
    found: dict[str, VisualHistory] = {}
    for request in benchmark.requests(split):
        history = request.history
        if len(history) > len(found.get(history.user_id, ())):
            found[history.user_id] = history
    return found
