"""The proof of forgetting: thousands of byte patterns searched for in one pass over a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_KEY_BYTES = 8
_CHUNK_BYTES = 1 << 24
_TABLE_BITS = 22
# Fibonacci hashing: 2^64 over the golden ratio spreads keys that differ in few bits.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def find_traces(content: Iterable[bytes], traces: Iterable[bytes]) -> set[bytes]:
    """Find which byte patterns occur in a stream of bytes.

    Args:
        content: the stream in pieces; a pattern across two pieces is found too.
        traces: the patterns; empty ones are ignored.

    Returns:
        Those that occur.

    Choice: every trace is searched for, since a sample would prove nothing of the others. The last
        eight bytes of each pattern are its key (paths of one folder begin alike); a table of the
        hashed keys rules out nearly all positions at once, so that the time depends on the size
        of the file and hardly on the number of patterns.
    """
    wanted = {trace for trace in traces if trace}
    search = _Search({trace for trace in wanted if len(trace) >= _KEY_BYTES})
    short = {trace for trace in wanted if len(trace) < _KEY_BYTES}
    overlap = max((len(trace) for trace in wanted), default=1) - 1
    found: set[bytes] = set()
    tail = b""
    for piece in content:
        window = tail + piece
        found |= search.find(window)
        found.update(trace for trace in short if trace in window)
        tail = window[-overlap:] if overlap else b""
    return found


def read_pieces(path: Path) -> Iterator[bytes]:
    """Read a file piece by piece; a missing one has none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


class _Search:
    """Patterns of at least eight bytes, prepared for many windows."""

    def __init__(self, traces: set[bytes]) -> None:
        self._traces = traces
        self._lengths: dict[int, set[int]] = defaultdict(set)
        for trace in traces:
            self._lengths[int.from_bytes(trace[-_KEY_BYTES:], "little")].add(len(trace))
        self._keys = np.array(sorted(self._lengths), np.uint64)
        self._table = np.zeros(1 << _TABLE_BITS, np.bool_)
        self._table[_hash(self._keys)] = True

    def find(self, window: bytes) -> set[bytes]:
        """Find the patterns that lie completely within a window."""
        found: set[bytes] = set()
        for shift in range(_KEY_BYTES if len(self._keys) else 0):
            count = (len(window) - shift) // _KEY_BYTES
            if count < 1:
                break
            words = np.frombuffer(window, np.dtype("<u8"), count, shift)
            maybe = np.flatnonzero(self._table[_hash(words)])
            hits = maybe[np.isin(words[maybe], self._keys)]
            for end in (hits * _KEY_BYTES + shift + _KEY_BYTES).tolist():
                key = int.from_bytes(window[end - _KEY_BYTES : end], "little")
                pieces = (window[end - n : end] for n in self._lengths[key] if n <= end)
                found.update(piece for piece in pieces if piece in self._traces)
        return found


def _hash(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash words to places in the table."""
    return (words * _SPREAD) >> np.uint64(64 - _TABLE_BITS)
