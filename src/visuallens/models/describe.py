"""Aspect words and captions from class probabilities: says only what was recognised.

Source: §4.1, caption generation (at most 30 words) and aspect word generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from visuallens.models.base import Description
from visuallens.models.labels import Label
from visuallens.types import DateSource, FloatArray, PhotoMetadata

MAX_CAPTION_WORDS = 30
TEMPLATE_VERSION = "template-1"

_MAX_ASPECT_WORDS = 8
_CAPTION_WORDS = 3
_DATES_WORTH_SAYING = (DateSource.EXIF, DateSource.GPS, DateSource.MANIFEST)


class Describer:
    """Turns class probabilities into words.

    A class is said when its probability reaches `label_confidence`, a hypernym when the classes
    below it together reach `group_confidence`: a photo that is surely some dog but no certain
    breed says "dog". Words are ordered by probability times specificity, so that "espresso" comes
    before "coffee" and "coffee" before "food".

    Args:
        labels: the classes in the order of the probabilities.
        label_confidence: between 0 and 1.
        group_confidence: between 0 and 1.
    """

    def __init__(
        self, labels: Sequence[Label], *, label_confidence: float, group_confidence: float
    ) -> None:
        self._labels = labels
        self._label_confidence = label_confidence
        self._group_confidence = group_confidence

    def aspect_words(self, probabilities: FloatArray) -> tuple[str, ...]:
        """Name what one photo shows.

        Args:
            probabilities: (classes,) float32, summing to one.

        Returns:
            At most 8 words of one or two words each, most telling first; empty when nothing is
            certain enough to say.
        """
        scores: dict[str, float] = {}
        for index in np.flatnonzero(probabilities >= self._label_confidence).tolist():
            _keep_best(scores, self._labels[index].word, float(probabilities[index]))
        groups, members, specificity = self._groups
        masses = members @ probabilities
        for index in np.flatnonzero(masses >= self._group_confidence).tolist():
            _keep_best(scores, groups[index], float(masses[index] * specificity[index]))
        ranked = sorted(scores, key=lambda word: (-scores[word], word))
        return tuple(ranked[:_MAX_ASPECT_WORDS])

    @cached_property
    def _groups(self) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
        """Hypernyms, their (groups, classes) membership, and how specific each is in (0, 1)."""
        names = tuple(sorted({word for label in self._labels for word in label.hypernyms}))
        rows = {name: row for row, name in enumerate(names)}
        members = np.zeros((len(names), len(self._labels)), dtype=np.float32)
        for column, label in enumerate(self._labels):
            members[[rows[word] for word in label.hypernyms], column] = 1.0
        share = members.sum(axis=1) / len(self._labels)
        return names, members, (np.log(share) / np.log(1 / len(self._labels))).astype(np.float32)


def compose(aspect_words: Sequence[str], metadata: PhotoMetadata, place: str | None) -> Description:
    """Write a caption that states the recognised words, the date and the place, and no more.

    Args:
        aspect_words: of the photo; empty when nothing was recognised.
        metadata: its date is said unless it is only the file's.
        place: name of the nearest town, or None.

    Returns:
        The caption (at most 30 words; empty when there is nothing to say) and the aspect words.
    """
    parts = []
    if aspect_words:
        parts.append(_listed(aspect_words[:_CAPTION_WORDS]))
    if metadata.taken_at is not None and metadata.date_source in _DATES_WORTH_SAYING:
        parts.append(f"{metadata.taken_at:%B %Y}")
    if place:
        parts.append(place)
    caption = ", ".join(parts)
    caption = caption[:1].upper() + caption[1:]
    return Description(" ".join(caption.split()[:MAX_CAPTION_WORDS]), tuple(aspect_words))


def _keep_best(scores: dict[str, float], word: str, score: float) -> None:
    scores[word] = max(scores.get(word, 0.0), score)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
