"""Captions and aspect words by a backbone: any `Backbone` as a `PhotoReader`.

Source: §4.1, caption generation (at most 30 words, by LLaVA-v1.6) and aspect word generation (by
the backbone).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
from PIL import Image

from visuallens.errors import BackboneError
from visuallens.models.base import (
    Backbone,
    Description,
    PhotoReadings,
    PreparedPhoto,
    PromptImage,
)
from visuallens.prompts import (
    PROMPT_VERSION,
    aspect_prompt,
    caption_prompt,
    parse_aspect_words,
    parse_caption,
)
from visuallens.types import PhotoMetadata

_CAPTION_TOKENS = 64
_ASPECT_TOKENS = 64


class BackboneReader:
    """Describes photos with two questions to backbones; it does not encode.

    Args:
        backbone: that sees; it names aspect words.
        side_px: longer side at which photos are shown.
        captioner: that sees and writes the captions; the backbone does when None.

    Raises:
        BackboneError: one of them reads text only.
    """

    prompt_version = PROMPT_VERSION
    encodes = False
    describes = True

    def __init__(
        self, backbone: Backbone, side_px: int = 896, *, captioner: Backbone | None = None
    ) -> None:
        self._captioner = captioner or backbone
        self._backbone = backbone
        for asked in self._asked:
            if not asked.sees:
                raise BackboneError(
                    asked.name,
                    "it reads text only and cannot describe photos. Choose another: "
                    "visuallens models",
                )
        self.input_side_px = side_px

    @property
    def id(self) -> str:
        """Id of the backbone, or those of captioner and backbone, joined by a plus sign."""
        return "+".join(dict.fromkeys(asked.id for asked in self._asked))

    @property
    def cost(self) -> float:
        """What servers have charged so far, in their own currency; 0 on this machine."""
        usages = [getattr(asked, "usage", None) for asked in self._asked]
        return sum(float(usage.cost) for usage in usages if usage is not None)

    @contextmanager
    def afresh(self) -> Iterator[None]:
        """Let servers be asked again for what is kept of their answers, to measure asking."""
        with ExitStack() as stack:
            for asked in self._asked:
                if hasattr(asked, "afresh"):
                    stack.enter_context(asked.afresh())
            yield

    def prepare(self, image: Image.Image) -> PreparedPhoto:
        """See `PhotoReader.prepare`.

        Args:
            image: RGB, upright.

        Returns:
            (height, width, 3) uint8, longer side at most `input_side_px`; without any metadata.
        """
        small = image.copy()
        small.thumbnail((self.input_side_px, self.input_side_px), Image.Resampling.BICUBIC)
        return np.asarray(small.convert("RGB"))

    def read(
        self, inputs: Sequence[PreparedPhoto], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        """See `PhotoReader.read`; what cannot be understood of an answer is left empty."""
        del metadata  # a caption says what is to be seen, no date and no place
        images = [PromptImage(Image.fromarray(pixels)) for pixels in inputs]
        captions = self._captioner.generate(
            images, [caption_prompt()] * len(images), max_new_tokens=_CAPTION_TOKENS
        )
        words = self._backbone.generate(
            images, [aspect_prompt()] * len(images), max_new_tokens=_ASPECT_TOKENS
        )
        return PhotoReadings(
            None,
            tuple(
                Description(parse_caption(caption), parse_aspect_words(listed))
                for caption, listed in zip(captions, words, strict=True)
            ),
        )

    @property
    def _asked(self) -> tuple[Backbone, ...]:
        """Whom it asks, the captioner first; one that does both is named once."""
        if self._captioner is self._backbone:
            return (self._backbone,)
        return (self._captioner, self._backbone)
