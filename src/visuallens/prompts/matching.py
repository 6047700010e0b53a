"""The prompt of candidate matching (§4.2, Figure 7).

The parts come in the order category, aspect words, captions, candidates, so that two prompts of
one profile and category are the same up to the first candidate, and a backbone can keep what it
computed for that beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from visuallens.prompts.data import FENCE_NOTE, Style, as_data, category_word, mark_data, word_list


@dataclass(frozen=True, slots=True)
class CandidateLine:
    """A candidate as a prompt lists it; its text is raw, the prompts make it harmless.

    Attributes:
        label: names the candidate; from a label space, so it is written as it is.
        name: of the candidate.
        description: may be empty.
    """

    label: str
    name: str
    description: str = ""


def matching_prompt(
    category: str,
    aspect_words: Sequence[str],
    captions: Sequence[tuple[int, str]],
    candidates: Sequence[CandidateLine],
    *,
    style: Style = "fenced",
) -> str:
    """Ask which candidate the user goes to next; the answer is one label.

    Args:
        category: c.
        aspect_words: of all retrieved photos.
        captions: the number of a photo in the grid and its caption.
        candidates: in the order in which they are listed.
        style: "paper" is Figure 7 to the letter; "fenced" adds a note and marks around the data.

    Returns:
        The prompt. A block without content is left out.

    Source: Figure 7.
    Choice: it ends with "Answer:" and no space, because most tokenizers join a space with the
        token after it, and the first token of the answer must be a label. A label of letters or
        digits alone is followed by a colon: "A Bar" could be a name.
    """
    return (
        f"{profile_part(category, aspect_words, captions, style)}"
        f"{candidate_part(candidates, style)}\n\nAnswer:"
    )


def profile_part(
    category: str, aspect_words: Sequence[str], captions: Sequence[tuple[int, str]], style: Style
) -> str:
    """Write the beginning that all prompts of one profile and category share.

    Args:
        category: c.
        aspect_words: of all retrieved photos.
        captions: the number of a photo in the grid and its caption.
        style: see `matching_prompt`.

    Returns:
        The question and the blocks of the profile, without anything at the end.

    Source: Figure 7.
    """
    question = f"What is the {category_word(category)} the user most likely to go to next?"
    blocks = [question if style == "paper" else f"{question}\n{FENCE_NOTE}"]
    if words := word_list(aspect_words):
        blocks.append(f"Aspect words:\n{mark_data(words, style)}")
    numbered = [(number, as_data(caption)) for number, caption in captions]
    lines = [f"Image {number}: {caption}" for number, caption in numbered if caption]
    if lines:
        blocks.append("Captions:\n" + mark_data("\n".join(lines), style))
    return "\n\n".join(blocks)


def candidate_part(candidates: Sequence[CandidateLine], style: Style) -> str:
    """Write what follows the profile; empty when there are no candidates."""
    if not candidates:
        return ""
    listed = "\n".join(candidate_line(candidate) for candidate in candidates)
    return "\n\nCandidates:\n" + mark_data(listed, style)


def candidate_line(candidate: CandidateLine) -> str:
    """Write one candidate: "<I1> Name, Description", without what is empty."""
    mark = f"{candidate.label}:" if candidate.label.isalnum() else candidate.label
    texts = (as_data(candidate.name), as_data(candidate.description))
    return f"{mark} {', '.join(text for text in texts if text)}".rstrip()
