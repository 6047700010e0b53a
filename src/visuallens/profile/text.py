"""The text half of a profile, x_{u,q}: aspect words and numbered captions (§4.2, Figure 7)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import log

from visuallens.types import ProfileCell

_MAX_WORDS = 30
_SMOOTHING = 0.01


def profile_text(cells: Sequence[ProfileCell], aspect_words: Sequence[str]) -> str:
    """Write the profile part of the matching prompt.

    Args:
        cells: photos without a caption are left out, the others keep their number.
        aspect_words: of all photos together.

    Returns:
        "Aspect words:" and "Captions:" blocks; a block without content is left out.

    Source: Figure 7.
    """
    blocks = []
    if aspect_words:
        blocks.append("Aspect words:\n" + ", ".join(aspect_words))
    captions = [f"Image {cell.number}: {cell.caption}" for cell in cells if cell.caption]
    if captions:
        blocks.append("Captions:\n" + "\n".join(captions))
    return "\n\n".join(blocks)


def telling_words(cells: Sequence[ProfileCell], background: Mapping[str, float]) -> tuple[str, ...]:
    """Order the aspect words of the retrieved photos by how much they tell.

    A word's weight is p log((p + s) / (b + s)): p is its share of the retrieved photos, b its
    share of all the user's photos, s = 0.01 keeps rare words from exploding. Words that the
    question brings up come first; words that are everywhere in the history come last.

    Args:
        cells: the retrieved photos.
        background: share of the user's photos that have the word; 0 when absent.

    Returns:
        Each word once, at most 30, most telling first, equal ones in alphabetical order.

    Choice: the paper concatenates all aspect words; we order them, so that a cut loses the least.
    """
    counts: dict[str, int] = defaultdict(int)
    for cell in cells:
        for word in set(cell.aspect_words):
            counts[word] += 1

    def weight(word: str) -> float:
        share = counts[word] / len(cells)
        return share * log((share + _SMOOTHING) / (background.get(word, 0.0) + _SMOOTHING))

    return tuple(sorted(counts, key=lambda word: (-weight(word), word))[:_MAX_WORDS])
