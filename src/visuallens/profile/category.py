"""The category embedding v_c: what a category looks like (§4.2, history retrieval)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, zip_longest

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
    """Draw images of candidates: one of each, then a second of each, and so on.

    Args:
        candidates: those without images are left out.
        count: how many at most.
        generator: decides the draw.

    Returns:
        Paths of images; empty when no candidate has any.

    Choice: in rounds, so that a place with many photos weighs as much as any other.
    """
    shuffled = [
        [candidates[place].photos[photo] for photo in generator.permutation(len(photos))]
        for place in generator.permutation(len(candidates))
        if (photos := candidates[place].photos)
    ]
    rounds = zip_longest(*shuffled)
    images = (image for images in rounds for image in images if image is not None)
    return tuple(islice(images, count))
