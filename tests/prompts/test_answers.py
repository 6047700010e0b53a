from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuallens.prompts import (
    has_thinking,
    parse_aspect_words,
    parse_caption,
    parse_permutation,
    parse_selection,
    strip_thinking,
)


@pytest.mark.parametrize(
    ("answer", "expected", "thinks"),
    [
        ("A dog.", "A dog.", False),
        ("", "", False),
        ("<think>hm</think>A dog.", "A dog.", True),
        ("<THINK>\nhm\n</THINK>\n\nA dog.", "A dog.", True),
        ("<think>hm", "", True),
        ("A dog. <think>hm", "A dog.", True),
        ("hm, a cat?</think>\nA dog.", "A dog.", True),
        ("<think>\n\n</think>\n\nA dog.", "A dog.", False),
        ("</think>A dog.", "A dog.", False),
        ("<think>", "", True),
        ("<think>a <think>b</think> c</think>A dog.", "A dog.", True),
        ("<thinking>hm</thinking> A dog.", "A dog.", True),
        ("<reasoning>hm</reasoning>A dog.", "A dog.", True),
        ("[THINK]hm[/THINK]A dog.", "A dog.", True),
        ("◁think▷hm◁/think▷A dog.", "A dog.", True),
        ("<seed:think>hm</seed:think>A dog.", "A dog.", True),
        ("<unused94>thought hm<unused95>A dog.", "A dog.", True),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
            "A dog.",
            "A dog.",
            True,
        ),
        ("I think a <b>dog</b>.", "I think a <b>dog</b>.", False),
    ],
)
def test_thinking(answer: str, expected: str, thinks: bool) -> None:
    assert strip_thinking(answer) == expected
    assert has_thinking(answer) is thinks


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "[THINK]"]), max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_mark_of_thinking_is_left(parts: list[str]) -> None:
    assert not has_thinking(strip_thinking("".join(parts)))


@pytest.mark.parametrize(
    "unit",
    [
        "<think>", "</think>", "(", "[", "{", "a ", " ", "sure, ", "- ", "<", "*", "and ", "1. ",
        ":", "A > ", "&lt;", "\n", "> ", "a", '"', "- a : b\n", "_a",
    ],
)  # fmt: skip
def test_very_long_answers_take_no_time(unit: str) -> None:
    answer = unit * (60_000 // len(unit))
    start = time.perf_counter()
    parse_caption(answer)
    parse_aspect_words(answer)
    parse_selection(answer, ("rust", "a"))
    parse_permutation(answer, ("A", "B"))
    assert time.perf_counter() - start < 3
