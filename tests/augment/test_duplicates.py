from __future__ import annotations

import numpy as np
import pytest

from visuallens.augment import duplicates
from visuallens.augment.duplicates import burst_groups, find_moments, picture_groups, repeated


def groups_of(labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[set[int]]:
    return sorted(
        ({int(row) for row in np.flatnonzero(labels == label)} for label in np.unique(labels)),
        key=min,
    )


def test_pictures_within_the_bits_are_the_same() -> None:
    # 0b0 and 0b111 differ in 3 bits, 0b111 and 0b1111111 in 4, 0b0 and 0b1111111 in 7.
    hashes = np.array([0, 0b111, 0b1111111, 0xFF << 56, 0], np.uint64)
    assert groups_of(picture_groups(hashes, 3)) == [{0, 1, 4}, {2}, {3}]
    assert groups_of(picture_groups(hashes, 0)) == [{0, 4}, {1}, {2}, {3}]


@pytest.mark.parametrize("most_pairs", [20, 1 << 21])
def test_bands_find_what_comparing_all_pairs_finds(
    monkeypatch: pytest.MonkeyPatch, most_pairs: int
) -> None:
    monkeypatch.setattr(duplicates, "_MOST_PAIRS", most_pairs)
    generator = np.random.default_rng(0)
    base = generator.integers(0, 2**63, 150, dtype=np.uint64)
    flips = np.uint64(1) << generator.integers(0, 64, (150, 6), dtype=np.uint64)
    near = base ^ np.bitwise_xor.reduce(flips, axis=1)
    hashes = np.concatenate([base, near])
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = np.arange(300)
    while True:  # join each photo with the least of its neighbours until nothing changes
        joined = np.where(distances <= 6, expected[None, :], 300).min(axis=1)
        if (joined == expected).all():
            break
        expected = joined
    assert groups_of(picture_groups(hashes, 6)) == groups_of(expected.astype(np.int64))


def test_a_burst_needs_time_and_likeness() -> None:
    seconds = np.array([100.0, 105.0, 111.0, 300.0, np.nan, np.nan])
    alike, other = [1.0, 0.0], [0.0, 1.0]
    embeddings = np.array([alike, alike, other, other, alike, alike], np.float32)
    found = burst_groups(seconds, embeddings, within_s=10, similarity=0.8)
    # 100 s and 105 s are one burst; 111 s looks different; 300 s is late; undated photos are alone.
    assert groups_of(found) == [{0, 1}, {2}, {3}, {4}, {5}]


def test_a_moment_is_connected_through_either() -> None:
    picture = np.array([0, 0, 1, 2], np.int64)
    burst = np.array([0, 1, 1, 2], np.int64)
    moments = find_moments(picture, burst)
    assert groups_of(moments.moment) == [{0, 1, 2}, {3}]
    assert repeated(moments.picture) == 1


def test_no_photos_have_no_groups() -> None:
    nothing = np.zeros(0, np.uint64)
    assert len(picture_groups(nothing, 6)) == 0
    assert (
        len(burst_groups(np.zeros(0), np.zeros((0, 2), np.float32), within_s=1, similarity=0)) == 0
    )
