"""Spaces in which an image and a text can meet without any image-text training.

Each space turns what the classifier computes (features and logits) and what the sentence encoder
computes into vectors that can be compared by cosine. `docs/measurements.md` has the figures of all
of them on the same photos; `perf/encoders.py` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from visuallens.models.base import TextEncoder
from visuallens.models.labels import Label
from visuallens.types import FloatArray

_JOINED_LABELS = 10
_CONSE_LABELS = 20
_CONSE_TEMPERATURE = 2.0
_ANCHOR_TEMPERATURE = 0.05


@dataclass(frozen=True, slots=True)
class Anchors:
    """The classes as points in both worlds.

    Attributes:
        texts: (classes, 384) float32, unit length: what each class means.
        images: (classes, 1280) float32, unit length: where each class lies among features.
    """

    texts: FloatArray
    images: FloatArray


class Space(Protocol):
    """Puts images and texts into one space."""

    name: str

    def images(self, features: FloatArray, logits: FloatArray) -> FloatArray:
        """Embed images.

        Args:
            features: (images, 1280) float32, the classifier's pooled features.
            logits: (images, classes) float32.

        Returns:
            (images, dim) float32, unit-length rows.
        """
        ...

    def texts(self, sentences: FloatArray) -> FloatArray:
        """Embed texts.

        Args:
            sentences: (texts, 384) float32, unit length, from the sentence encoder.

        Returns:
            (texts, dim) float32, unit-length rows.
        """
        ...


class AnchorSpace:
    """The image keeps its features; a text becomes the mixture of the classes that mean the same.

    A text's vector is the softmax-weighted mean of the classifier's own class vectors, weighted by
    how close the class names are to the text in the sentence encoder's space. So images keep all
    the detail of their features (which ConSE throws away), and images still compare with images.

    Source: the mirror image of ConSE (Norouzi et al. 2014), which mixes text embeddings of classes.
    Choice: temperature 0.05 and class texts averaged with "a photo of a ..." were chosen on the
        development half of the photos.
    """

    name = "anchors"

    def __init__(self, anchors: Anchors) -> None:
        self._anchors = anchors

    def images(self, features: FloatArray, logits: FloatArray) -> FloatArray:
        """See `Space.images`; dim is 1280."""
        del logits
        return unit_length(features)

    def texts(self, sentences: FloatArray) -> FloatArray:
        """See `Space.texts`; dim is 1280."""
        weights = softmax(sentences @ self._anchors.texts.T / _ANCHOR_TEMPERATURE)
        return unit_length(weights @ self._anchors.images)


class ConseSpace:
    """The image becomes the probability-weighted mean of the texts of its best classes.

    Source: Norouzi et al. 2014 (ConSE). Choice: 20 classes, logits at temperature 2.
    """

    name = "conse"

    def __init__(self, anchors: Anchors) -> None:
        self._anchors = anchors

    def images(self, features: FloatArray, logits: FloatArray) -> FloatArray:
        """See `Space.images`; dim is 384."""
        del features
        probabilities = softmax(logits / _CONSE_TEMPERATURE)
        floor = np.partition(probabilities, -_CONSE_LABELS, axis=1)[:, -_CONSE_LABELS, None]
        kept = np.where(probabilities >= floor, probabilities, np.float32(0))
        return unit_length(kept @ self._anchors.texts)

    def texts(self, sentences: FloatArray) -> FloatArray:
        """See `Space.texts`; dim is 384."""
        return sentences


class JoinedSpace:
    """The image becomes the text embedding of its best class names, joined by commas."""

    name = "joined"

    def __init__(self, labels: Sequence[Label], text_encoder: TextEncoder) -> None:
        self._labels = labels
        self._text_encoder = text_encoder

    def images(self, features: FloatArray, logits: FloatArray) -> FloatArray:
        """See `Space.images`; dim is 384."""
        del features
        best = np.argsort(-logits, axis=1, kind="stable")[:, :_JOINED_LABELS]
        return self._text_encoder.encode_texts(
            [", ".join(self._labels[index].name for index in row) for row in best]
        )

    def texts(self, sentences: FloatArray) -> FloatArray:
        """See `Space.texts`; dim is 384."""
        return sentences


class ProjectionSpace:
    """The image is projected linearly into the sentence encoder's space.

    Args:
        weights: (1280, 384) float32.
        feature_mean: (1280,) float32, subtracted from the features first.
        text_mean: (384,) float32, added to the result.
    """

    name = "projection"

    def __init__(
        self, weights: FloatArray, feature_mean: FloatArray, text_mean: FloatArray
    ) -> None:
        self._weights = weights
        self._feature_mean = feature_mean
        self._text_mean = text_mean

    def images(self, features: FloatArray, logits: FloatArray) -> FloatArray:
        """See `Space.images`; dim is 384."""
        del logits
        projected = (features - self._feature_mean) @ self._weights + self._text_mean
        return unit_length(np.asarray(projected, dtype=np.float32))

    def texts(self, sentences: FloatArray) -> FloatArray:
        """See `Space.texts`; dim is 384."""
        return sentences

    def save(self, path: Path) -> None:
        """Write the projection as safetensors."""
        from safetensors.numpy import save_file

        save_file(
            {
                "weights": self._weights,
                "feature_mean": self._feature_mean,
                "text_mean": self._text_mean,
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> ProjectionSpace:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        return cls(**load_file(path))


class ConcatenatedSpace:
    """Two spaces side by side; the cosine is the mean of both cosines."""

    name = "concatenated"

    def __init__(self, first: Space, second: Space) -> None:
        self._first = first
        self._second = second

    def images(self, features: FloatArray, logits: FloatArray) -> FloatArray:
        """See `Space.images`; dim is the sum of both."""
        return _side_by_side(
            self._first.images(features, logits), self._second.images(features, logits)
        )

    def texts(self, sentences: FloatArray) -> FloatArray:
        """See `Space.texts`; dim is the sum of both."""
        return _side_by_side(self._first.texts(sentences), self._second.texts(sentences))


def fit_projection(features: FloatArray, sentences: FloatArray, ridge: float) -> ProjectionSpace:
    """Fit a ridge regression from features to text embeddings of what the images show.

    Args:
        features: (images, 1280) float32.
        sentences: (images, 384) float32, one text per image.
        ridge: strength of the penalty; larger means smoother.

    Returns:
        The projection, in closed form.
    """
    feature_mean, text_mean = features.mean(axis=0), sentences.mean(axis=0)
    centred = (features - feature_mean).astype(np.float64)
    covariance = centred.T @ centred + ridge * np.eye(features.shape[1])
    weights = np.linalg.solve(covariance, centred.T @ (sentences - text_mean))
    return ProjectionSpace(np.asarray(weights, dtype=np.float32), feature_mean, text_mean)


def unit_length(vectors: FloatArray) -> FloatArray:
    """Scale rows to length one; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def softmax(logits: FloatArray) -> FloatArray:
    """Turn logits into probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def _side_by_side(first: FloatArray, second: FloatArray) -> FloatArray:
    return unit_length(np.concatenate([first, second], axis=1))
