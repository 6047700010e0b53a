"""The photo retriever: the w photos of a history nearest to a category (§4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visuallens.types import FloatArray


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What the retriever found, most similar first.

    Attributes:
        indices: (k,) int64, rows of the history.
        similarities: (k,) float32, cosine to the category.
    """

    indices: NDArray[np.int64]
    similarities: FloatArray


def retrieve(
    embeddings: FloatArray,
    query: FloatArray,
    *,
    max_photos: int,
    moments: NDArray[np.int64] | None = None,
    age_days: FloatArray | None = None,
    half_life_days: float | None = None,
) -> Retrieval:
    """Find the photos nearest to a category, one of each moment.

    Args:
        embeddings: (photos, dim) float32, unit-length rows.
        query: (dim,) float32, unit length.
        max_photos: w.
        moments: (photos,) photos of one moment share a number; its best photo stands for it.
        age_days: (photos,) days before the newest photo; with `half_life_days` only.
        half_life_days: a photo this old counts half.

    Returns:
        At most `max_photos` photos, as many as there are moments; equal ones in the order of the
        history. An empty history gives an empty result.

    Source: §4.2, history retrieval: cosine similarity, top w.
    Choice: recency multiplies (1 + cosine) / 2, which is never negative, so age can only lower a
        photo; the similarities returned stay plain cosines.
    """
    if len(embeddings) == 0:
        return Retrieval(np.zeros(0, np.int64), np.zeros(0, np.float32))
    similarities = np.asarray(embeddings @ query, dtype=np.float32)
    keys = similarities
    if age_days is not None and half_life_days is not None:
        keys = (1 + similarities) / 2 * np.exp2(-age_days / half_life_days)
    indices = _best_of_each_moment(keys, moments, max_photos)
    return Retrieval(indices, similarities[indices])


def draw_by_chance(
    embeddings: FloatArray,
    query: FloatArray,
    *,
    max_photos: int,
    generator: np.random.Generator,
    moments: NDArray[np.int64] | None = None,
) -> Retrieval:
    """Draw photos whatever they show, one of each moment: the ablation without retrieval.

    Args:
        embeddings: (photos, dim) float32, unit-length rows.
        query: (dim,) float32, unit length; only the similarities depend on it.
        max_photos: w.
        generator: decides the draw.
        moments: (photos,) photos of one moment share a number.

    Returns:
        At most `max_photos` photos in the order of the draw.

    Source: Table 3, row 7, without Ret.
    """
    if len(embeddings) == 0:
        return Retrieval(np.zeros(0, np.int64), np.zeros(0, np.float32))
    keys = generator.random(len(embeddings), dtype=np.float32)
    indices = _best_of_each_moment(keys, moments, max_photos)
    return Retrieval(indices, np.asarray(embeddings[indices] @ query, dtype=np.float32))


def _best_of_each_moment(
    keys: FloatArray, moments: NDArray[np.int64] | None, count: int
) -> NDArray[np.int64]:
    """Take the best photos, looking further down only while moments repeat."""
    looked_at = min(len(keys), 2 * count)
    while True:
        best = _largest_first(keys, looked_at)
        if moments is not None:
            _, first = np.unique(moments[best], return_index=True)
            best = best[np.sort(first)]
        if len(best) >= count or looked_at == len(keys):
            return best[:count]
        looked_at = min(len(keys), 4 * looked_at)


def _largest_first(keys: FloatArray, count: int) -> NDArray[np.int64]:
    if count < len(keys):
        # All that equal the last one come along, so that ties are decided by order alone.
        floor = np.partition(keys, len(keys) - count)[len(keys) - count]
        rows = np.flatnonzero(keys >= floor)
    else:
        rows = np.arange(len(keys))
    return rows[np.argsort(-keys[rows], kind="stable")].astype(np.int64)[:count]
