"""A user's history held in memory, ready for questions (§4.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visuallens.types import Augmentation, FloatArray, Photo, VisualHistory


@dataclass(frozen=True, slots=True)
class OpenHistory:
    """A visual history with all that the runtime needs in memory.

    Attributes:
        embeddings: (photos, dim) float32, unit-length rows, in the order of the history.
        moments: (photos,) int64; photos of one moment share a number.
        age_days: (photos,) float32 before the newest photo, or None.
        word_shares: share of the user's photos that have an aspect word.
        describe: looks up captions and aspect words of photo ids.
    """

    history: VisualHistory
    embeddings: FloatArray
    moments: NDArray[np.int64]
    age_days: FloatArray | None
    word_shares: Mapping[str, float]
    describe: Callable[[Sequence[str]], Mapping[str, Augmentation]]


def age_days(photos: Sequence[Photo]) -> FloatArray:
    """Count the days from each photo to the newest one.

    Args:
        photos: any number.

    Returns:
        (photos,) float32, 0 or more. Choice: photos without a date count as the oldest.
    """
    stamps = np.array([photo.metadata.taken_at_s for photo in photos], dtype=np.float64)
    if np.isnan(stamps).all():
        return np.zeros(len(stamps), dtype=np.float32)
    stamps = np.where(np.isnan(stamps), np.nanmin(stamps), stamps)
    return np.asarray((stamps.max() - stamps) / 86_400, dtype=np.float32)
