"""The embedded preset: one classifier and one sentence encoder, both inside Python packages.

Nothing is downloaded and nothing leaves the machine. One forward pass of the classifier gives the
embedding, the aspect words and the caption of a photo.

Source: §4.1, with other weights: the paper's CLIP, LLaVA and backbone do not fit a laptop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from PIL import Image

from visuallens.config import EmbeddedSettings, Settings
from visuallens.errors import SettingsError
from visuallens.models.base import PhotoReadings
from visuallens.models.describe import TEMPLATE_VERSION, Describer, compose
from visuallens.models.labels import imagenet_labels
from visuallens.models.minilm import MINILM_ID, MiniLM
from visuallens.models.runtime import Network, cache_folder, load_network
from visuallens.models.spaces import (
    Anchors,
    AnchorSpace,
    ConcatenatedSpace,
    ConseSpace,
    JoinedSpace,
    ProjectionSpace,
    Space,
    softmax,
    unit_length,
)
from visuallens.models.towns import nearest_town
from visuallens.models.weights import efficientnet_file
from visuallens.types import FloatArray, PhotoMetadata

if TYPE_CHECKING:
    from torch import nn

CLASSIFIER_ID = "efficientnet-lite2@9656183e"
INPUT_SIDE_PX = 260

_CATEGORY_TEXT = "things you see at a {}"
_UNRELATED_STEP = 4
_PIXEL_MEAN = np.float32(127.0)
_PIXEL_SCALE = np.float32(1 / 128.0)


class EmbeddedModel:
    """Reads photos and texts with the weights that come inside packages.

    It is a `PhotoModel` and an `ImageEncoder`.

    Args:
        settings: runtime, space and confidences.
        place_words: captions name the nearest town of photos that have a position.
    """

    input_side_px = INPUT_SIDE_PX
    prompt_version = TEMPLATE_VERSION
    encodes = True
    describes = True

    def __init__(
        self, settings: EmbeddedSettings | None = None, *, place_words: bool = True
    ) -> None:
        self._settings = settings or EmbeddedSettings()
        self._place_words = place_words
        self.sentences = MiniLM(self._settings.runtime)

    @property
    def id(self) -> str:
        """Classifier, its revision and the space: photos of another space are other vectors."""
        return f"embedded-{self._settings.space}/{CLASSIFIER_ID}"

    def load(self) -> None:
        """See `PhotoModel.load`."""
        self.encode_texts(["a photo"])
        self.classify([np.zeros((3, INPUT_SIDE_PX, INPUT_SIDE_PX), np.float32)])

    def prepare(self, image: Image.Image) -> FloatArray:
        """See `PhotoReader.prepare`.

        Args:
            image: RGB, upright.

        Returns:
            (3, 260, 260) float32, (pixel - 127) / 128.

        Choice: the whole photo squeezed to a square rather than its centre cut out; on the
            development photos it finds captions slightly better, and nothing is cut off.
        """
        side = (INPUT_SIDE_PX, INPUT_SIDE_PX)
        pixels = np.asarray(image.resize(side, Image.Resampling.BICUBIC, reducing_gap=2.0))
        scaled = (pixels.transpose(2, 0, 1) - _PIXEL_MEAN) * _PIXEL_SCALE
        return np.asarray(scaled, dtype=np.float32)

    def classify(self, inputs: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Run the classifier on prepared photos.

        Args:
            inputs: results of `prepare`, at least one.

        Returns:
            features (batch, 1280) and logits (batch, 1000), float32.
        """
        features, logits = self._classifier(np.stack(inputs))
        return features, logits

    def read(
        self, inputs: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        """See `PhotoReader.read`; embeddings have 1280 dimensions in the default space."""
        features, logits = self.classify(inputs)
        places = [nearest_town(data.location) if self._place_words else None for data in metadata]
        descriptions = tuple(
            compose(self._describer.aspect_words(row), data, place)
            for row, data, place in zip(softmax(logits), metadata, places, strict=True)
        )
        return PhotoReadings(self.space.images(features, logits), descriptions)

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        """See `ImageEncoder.encode_images`."""
        if not images:
            return np.zeros((0, self.unrelated.shape[1]), np.float32)
        features, logits = self.classify([self.prepare(image) for image in images])
        return self.space.images(features, logits)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts in the space of the photos; see `TextEncoder.encode_texts`."""
        return self.space.texts(self.sentences.encode_texts(texts))

    def encode_categories(self, categories: Sequence[str]) -> FloatArray:
        """See `PhotoModel.encode_categories`.

        Choice: "things you see at a ..." brings the name of a place nearer to what photos of it
            show; of the phrasings measured it tells best whether a history has any.
        """
        return self.encode_texts([_CATEGORY_TEXT.format(category) for category in categories])

    @cached_property
    def unrelated(self) -> FloatArray:
        """See `PhotoModel.unrelated`: every fourth class, as if it were asked for."""
        return self.space.texts(self._tensors["unrelated"])

    @cached_property
    def space(self) -> Space:
        """The space that the settings name."""
        name = self._settings.space
        if name == "conse":
            return ConseSpace(self.anchors)
        if name == "joined":
            return JoinedSpace(imagenet_labels(), self.sentences)
        if name == "projection":
            return ProjectionSpace.load(self._projection_file())
        if name == "concatenated":
            return ConcatenatedSpace(AnchorSpace(self.anchors), ConseSpace(self.anchors))
        return AnchorSpace(self.anchors)

    def _projection_file(self) -> Path:
        path = self._settings.projection_file
        if path is None or not path.is_file():
            problem = f"the space 'projection' needs a fitted file, got {path}"
            raise SettingsError([f"embedded.projection_file: {problem}"])
        return path

    @cached_property
    def anchors(self) -> Anchors:
        """The classes as points among texts and among features."""
        return Anchors(self._tensors["texts"], self._tensors["images"])

    @cached_property
    def _tensors(self) -> dict[str, FloatArray]:
        """What is the same for every library, computed once and cached."""
        from safetensors.numpy import load_file, save_file

        made_from = repr((imagenet_labels(), _CATEGORY_TEXT, _UNRELATED_STEP, CLASSIFIER_ID))
        digest = hashlib.sha256(made_from.encode()).hexdigest()[:16]
        name = f"anchors-{MINILM_ID}-{digest}"
        path = cache_folder() / f"{name}.safetensors"
        with FileLock(cache_folder() / f"{name}.lock"):
            if not path.exists():
                partial = path.with_suffix(".partial")
                save_file(self._compute_tensors(), partial)
                partial.replace(path)
        return load_file(path)

    def _compute_tensors(self) -> dict[str, FloatArray]:
        things = [label.name for label in imagenet_labels()[::_UNRELATED_STEP]]
        return {
            "texts": self._label_texts(),
            "images": _class_vectors(),
            "unrelated": self.sentences.encode_texts([_CATEGORY_TEXT.format(t) for t in things]),
        }

    def _label_texts(self) -> FloatArray:
        names = [label.name for label in imagenet_labels()]
        plain = self.sentences.encode_texts(names)
        as_photo = self.sentences.encode_texts([f"a photo of a {name}" for name in names])
        return unit_length(plain + as_photo)

    @cached_property
    def _classifier(self) -> Network:
        example = np.zeros((2, 3, INPUT_SIDE_PX, INPUT_SIDE_PX), np.float32)
        settings = self._settings
        return load_network(
            CLASSIFIER_ID,
            _build_classifier,
            [example],
            runtime=settings.runtime,
            precision=settings.precision,
        )

    @cached_property
    def _describer(self) -> Describer:
        return Describer(
            imagenet_labels(),
            label_confidence=self._settings.label_confidence,
            group_confidence=self._settings.group_confidence,
        )


def embedded(settings: Settings) -> EmbeddedModel:
    """Make the model that `embedded` and `index.place_words` describe; what is registered."""
    return EmbeddedModel(settings.embedded, place_words=settings.index.place_words)


def _build_classifier() -> nn.Module:
    from visuallens.models.efficientnet import load_efficientnet  # needs torch

    return load_efficientnet(efficientnet_file())


def _class_vectors() -> FloatArray:
    from visuallens.models.efficientnet import load_efficientnet  # needs torch

    vectors: FloatArray = load_efficientnet(efficientnet_file()).class_vectors()
    return unit_length(vectors)
