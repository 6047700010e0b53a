"""What a model must offer to take part: Protocols only, no behaviour.

Source: §4.1 (image encoding, caption generation, aspect word generation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from visuallens.types import FloatArray, PhotoMetadata


@dataclass(frozen=True, slots=True)
class Description:
    """What a model says about one photo.

    Attributes:
        caption: at most 30 words; empty when nothing was recognised.
        aspect_words: most certain first; empty when nothing was recognised.
    """

    caption: str
    aspect_words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhotoReadings:
    """What one forward pass gives for a batch of photos.

    Attributes:
        embeddings: (batch, dim) float32, unit-length rows, or None if the model does not encode.
        descriptions: one per photo, or None if the model does not describe.
    """

    embeddings: FloatArray | None
    descriptions: tuple[Description, ...] | None


class PhotoReader(Protocol):
    """Encodes photos, describes them, or both in one forward pass.

    Attributes:
        id: model id and revision, as `id@revision`; the key of everything it makes.
        prompt_version: version of the prompt or caption template.
        input_side_px: photos are read at no less than this short side.
        encodes: `read` returns embeddings.
        describes: `read` returns descriptions.
    """

    @property
    def id(self) -> str: ...
    @property
    def prompt_version(self) -> str: ...
    @property
    def input_side_px(self) -> int: ...
    @property
    def encodes(self) -> bool: ...
    @property
    def describes(self) -> bool: ...

    def prepare(self, image: Image.Image) -> FloatArray:
        """Turn one photo into the network's input; called from several threads.

        Args:
            image: RGB, upright.

        Returns:
            Float32 array of the same shape for every photo.
        """
        ...

    def read(
        self, inputs: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        """Read a batch of prepared photos.

        Args:
            inputs: results of `prepare`.
            metadata: of the same photos; its date and place may appear in captions.

        Returns:
            Embeddings, descriptions or both.
        """
        ...


class TextEncoder(Protocol):
    """Embeds texts."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts.

        Args:
            texts: of any length; very long ones may be cut.

        Returns:
            (texts, dim) float32, unit-length rows; (0, dim) for no texts.
        """
        ...


class PhotoModel(PhotoReader, TextEncoder, Protocol):
    """A reader that also embeds texts in the space of its photos.

    Attributes:
        sentences: embeds texts among texts.
        unrelated: (things, dim) float32, unit length: many things as a category would be embedded,
            the background against which evidence is judged.
    """

    @property
    def sentences(self) -> TextEncoder: ...
    @property
    def unrelated(self) -> FloatArray: ...

    def load(self) -> None:
        """Load all weights now rather than when they are first needed."""
        ...

    def encode_categories(self, categories: Sequence[str]) -> FloatArray:
        """Embed category names in the space of the photos, where there are no images of them.

        Args:
            categories: such as "museum".

        Returns:
            (categories, dim) float32, unit-length rows.
        """
        ...
