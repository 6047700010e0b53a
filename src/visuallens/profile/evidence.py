"""Does the history say anything about the question? If not, VisualLens abstains.

The evidence for a category is how far its best photos stand out, photo by photo, from what the
same photos are to unrelated things. What counts as enough is read off the user's own photos: the
same evidence is computed for many things that nobody asked about, and the share of them that do as
well is the p-value.

Choice: the paper always answers. We abstain because a ranking without evidence looks exactly like
    one with it. A fixed cut-off on the cosine does not work: it depends on the encoder, on the
    number of photos and on the category's words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visuallens.types import FloatArray

_BLOCK_ROWS = 8192
_SMALL_HISTORY_SHARE = 10


@dataclass(frozen=True, slots=True)
class Standing:
    """How the history stands to one question.

    Attributes:
        strength: mean standardised similarity of the best photos; 0 is no better than chance.
        p_value: share of unrelated things for which the history is as strong, in (0, 1].
        abstains: the p-value is above the allowed rate of false answers.
    """

    strength: float
    p_value: float
    abstains: bool


@dataclass(frozen=True, slots=True)
class NullDistribution:
    """How one user's photos stand to things that nobody asked about.

    Attributes:
        means: (photos,) float32, each photo's mean similarity to them.
        deviations: (photos,) float32, the standard deviation of the same.
        strengths: (things,) float32, the evidence for each.
        top_photos: how many photos make the evidence.
    """

    means: FloatArray
    deviations: FloatArray
    strengths: FloatArray
    top_photos: int

    @classmethod
    def of(cls, embeddings: FloatArray, unrelated: FloatArray, top_photos: int) -> NullDistribution:
        """Compute it for one history.

        Args:
            embeddings: (photos, dim) float32, unit-length rows, at least one.
            unrelated: (things, dim) float32, unit length; texts in the space of the photos.
            top_photos: how many photos make the evidence; in a small history a tenth of it, since
                there a single photo already is a good part of what one knows.

        Returns:
            The distribution; costs one pass over the embeddings, in blocks.
        """
        top_photos = max(1, min(top_photos, len(embeddings) // _SMALL_HISTORY_SHARE))
        means, deviations, best = [], [], []
        for start in range(0, len(embeddings), _BLOCK_ROWS):
            similarities = embeddings[start : start + _BLOCK_ROWS] @ unrelated.T
            mean, deviation = similarities.mean(axis=1), similarities.std(axis=1) + 1e-6
            standardised = (similarities - mean[:, None]) / deviation[:, None]
            means.append(mean)
            deviations.append(deviation)
            best.append(_largest(standardised, top_photos))
        strengths = _largest(np.concatenate(best), top_photos).mean(axis=0)
        return cls(np.concatenate(means), np.concatenate(deviations), strengths, top_photos)

    def standing(self, similarities: FloatArray, false_answer_rate: float) -> Standing:
        """Judge one category.

        Args:
            similarities: (photos,) float32, of the same photos to the category.
            false_answer_rate: between 0 and 1.

        Returns:
            The verdict. The p-value is never 0: the category counts as one of the unrelated.
        """
        standardised = (similarities - self.means) / self.deviations
        strength = float(_largest(standardised[:, None], self.top_photos).mean())
        as_strong = 1 + int(np.count_nonzero(self.strengths >= strength))
        p_value = as_strong / (1 + len(self.strengths))
        return Standing(strength, p_value, abstains=p_value > false_answer_rate)


def _largest(values: FloatArray, count: int) -> FloatArray:
    """Keep the `count` largest of each column, in no order."""
    if len(values) <= count:
        return values
    return np.partition(values, len(values) - count, axis=0)[-count:]
