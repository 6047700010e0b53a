from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmark.tiny import write_tiny
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.folder import Benchmark
from visuallens.errors import EvaluationError
from visuallens.evaluation.shuffled import ShuffledHistories
from visuallens.types import RankingRequest


def shown(request: RankingRequest) -> list[str]:
    return [photo.id for photo in request.history.photos]


def test_everybody_gets_the_history_of_one_other_user(tmp_path: Path) -> None:
    benchmark = Benchmark(write_tiny(tmp_path / "tiny", photos=False, examples=90, users=15))
    shuffled = ShuffledHistories(benchmark, "train", 0)
    users = {request.history.user_id for request in benchmark.requests("train")}
    givers = {user: shuffled.giver_of(user) for user in users}
    assert set(givers.values()) == users
    assert all(user != giver for user, giver in givers.items())
    longest: dict[str, list[str]] = {}
    for request in benchmark.requests("train"):
        longest[request.history.user_id] = max(
            longest.get(request.history.user_id, []), shown(request), key=len
        )
    for request in benchmark.requests("train"):
        given = shuffled(request)
        user = request.history.user_id
        assert set(shown(given)) <= set(longest[givers[user]])
        assert not set(shown(given)) & set(longest[user])
        assert len(given.history) == min(len(request.history), len(longest[givers[user]]))
        # All else is as it was.
        assert (given.id, given.seed, given.question) == (
            request.id,
            request.seed,
            request.question,
        )
        assert given.candidates == request.candidates
        assert given.history.user_id == user


def test_the_histories_that_are_exchanged_are_about_as_long(tmp_path: Path) -> None:
    asks = [Ask(f"u{n:02d}", [100] * 4 ** (n // 10), [4, 5], [5]) for n in range(20)]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    shuffled = ShuffledHistories(toy, "test", 0)
    for number in range(20):
        giver = int(shuffled.giver_of(f"u{number:02d}").removeprefix("u"))
        assert giver // 10 == number // 10


def test_the_seed_decides_whose(tmp_path: Path) -> None:
    benchmark = Benchmark(write_tiny(tmp_path / "tiny", photos=False, examples=90, users=15))
    users = {request.history.user_id for request in benchmark.requests("train")}

    def givers(seed: int) -> dict[str, str]:
        shuffled = ShuffledHistories(benchmark, "train", seed)
        return {user: shuffled.giver_of(user) for user in users}

    assert givers(0) == givers(0) != givers(1)


def test_nothing_of_the_answer_or_of_the_user_comes_along(tmp_path: Path) -> None:
    # b shows 5, which is a candidate of a, 6, which a took, and 7.
    asks = [Ask("a", [1, 2, 3], [4, 5], [5]), Ask("b", [5, 6, 7], [1, 8], [8])]
    toy = write_toy(tmp_path / "toy", {"test": asks}, takers={6: "a", 7: "b"})
    first, second = map(ShuffledHistories(toy, "test", 0), toy.requests("test"))
    assert shown(first) == ["p7"]
    # a shows 1, which is a candidate of b, 2 and 3.
    assert shown(second) == ["p2", "p3"]


def test_photos_of_candidates_stay_out_where_nobody_says_what_photos_show(tmp_path: Path) -> None:
    # p5, in the history of b, is a photo of a's candidate 5; p1, of a, is one of b's candidate 8.
    asks = [Ask("a", [1, 2, 3], [4, 5], [5]), Ask("b", [5, 6, 7], [8, 9], [8])]
    toy = write_toy(tmp_path / "toy", {"test": asks}, linked=False, pictures={5: [5], 8: [1]})
    first, second = map(ShuffledHistories(toy, "test", 0), toy.requests("test"))
    assert shown(first) == ["p6", "p7"]
    assert shown(second) == ["p2", "p3"]


def test_the_next_user_helps_out_where_nothing_is_left(tmp_path: Path) -> None:
    asks = [
        Ask("a", [1], [4, 5], [5]),
        Ask("b", [4, 5], [8, 9], [8]),
        Ask("c", [4, 7], [8, 9], [8]),
    ]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    for seed in range(4):
        request = next(toy.requests("test"))
        assert shown(ShuffledHistories(toy, "test", seed)(request)) == ["p7"]


def test_where_there_is_nobody_else_it_is_said(tmp_path: Path) -> None:
    alone = write_toy(tmp_path / "alone", {"test": [Ask("a", [1], [4, 5], [5])]})
    with pytest.raises(EvaluationError, match="has 1 user with questions"):
        ShuffledHistories(alone, "test", 0)
    asks = [Ask("a", [1], [4, 5], [5]), Ask("b", [4, 5], [8, 9], [8])]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    with pytest.raises(EvaluationError, match="no other user has a photo"):
        ShuffledHistories(toy, "test", 0)(next(toy.requests("test")))
