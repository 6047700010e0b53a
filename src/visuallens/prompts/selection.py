"""The prompt that selects useful aspect words, and the parser of its answer (§5.2, Figure 6).

It sees the ground truth, so it is for training data only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from visuallens.errors import RequestError
from visuallens.prompts.answers import is_refusal, plain_text
from visuallens.prompts.data import FENCE_NOTE, Style, as_data, category_word, mark_data, word_list
from visuallens.prompts.matching import CandidateLine, candidate_line

_SEPARATOR = re.compile(r"[\n,;:.•·*()\"]|\s[-]\s")
_BETWEEN = re.compile(r"\s(?:and|or|&)\s|^(?:and|or|&)\s", re.IGNORECASE)
_EDGES = " \t'«»-!?/\\{}#+0123456789"
_NEGATION = re.compile(r"\b(?:none|no|not|neither|nor|without|cannot)\b|n't\b", re.IGNORECASE)


def selection_prompt(
    category: str,
    aspect_words: Sequence[str],
    candidates: Sequence[CandidateLine],
    ground_truth_labels: Sequence[str],
    *,
    style: Style = "fenced",
) -> str:
    """Ask which aspect words of a photo help to predict the ground truth.

    Args:
        category: c, also of the place where the photo was taken.
        aspect_words: W_i of the round before.
        candidates: in the order in which they are listed.
        ground_truth_labels: labels of the right candidates, at least one.
        style: "paper" is Figure 6 to the letter; "fenced" adds a note and marks around the data.

    Returns:
        The prompt, ending with the colon after which the answer begins on a new line.

    Raises:
        RequestError: no ground truth, or a label that is no candidate's.

    Source: Figure 6, which is titled "Aspect Word Generation" and is the selection of §5.2.
    Choice: the bold type of the figure is left out, and lists stand directly below their headings
        as in Figure 7.
    """
    unknown = set(ground_truth_labels) - {candidate.label for candidate in candidates}
    if unknown or not ground_truth_labels:
        raise RequestError(
            "Aspect words are selected by the ground truth: give at least one label, each of a "
            f"listed candidate (not of one: {', '.join(sorted(unknown)) or 'none given'})."
        )
    word = category_word(category)
    right = [CandidateLine(c.label, c.name) for c in candidates if c.label in ground_truth_labels]
    parts = [
        f"Here is a list of aspect words for a given image that the user took at a {word}:\n"
        + mark_data(f"{word_list(aspect_words)}.", style),
        f"What are useful aspects to predict the {word} the user will go after?",
        f"Candidates of {word}:\n" + mark_data("\n".join(map(candidate_line, candidates)), style),
        "Ground Truth:\n" + mark_data("\n".join(map(candidate_line, right)), style),
        "Provide the useful aspects to help predict the ground truth, separated by comma:",
    ]
    if style == "fenced":
        parts.insert(0, FENCE_NOTE)
    return "\n\n".join(parts)


def parse_selection(answer: str, offered: Sequence[str]) -> tuple[str, ...]:
    """Read which of the offered words an answer chose.

    Args:
        answer: as the model wrote it.
        offered: the words of the prompt.

    Returns:
        Words as they were offered, in the order of the answer, each once; empty when it chose
        none.

    Choice: entries must be offered words, whatever their letter case. Only an answer without any
        such entry is searched for offered words within its sentences, and sentences that deny
        ("none of the words ...") are passed over.
    """
    if is_refusal(answer):
        return ()
    known: dict[str, str] = {}
    for word in offered:
        known.setdefault(_key(word), word)
    known.pop("", None)
    text = plain_text(answer)
    chosen = list(_entries(text, known)) or list(_mentions(text, known))
    return tuple(dict.fromkeys(chosen))


def _entries(text: str, known: dict[str, str]) -> Iterator[str]:
    for raw in _SEPARATOR.split(text):
        whole = _key(raw)
        parts = [whole] if whole in known else [_key(part) for part in _BETWEEN.split(raw)]
        yield from (known[part] for part in parts if part in known)


def _mentions(text: str, known: dict[str, str]) -> Iterator[str]:
    if not known:
        return
    longest_first = sorted(known, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    for sentence in re.split(r"[\n.!?]", _as_lines(text)):
        if not _NEGATION.search(sentence):
            yield from (known[found] for found in pattern.findall(sentence))


def _as_lines(text: str) -> str:
    """Make every line comparable with the keys of words."""
    return "\n".join(as_data(line).casefold() for line in text.splitlines())


def _key(word: str) -> str:
    return as_data(word).strip(_EDGES).casefold()
