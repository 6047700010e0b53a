"""The prompt that asks for a whole order, and the parser of its answer.

For models that give no log-probabilities. The paper has no such prompt; the profile and the
candidates are written as in Figure 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from visuallens.prompts.answers import plain_signs, strip_thinking
from visuallens.prompts.data import Style
from visuallens.prompts.matching import CandidateLine, candidate_part, profile_part

_SEPARATOR = re.compile(r"([>→≻,;\n]|\bthen\b)")
_BEFORE_NAME = re.compile(r"[:.)-]")
_NUMBERING = re.compile(r"^\s*\d{1,3}[.)]\s+(?=\S)")
_EDGES = " \t\r\"'*_`~#()[]{}<|¦.:!?="
_OPEN, _CLOSE = "\ue000", "\ue001"
_MASK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Permutation:
    """An order of all candidates, repaired where the answer was broken.

    Attributes:
        order: positions from 0 in the list of labels, best first; each position once.
        missing: labels that the answer did not name; they come last, in their given order.
        duplicates: labels named again; the first place counts.
        malformed: pieces of the answer that name no label.
    """

    order: tuple[int, ...]
    missing: int
    duplicates: int
    malformed: int


def permutation_prompt(
    category: str,
    aspect_words: Sequence[str],
    captions: Sequence[tuple[int, str]],
    candidates: Sequence[CandidateLine],
    *,
    style: Style = "fenced",
) -> str:
    """Ask for all candidates in order; it begins as `matching_prompt` does.

    Args:
        category: c.
        aspect_words: of all retrieved photos.
        captions: the number of a photo in the grid and its caption.
        candidates: in the order in which they are listed; labels such as [1] or A.
        style: see `matching_prompt`.

    Returns:
        The prompt, ending with "Answer:".

    Choice: no example of an answer is given, because small models copy its order.
    """
    return (
        f"{profile_part(category, aspect_words, captions, style)}"
        f"{candidate_part(candidates, style)}\n\n"
        f"Rank all {len(candidates)} candidates by how likely the user is to go there next. Write "
        'only their labels, the most likely first, separated by ">".\n\nAnswer:'
    )


def parse_permutation(answer: str, labels: Sequence[str]) -> Permutation:
    """Read an order out of an answer and repair it.

    Args:
        answer: as the model wrote it.
        labels: of the candidates, in the order of the prompt, all different.

    Returns:
        Always an order of all labels.

    Choice: a label with brackets counts wherever it stands; one of letters or digits alone (also
        "3" for "[3]") only where a piece between separators is that label, because "A" is a word.
    """
    reader = _Reader(labels)
    seen: dict[int, None] = {}
    duplicates = malformed = 0
    for positions in reader.read(answer):
        malformed += not positions
        for position in positions:
            duplicates += position in seen
            seen[position] = None
    left = [position for position in range(len(labels)) if position not in seen]
    return Permutation((*seen, *left), len(left), duplicates, malformed)


class _Reader:
    """Finds labels in answers."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._positions: dict[str, int] = {}
        lowered: dict[str, int] = {}
        for position, label in enumerate(labels):
            core = _core(label)
            self._positions.setdefault(core, position)
            lowered.setdefault(core.casefold(), position)
        for core, position in lowered.items():
            self._positions.setdefault(core, position)
        self._positions.pop("", None)
        self._bracketed = {
            _normal(label): position
            for position, label in enumerate(labels)
            if label.strip() and not (label[0].isalnum() and label[-1].isalnum())
        }
        longest_first = sorted(self._bracketed, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def read(self, answer: str) -> Iterator[list[int]]:
        """Give the positions that each piece names, none for a piece that names no label."""
        text = _normal(strip_thinking(answer))
        masked = self._pattern.sub(
            lambda found: f"{_OPEN}{self._bracketed[found[0]]}{_CLOSE}", text
        )
        parts = ["", *_SEPARATOR.split(masked), ""]
        for before, piece, after in zip(parts[::2], parts[1::2], parts[2::2], strict=False):
            if piece.strip(_EDGES).strip():
                found = [int(number) for number in _MASK.findall(piece)]
                yield found or self._named(piece) or self._beside(before, piece.split(), after)

    def _beside(self, before: str, words: list[str], after: str) -> list[int]:
        """Read the label that stands next to a ">", in a piece that also says other things."""
        for sign, word in ((after, words[-1]), (before, words[0])):
            if sign == ">" and (found := self._named(word)):
                return found
        return []

    def _named(self, piece: str) -> list[int]:
        """Read a piece that is a label, a label with its name, or only labels."""
        tail = _NUMBERING.sub("", piece).strip(_EDGES)
        for text in (tail, *_BEFORE_NAME.split(tail, maxsplit=1)):
            position = self._lookup(text)
            if position is not None:
                return [position]
        positions = [self._lookup(word) for word in tail.split()]
        return [p for p in positions if p is not None] if None not in positions else []

    def _lookup(self, text: str) -> int | None:
        core = _core(text)
        return self._positions.get(core, self._positions.get(core.casefold()))


def _core(label: str) -> str:
    return _normal(label).strip(_EDGES + ">")


def _normal(text: str) -> str:
    return plain_signs(text).replace(_OPEN, "").replace(_CLOSE, "")
