from __future__ import annotations

import math
from typing import Any

import pytest

from visuallens.models.server.labels import forms_of, single_tokens, within_limit
from visuallens.models.server.logprobs import added, by_id, entries_of, of_bytes


def entry(token: str, logprob: object, **more: object) -> dict[str, Any]:
    return {"token": token, "logprob": logprob} | more


@pytest.mark.parametrize("token", ["AB", "a", "A.", "  A", "\nA", "A ", "Ä", "", "token_id:65"])
def test_only_the_label_itself_counts(token: str) -> None:
    assert of_bytes([entry(token, -1.0)], "A") == []
    assert of_bytes([entry("?", -1.0, bytes=list(token.encode()))], "A") == []


@pytest.mark.parametrize("token", ["A", " A"])
def test_the_label_alone_or_after_a_space_counts(token: str) -> None:
    assert of_bytes([entry(token, -1.0)], "A") == [-1.0]
    assert of_bytes([entry("?", -1.0, bytes=list(token.encode()))], "A") == [-1.0]
    assert of_bytes([entry(token, -1.0, bytes=None)], "A") == [-1.0]


def test_ids_are_read_from_a_field_or_from_the_text() -> None:
    told = [entry("A", -1.0, id=65), entry("token_id:66", -2.0), entry("C", -3.0)]
    assert by_id(told) == {65: -1.0, 66: -2.0}
    assert by_id([entry("token_id:x", -1.0)]) == {}


@pytest.mark.parametrize("value", [None, -9999.0, -10000, math.nan, -math.inf, "-1"])
def test_a_value_that_is_none_is_not_said(value: object) -> None:
    assert math.isnan(by_id([entry("A", value, id=65)])[65])


def test_probabilities_are_added() -> None:
    # 0.25 + 0.5 = 0.75
    assert added([math.log(0.25), math.log(0.5), math.nan]) == pytest.approx(math.log(0.75))
    assert added([-2000.0, -2000.0]) == pytest.approx(-2000 + math.log(2))
    assert math.isnan(added([]))
    assert math.isnan(added([math.nan]))


def test_the_token_taken_counts_once() -> None:
    taken = entry("A", -0.1)
    with_it = taken | {"top_logprobs": [entry("A", -0.1), entry("B", -3.0)]}
    without = taken | {"top_logprobs": [entry("B", -3.0)]}
    for content, count in ((with_it, 2), (without, 2), (taken, 1)):
        assert len(entries_of({"logprobs": {"content": [content]}})) == count


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}, [], "x"])
def test_an_answer_without_log_probabilities_has_no_entries(logprobs: object) -> None:
    assert entries_of({"logprobs": logprobs}) == []
    assert entries_of({}) == []


@pytest.mark.anyio
async def test_forms_of_letters_in_two_kinds_of_vocabulary() -> None:
    byte_level = {"A": [1], " A": [2], "\nA": [10, 1], "\n": [10], "B": [3], " B": [9, 3],
                  "\nB": [10, 3], "C": [7, 8], " C": [7, 8, 9], "\nC": [10, 7, 8]}  # fmt: skip
    pieces = {"A": [5], " A": [6, 5], "\nA": [6, 10, 4], "\n": [6, 10]}

    async def first(text: str) -> list[int]:
        return byte_level[text]

    async def second(text: str) -> list[int]:
        return pieces[text]

    assert await forms_of(first, "ABC") == {"A": (1, 2), "B": (3,)}
    assert await forms_of(second, "A") == {"A": (5, 4)}
    assert await single_tokens(first, ["A", "B"]) == {"A": (1,), "B": (3,)}
    assert await single_tokens(first, ["A", "C"]) is None


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_too_many_ids_keep_the_first_of_each() -> None:
    forms = {"A": (1, 2), "B": (3, 4)}
    assert within_limit(("A", "B"), forms, 4) == [(1, 2), (3, 4)]
    assert within_limit(("A", "B"), forms, 3) == [(1,), (3,)]


@pytest.mark.parametrize("listed", [[300], [-1], [10**30], ["A"], [None], [1.5]])
def test_bytes_that_are_none_are_an_error(listed: list[object]) -> None:
    with pytest.raises(ValueError, match="byte"):
        of_bytes([entry("A", -1.0, bytes=listed)], "A")


def test_half_a_sign_and_endless_numbers_are_no_error() -> None:
    assert of_bytes([entry("\ud83d", -1.0)], "A") == []
    assert math.isnan(of_bytes([entry("A", 10**400)], "A")[0])
    assert by_id([entry("token_id:" + "9" * 5000, -1.0)]) == {}
