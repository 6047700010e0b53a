"""A backbone that scores a label by the candidate behind it alone, wherever that stands."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from visuallens.models.base import PromptImage
from visuallens.models.label_space import LabelKind, LabelSpace
from visuallens.prompts import Style
from visuallens.types import FloatArray


def vowels(line: str) -> float:
    """Like candidates for their vowels."""
    return sum(line.count(letter) for letter in "aeiou") / 4


class ToyBackbone:
    """Permutation-equivariant: a permutation of the candidates permutes the scores.

    Args:
        liking: gives a logit for the text of a candidate.
        labels: size of its label space.
        unsaid: labels for which it says nothing, as a server limited to its best would.
        in_words: it gives no log-probabilities; then it answers with this function of the prompt.
    """

    name = "toy"
    id = "toy@1"
    sees = True
    stays_here = True
    is_matcher = True
    style: Style | None = None
    max_tokens = 8192

    def __init__(
        self,
        liking: Callable[[str], float] = vowels,
        *,
        labels: int = 52,
        unsaid: Sequence[str] = (),
        in_words: Callable[[str], str] | None = None,
    ) -> None:
        self.scores: Literal["logits", "permutation"] = (
            "logits" if in_words is None else "permutation"
        )
        self._liking = liking
        self._labels = tuple(string.ascii_letters[:labels])
        self._unsaid = set(unsaid)
        self._in_words = in_words
        self.prompts: list[str] = []
        self.images: list[PromptImage | None] = []

    def label_space(self, kind: LabelKind | Literal["auto"] = "auto") -> LabelSpace:
        assert kind in ("auto", "letters")
        return LabelSpace("letters", self._labels, tuple(range(len(self._labels))), "toy")

    def count_tokens(self, prompts: Sequence[str], *, image: PromptImage | None) -> list[int]:
        return [len(prompt.split()) + (64 if image else 0) + 10 for prompt in prompts]

    def generate(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
    ) -> list[str]:
        assert max_new_tokens > 0
        self._note(images, prompts)
        assert self._in_words is not None
        return [self._in_words(prompt) for prompt in prompts]

    def score_labels(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        label_space: LabelSpace,
    ) -> FloatArray:
        self._note(images, prompts)
        rows = np.full((len(prompts), len(label_space)), -50.0, np.float32)
        for row, prompt in zip(rows, prompts, strict=True):
            lines = dict(line.split(": ", 1) for line in prompt.splitlines() if ": " in line)
            for column, label in enumerate(label_space.labels):
                if label in self._unsaid:
                    row[column] = np.nan
                elif label in lines:
                    row[column] = self._liking(lines[label])
        said = np.where(np.isnan(rows), -np.inf, rows)
        return np.asarray(rows - np.logaddexp.reduce(said, axis=1, keepdims=True), np.float32)

    def _note(self, images: Sequence[PromptImage | None], prompts: Sequence[str]) -> None:
        assert len(images) == len(prompts)
        self.prompts += prompts
        self.images += images
