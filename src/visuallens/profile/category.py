"""The category embedding v_c: what a category looks like (§4.2, history retrieval)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visuallens.errors import RequestError
from visuallens.types import Candidate, FloatArray


def category_embedding(embeddings: FloatArray) -> FloatArray:
    """Average candidate-image embeddings into one category embedding.

    Args:
        embeddings: (images, dim) float32, unit-length rows.

    Returns:
        (dim,) float32, unit length.

    Raises:
        RequestError: there are no images.

    Source: §4.2, history retrieval, v_c.
    Choice: rows are normalised before averaging, so each image weighs the same.
    """
    if len(embeddings) == 0:
        raise RequestError("A category embedding needs at least one image of the category.")
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    mean = (embeddings / np.maximum(norms, 1e-12)).mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def sample_images(
    candidates: Sequence[Candidate], count: int, generator: np.random.Generator
) -> tuple[str, ...]:
    """Draw images of candidates, one from each drawn candidate.

    Args:
        candidates: those without images are left out.
        count: how many at most.
        generator: decides the draw.

    Returns:
        Paths of images; empty when no candidate has any.

    Choice: candidates are drawn first, so a place with many photos weighs as much as any other.
    """
    pictured = [candidate for candidate in candidates if candidate.photos]
    drawn = generator.permutation(len(pictured))[:count]
    return tuple(
        pictured[index].photos[int(generator.integers(len(pictured[index].photos)))]
        for index in drawn
    )
