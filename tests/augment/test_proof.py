from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from visuallens.augment.proof import find_traces


@given(
    content=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    spans=st.lists(st.tuples(st.integers(0, 299), st.integers(1, 40)), max_size=5),
    strangers=st.sets(st.binary(min_size=1, max_size=20), max_size=5),
)
def test_it_finds_what_searching_one_by_one_finds(
    content: bytes, cuts: list[int], spans: list[tuple[int, int]], strangers: set[bytes]
) -> None:
    traces = strangers | {content[start : start + size] for start, size in spans} - {b""}
    edges = [0, *sorted(cuts), len(content)]
    pieces = [content[low:high] for low, high in itertools.pairwise(edges)]
    assert find_traces(pieces, traces) == {trace for trace in traces if trace in content}


def test_thousands_of_patterns_are_searched_at_once() -> None:
    content = np.random.default_rng(0).bytes(4_000_000)
    present = {content[n : n + 64] for n in range(0, 3_900_000, 977)}
    absent = {np.random.default_rng(n).bytes(64) for n in range(1, 2000)}
    assert find_traces([content], present | absent) == present
