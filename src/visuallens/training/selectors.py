"""Who chooses useful aspect words in a round of refinement (§5.2).

`backbone` is the paper's: a language model is shown a photo's words, the candidates and the ground
truth, and names the useful ones. `statistical` needs no model: it keeps words whose presence among
a user's photos raises the odds of the ground truth, as far as other users show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.models.base import Backbone
from visuallens.models.label_space import MOST_LABELS, NEW_LABELS
from visuallens.prompts import CandidateLine, Style, parse_selection, selection_prompt
from visuallens.rankers.fitting import Cut, first_that_fits
from visuallens.training.photo_uses import SPLIT, Words
from visuallens.types import Candidate, Example

_TOKENS_PER_WORD = 6
_TOKENS_AROUND = 16
_MOST_ANSWER_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Offered:
    """A photo whose words are to be chosen from.

    Attributes:
        photo: as `Words` names it.
        words: W^(j-1).
        examples: numbers of the training examples by which they are judged; one at least.
    """

    photo: str
    words: tuple[str, ...]
    examples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen for a photo.

    Attributes:
        words: W^(j), in the order in which they were offered.
        asked: how many judgements were asked for.
        read: how many of them could be read.
    """

    words: tuple[str, ...]
    asked: int
    read: int


class Selector(Protocol):
    """Chooses useful words of photos.

    Attributes:
        name: as `training.aspects.selector` has it.
        id: of the model, with its revision.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class
    @property
    def id(self) -> str: ...  # noqa: D102

    def begin(self, words: Words) -> None:
        """Learn of a round before its photos are offered.

        Args:
            words: W^(j-1) of all photos.
        """
        ...

    def select(self, offered: Sequence[Offered]) -> list[Selection]:
        """Choose among the words of some photos.

        Args:
            offered: any number.

        Returns:
            One selection each; its words are among those offered.

        Raises:
            BackboneError: a model cannot answer.

        Choice: a word is kept if any of the photo's examples finds it useful; a photo speaks for
            more than one question, and a word that serves none goes.
        """
        ...


class BackboneSelector:
    """See `Selector`; a language model with the prompt of Figure 6.

    Args:
        benchmark: whose train split has the examples.
        backbone: any, a server too; it is shown no image.
        style: of the prompt.
        seed: of the candidates' order.

    Source: §5.2, where it is Llama-3.1 70B; Figure 6.
    Choice: the labels are always <I1>, <I2>, ...; they are plain text here, since words answer.
    Choice: an answer that names no offered word tells nothing, as a refusal does. A photo about
        which no answer tells anything keeps its words.
    """

    name = "backbone"

    def __init__(self, benchmark: Benchmark, backbone: Backbone, style: Style, seed: int) -> None:
        self._benchmark, self._backbone = benchmark, backbone
        self._style, self._seed = style, seed

    @property
    def id(self) -> str:
        """Of the backbone."""
        return self._backbone.id

    def begin(self, words: Words) -> None:
        """See `Selector.begin`; each photo is judged alone."""

    def select(self, offered: Sequence[Offered]) -> list[Selection]:
        """See `Selector.select`."""
        asked = [(at, number) for at, one in enumerate(offered) for number in one.examples]
        asked = [(at, number) for at, number in asked if offered[at].words]
        prompts = self._prompts([(offered[at], number) for at, number in asked])
        room = max((_answer_tokens(one.words) for one in offered), default=0)
        answers = (
            self._backbone.generate([None] * len(prompts), prompts, max_new_tokens=room)
            if prompts
            else []
        )
        chosen: list[set[str]] = [set() for _ in offered]
        read = [0] * len(offered)
        for (at, _), answer in zip(asked, answers, strict=True):
            words = parse_selection(answer, offered[at].words)
            chosen[at].update(words)
            read[at] += bool(words)
        return [
            Selection(
                tuple(word for word in one.words if word in own) if own else one.words,
                len(one.examples) if one.words else 0,
                told,
            )
            for one, own, told in zip(offered, chosen, read, strict=True)
        ]

    def count_tokens(self, offered: Sequence[Offered]) -> list[int]:
        """Count the tokens of the prompts about some photos, for an estimate."""
        prompts = self._prompts([(one, at) for one in offered for at in one.examples])
        return self._backbone.count_tokens(prompts, image=None)

    def _prompts(self, asked: Sequence[tuple[Offered, int]]) -> list[str]:
        numbers = sorted({number for _, number in asked})
        found = self._benchmark.some(SPLIT, numbers)
        examples = {at: one.example for at, one in zip(numbers, found, strict=True)}
        return [self._prompt(one, examples[number]) for one, number in asked]

    def _prompt(self, offered: Offered, example: Example) -> str:
        """Write the longest prompt that fits: what is cut is decided as for matching."""
        shuffled = self._shuffled(example)
        window = min(len(shuffled), MOST_LABELS)
        budget = self._backbone.max_tokens - _answer_tokens(offered.words)
        (around,) = self._backbone.count_tokens([""], image=None)

        def tokens(cut: Cut) -> int:
            prompt = self._write(offered, example, shuffled, cut)
            if len(prompt.encode()) + around <= budget:
                return 0  # no tokenizer makes more tokens than bytes
            return self._backbone.count_tokens([prompt], image=None)[0]

        cut = first_that_fits(0, window, tokens, budget)
        return self._write(offered, example, shuffled, cut)

    def _write(
        self, offered: Offered, example: Example, shuffled: Sequence[Candidate], cut: Cut
    ) -> str:
        listed = _window(shuffled, example.ground_truth, cut.window)
        lines = [
            CandidateLine(label, one.name, cut.description(one))
            for label, one in zip(NEW_LABELS, listed, strict=False)
        ]
        right = [
            label
            for label, one in zip(NEW_LABELS, listed, strict=False)
            if one.id in example.ground_truth
        ]
        category = example.request.question.category
        return selection_prompt(category, offered.words, lines, right, style=self._style)

    def _shuffled(self, example: Example) -> list[Candidate]:
        """Order candidates by the seeds, so that places say nothing of the ground truth."""
        ordered = sorted(example.request.candidates, key=lambda one: one.id)
        generator = np.random.default_rng((self._seed, example.request.seed, 5))
        return [ordered[int(at)] for at in generator.permutation(len(ordered))]


def _window(
    shuffled: Sequence[Candidate], ground_truth: frozenset[str], most: int
) -> list[Candidate]:
    """Take as many candidates as fit, all right ones but for one place, in their order."""
    if len(shuffled) <= most:
        return list(shuffled)
    right = [one for one in shuffled if one.id in ground_truth][: most - 1]
    others = [one for one in shuffled if one.id not in ground_truth]
    kept = {one.id for one in (*right, *others[: most - len(right)])}
    return [one for one in shuffled if one.id in kept]


def _answer_tokens(words: Sequence[str]) -> int:
    return min(_MOST_ANSWER_TOKENS, _TOKENS_AROUND + _TOKENS_PER_WORD * len(words))
