from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.toy import Ask, write_toy

from visuallens.errors import EvaluationError
from visuallens.evaluation.annotation.sample import draw_requests, draw_rows, spread

USERS = np.array(["a", "b", "a", "c", "a", "a", "c"], np.object_)


@pytest.mark.parametrize("seed", range(20))
def test_every_user_asks_once_before_anybody_asks_twice(seed: int) -> None:
    rows = draw_rows(USERS, 7, seed)
    assert sorted(rows.tolist()) == list(range(7))
    asked = [str(one) for one in USERS[rows]]
    # a asks four questions, b one and c two: all three, then a and c, then a alone.
    assert sorted(asked[:3]) == ["a", "b", "c"]
    assert sorted(asked[3:5]) == ["a", "c"]
    assert asked[5:] == ["a", "a"]


def test_a_larger_sample_begins_with_the_smaller_one() -> None:
    assert draw_rows(USERS, 3, 1).tolist() == draw_rows(USERS, 6, 1).tolist()[:3]


def test_users_are_as_likely_and_so_are_the_questions_of_one() -> None:
    users = np.array(["busy"] * 9 + ["calm"], np.object_)
    drawn = Counter(int(draw_rows(users, 1, seed)[0]) for seed in range(2000))
    # 1,000 expected with a deviation of 22, then 111 of each with one of 10.
    assert 900 < drawn[9] < 1100
    assert all(60 < drawn[row] < 160 for row in range(9))


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (1, "i"),
        (2, "ia"),
        (3, "iea"),  # 8, 4, 0
        (4, "ifda"),  # 8, 5.3, 2.7, 0
        (9, "ihgfedcba"),
        (64, "ihgfedcba"),
    ],
)
def test_photos_are_spread_from_the_newest_to_the_oldest(count: int, shown: str) -> None:
    assert "".join(spread("abcdefghi", count)) == shown


def test_no_history_shows_nothing() -> None:
    assert spread((), 3) == ()


@pytest.mark.parametrize("length", range(1, 40))
def test_no_photo_is_shown_twice(length: int) -> None:
    for count in range(1, length + 1):
        assert len(set(spread(range(length), count))) == count


@pytest.mark.parametrize(("sample", "warned"), [(2, False), (3, True)])
def test_users_who_ask_twice_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sample: int, warned: bool
) -> None:
    asks = [Ask(user, [9], [1, 2, 3], [2]) for user in ("ada", "bo", "ada")]
    draw_requests(write_toy(tmp_path / "toy", {"test": asks}), "test", sample, 0)
    assert ("With --sample 2 nobody does" in caplog.text) == warned


def test_requests_come_in_the_drawn_order(tmp_path: Path) -> None:
    asks = [Ask(f"user-{at}", [9], [1, 2, 3], [2], seed=at) for at in range(8)]
    toy = write_toy(tmp_path / "toy", {"test": [*asks, Ask("none", [9], [], [1])]})
    expected = {one.id: one for one in toy.requests("test")}
    requests = draw_requests(toy, "test", 8, 3)
    ids = [one.id for one in requests]
    # Nobody can answer the question without candidates.
    assert sorted(ids) == [f"test-{at}" for at in range(8)]
    assert ids != sorted(ids)
    assert [expected[one] for one in ids] == list(requests)
    assert [one.id for one in draw_requests(toy, "test", 3, 3)] == ids[:3]
    assert [one.id for one in draw_requests(toy, "test", 8, 4)] != ids
    with pytest.raises(EvaluationError, match="has 8 examples, not 9"):
        draw_requests(toy, "test", 9, 0)
