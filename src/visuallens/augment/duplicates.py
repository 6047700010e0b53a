"""Three levels of duplicate, kept apart: same bytes, same picture, same moment.

Same bytes is decided by the sha256 of a file, so two such files are one photo from the start. This
module finds photos that show the same picture, and photos of the same burst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visuallens.types import FloatArray

_HASH_BITS = 64
_MOST_PAIRS = 1 << 21

Groups = NDArray[np.int64]
"""(photos,) int64: photos of one group share a number."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Which photos of a user belong together.

    Attributes:
        picture: groups that show the same picture.
        burst: groups taken at the same moment.
        moment: groups joined by either; one moment fills one cell of the grid.
    """

    picture: Groups
    burst: Groups
    moment: Groups


def find_moments(picture: Groups, burst: Groups) -> Moments:
    """Join both kinds of group: photos connected through either are one moment."""
    links = [_links_to_first(picture), _links_to_first(burst)]
    return Moments(picture, burst, _components(np.concatenate(links), len(picture)))


def picture_groups(fingerprints: NDArray[np.uint64], max_bits: int) -> Groups:
    """Group photos whose perceptual hashes differ in few bits.

    Args:
        fingerprints: (photos,) uint64.
        max_bits: hashes that differ in at most so many bits show the same picture.

    Returns:
        Groups; a chain of near pictures is one group.

    Choice: two hashes within k bits agree on at least one of k + 1 bands (pigeonhole), so only
        photos that share a band are compared, which takes seconds for 100,000 photos.
    """
    unique, inverse = np.unique(fingerprints, return_inverse=True)
    edges = np.linspace(0, _HASH_BITS, max_bits + 2).astype(np.uint64)
    links, pending = [np.zeros((0, 2), np.int64)], 0
    for low, high in pairwise(edges):
        mask = np.uint64((1 << int(high - low)) - 1)
        for pairs in _near_pairs_of_band(unique, (unique >> low) & mask, max_bits):
            links.append(pairs)
            pending += len(pairs)
            if pending > _MOST_PAIRS:  # of many pictures alike, all pairs would fill the memory
                links = [_links_to_first(_components(np.concatenate(links), len(unique)))]
                pending = 0
    return _components(np.concatenate(links), len(unique))[inverse]


def burst_groups(
    taken_at_s: NDArray[np.float64],
    embeddings: FloatArray,
    *,
    within_s: float,
    similarity: float,
) -> Groups:
    """Group photos taken shortly after one another that look alike.

    Args:
        taken_at_s: (photos,) seconds; NaN for photos whose date cannot be trusted, which join no
            burst.
        embeddings: (photos, dim) float32, unit-length rows.
        within_s: largest pause within a burst.
        similarity: least cosine between a photo and the one before.

    Returns:
        Groups; a photo without burst is a group of its own.
    """
    order = np.argsort(taken_at_s, kind="stable")  # NaN comes last
    previous, following = order[:-1], order[1:]
    soon = taken_at_s[following] - taken_at_s[previous] <= within_s
    candidates = np.flatnonzero(soon)
    before, after = previous[candidates], following[candidates]
    alike = np.einsum("ij,ij->i", embeddings[before], embeddings[after]) >= similarity
    return _components(np.stack([before[alike], after[alike]], axis=1), len(taken_at_s))


def repeated(groups: Groups) -> int:
    """Count the photos beyond the first of each group."""
    return len(groups) - len(np.unique(groups))


def _near_pairs_of_band(
    hashes: NDArray[np.uint64], band: NDArray[np.uint64], max_bits: int
) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(band, kind="stable")
    starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] + np.uint64(1)))
    for members in np.split(order, starts[1:]):
        block_rows = max(1, _MOST_PAIRS // max(1, len(members)))
        for start in range(0, len(members), block_rows):
            block, rest = members[start : start + block_rows], members[start:]
            distances = np.bitwise_count(hashes[block][:, None] ^ hashes[rest][None, :])
            rows, columns = np.nonzero(distances <= max_bits)
            found = np.stack([block[rows], rest[columns]], axis=1)
            yield found[found[:, 0] < found[:, 1]]


def _links_to_first(groups: Groups) -> NDArray[np.int64]:
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.stack([np.arange(len(groups)), first[inverse]], axis=1)


def _components(pairs: NDArray[np.int64], count: int) -> Groups:
    from scipy.sparse import coo_array  # slow to import, and only an index run groups photos
    from scipy.sparse.csgraph import connected_components

    if count == 0:
        return np.zeros(0, np.int64)
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))
    _, labels = connected_components(links, directed=False)
    return np.asarray(labels, dtype=np.int64)
