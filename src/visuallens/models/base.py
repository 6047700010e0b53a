"""What a model must offer to take part: Protocols only, no behaviour.

Source: §4.1 (image encoding, caption generation, aspect word generation); §4.2 and appendix D
(candidate matching by the first output token).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray
from PIL import Image

from visuallens.models.label_space import LabelKind, LabelSpace
from visuallens.prompts import Style
from visuallens.types import FloatArray, PhotoMetadata

PreparedPhoto = NDArray[Any]  # Any: pixels as integers or floats, as the model takes them


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

    def prepare(self, image: Image.Image) -> PreparedPhoto:
        """Turn one photo into the model's input; called from several threads.

        Args:
            image: RGB, upright.

        Returns:
            An array.
        """
        ...

    def read(
        self, inputs: Sequence[PreparedPhoto], metadata: Sequence[PhotoMetadata]
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


class ImageEncoder(Protocol):
    """Embeds images."""

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        """Embed images.

        Args:
            images: RGB, upright.

        Returns:
            (images, dim) float32, unit-length rows; (0, dim) for no images.
        """
        ...


@dataclass(frozen=True, slots=True)
class PromptImage:
    """One image of a prompt.

    Attributes:
        image: RGB.
        grid_side: d when it is a grid of d x d photos, 1 when it is one photo.
    """

    image: Image.Image
    grid_side: int = 1

    @property
    def digest(self) -> str:
        """Digest of its pixels, to tell whether it was seen before."""
        digest = hashlib.sha256(self.image.tobytes())
        digest.update(repr((self.image.size, self.grid_side)).encode())
        return digest.hexdigest()


class Backbone(Protocol):
    """One model that captions, names aspect words and matches candidates (theta in the paper).

    Attributes:
        name: as registered.
        id: model id and revision, as `id@revision`.
        sees: it takes images; one that does not ignores them.
        stays_here: nothing that it is shown leaves this machine.
        is_matcher: it was trained to match candidates; without it, it answers unprepared.
        style: in which matching prompts were written when it was trained; None: any.
        scores: "logits" when `score_labels` works; "permutation" when only `generate` does and
            the order of the candidates must be asked for in words.
        max_tokens: longest prompt that it can read, image included.
    """

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def sees(self) -> bool: ...
    @property
    def stays_here(self) -> bool: ...
    @property
    def is_matcher(self) -> bool: ...
    @property
    def style(self) -> Style | None: ...
    @property
    def scores(self) -> Literal["logits", "permutation"]: ...
    @property
    def max_tokens(self) -> int: ...

    def label_space(self, kind: LabelKind | Literal["auto"] = "auto") -> LabelSpace:
        """Give the labels that name candidates.

        Args:
            kind: "auto" is the adapter's own, else letters.

        Returns:
            The label space; `score_labels` takes no other.

        Raises:
            BackboneError: this backbone has no labels of that kind, or is no `AnswerScorer` and
                they are names.
        """
        ...

    def count_tokens(self, prompts: Sequence[str], *, image: PromptImage | None) -> list[int]:
        """Count the tokens of prompts as the backbone reads them.

        Args:
            prompts: texts.
            image: is shown with each; its size and side count, not its pixels. None: none is.

        Returns:
            One count per prompt; servers without a tokenizer estimate from above.
        """
        ...

    def generate(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
    ) -> list[str]:
        """Answer prompts greedily.

        Args:
            images: one per prompt, or None where there is none.
            prompts: one text each.
            max_new_tokens: longest answer.

        Returns:
            One answer per prompt, without the prompt.

        Raises:
            PromptTooLongError: a prompt does not fit.
            ServerError: a server cannot answer.
        """
        ...

    def score_labels(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        label_space: LabelSpace,
    ) -> FloatArray:
        """Give the log-probability of each label as the first token of the answer.

        Args:
            images: one per prompt, or None where there is none.
            prompts: one text each, ending where the answer begins.
            label_space: from this backbone.

        Returns:
            (prompts, labels) float32 natural log-probabilities over the whole vocabulary; NaN
            where a server did not say (it is below all that it said).

        Raises:
            PromptTooLongError: a prompt does not fit.
            ServerError: a server cannot answer.

        Source: appendix D, the probability of only those tokens in the first output token.
        """
        ...


@runtime_checkable
class AnswerScorer(Protocol):
    """A backbone that also tells how likely it finds whole answers, as those on this machine do."""

    def score_answers(
        self,
        image: PromptImage | None,
        prompt: str,
        answers: Sequence[str],
        *,
        untrained: bool = False,
    ) -> FloatArray:
        """Give the log-likelihood of each answer to one prompt.

        Args:
            image: of the prompt, or None.
            prompt: ending where the answer begins.
            answers: that are compared; none of them sees another.
            untrained: as the model finds them without its adapter; then no image is shown.

        Returns:
            (answers,) float32, natural logarithms, sums over the tokens.

        Raises:
            PromptTooLongError: prompt and answer do not fit.
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
