"""Understanding a free-text question: which category of places does it ask for?

Source: §3 and §6.1, category questions such as "Recommend a nearby museum".
Choice: the paper is given the category. We find it: by the words of the question if they name
    categories of the places, else by meaning, and tell the reader how the question was read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from visuallens.categories import category_key
from visuallens.errors import RequestError
from visuallens.types import FloatArray, Question

_MAX_CHARACTERS = 500
_LEAST_SIMILARITY = 0.5
_NEAR_TIE = 0.08
_MAX_MATCHED = 3
_SUGGESTIONS = 5

# Control characters, line separators, marks that turn the writing direction, halves of characters:
# they can garble a terminal or cannot be written to a file.
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_PUNCTUATION = re.compile(r"[^\w\s&]+")
# What a question says besides the thing that it asks for.
_FILLER = re.compile(
    r"\b(?:please|kindly|can|could|would|will|should|you|we|i|me|my|us|our|want|like|love|need"
    r"|looking|look|search|searching|recommend|recommendation|recommendations|suggest|show|find"
    r"|tell|give|get|go|visit|try|where|what|which|who|how|is|are|am|do|does|was|be|there|it|that"
    r"|this|for|to|of|a|an|the|some|any|in|at|on|and|with|near|nearby|nearest|closest|close|by"
    r"|around|here|tonight|today|tomorrow|now|next|good|great|nice|best|better|really|very"
    r"|just|one|new|place|places|somewhere|something|spot|recommended|hi|hello|thanks)\b",
    re.IGNORECASE,
)
# Only these may be dropped at the ends of a phrase whose meaning is compared.
_OPENING = re.compile(
    r"^(?:(?:please|can|could|would|you|i|we|want|would|like|need|to|recommend|suggest|show|find"
    r"|tell|give|get|me|us|where|what|which|is|are|am|there|looking|for|good|great|nice|best|some"
    r"|any|a|an|the|nearby|nearest|closest|hi|hello|do|does)\b(?:'\w+)?[\s,]*)+",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(?:[\s,]*\b(?:please|near|nearby|by|around|here|me|us|close|tonight|today|tomorrow|now"
    r"|thanks))+$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Understood:
    """How a question was read.

    Attributes:
        question: its text without control characters, at most 500 characters, and the category in
            words that can be embedded.
        matched: categories of the places that answer it; empty when none does.
        match: whether a place must have any or all of them.
        how: by the user's own word, the question's words, its meaning, or not at all.
        similarity: cosine of the meaning; 1 for words.
        message: one plain sentence for the reader.
    """

    question: Question
    matched: tuple[str, ...]
    match: Literal["any", "all"]
    how: Literal["given", "words", "meaning", "none"]
    similarity: float
    message: str


def understand(
    text: str,
    categories: Mapping[str, int],
    embed: Callable[[Sequence[str]], FloatArray],
    *,
    category: str | None = None,
) -> Understood:
    """Find the category that a question asks for.

    Args:
        text: the question; data of any kind, only its first 500 characters are read.
        categories: of the places, with the number of places of each; may be empty.
        embed: embeds texts, (texts, dim) float32 unit-length rows.
        category: given by the user, who then decides; a blank one counts as not given.

    Returns:
        How the question was read.

    Raises:
        RequestError: the question is empty, or the given category is none of the places'.
    """
    text = _readable(text)
    category = _readable(category or "")
    if category:
        return _given(text, category, categories)
    clean = " ".join(re.sub(r"[^\w\s&',/-]+", " ", text).split())
    phrase = _phrase(clean)
    if not phrase:
        raise RequestError("The question is empty. Ask for a kind of place, such as 'a museum'.")
    if not categories:
        message = f"I read this as: {phrase}. The places have no categories, so I look at all."
        return Understood(Question(text, phrase), (), "any", "none", 0.0, message)
    return _by_words(text, categories) or _by_meaning(text, phrase, categories, embed)


def _readable(text: str) -> str:
    plain = _UNREADABLE.sub(" ", text[:_MAX_CHARACTERS]).replace("\u2019", "'")
    return " ".join(plain.split())


def _given(text: str, category: str, categories: Mapping[str, int]) -> Understood:
    known = {category_key(name): name for name in categories}
    found = known.get(category_key(category))
    if found is None and categories:
        close = difflib.get_close_matches(category.lower(), list(categories), _SUGGESTIONS, 0.4)
        suggested = close or list(categories)[:_SUGGESTIONS]
        raise RequestError(
            f"No place has the category {category!r}. Did you mean: {', '.join(suggested)}?"
        )
    matched = (found,) if found is not None else ()
    message = f"Category as given: {_counted(matched, categories) or category}."
    return Understood(
        Question(text or category, found or category), matched, "any", "given", 1.0, message
    )


def _phrase(clean: str) -> str:
    """Cut the polite beginning and end off a question."""
    phrase = _CLOSING.sub("", _OPENING.sub("", clean)).strip(" ,'-/")
    return phrase if _FILLER.sub("", phrase).strip(" ,'-/") else ""


def _by_words(text: str, categories: Mapping[str, int]) -> Understood | None:
    """Match categories that the question names; several names must all hold.

    The longest names win, so that "coffee shop" is not also "coffee". Every further name narrows
    the choice: "Italian restaurant" is Italian and Restaurants where these are two categories.
    """
    words = _words(text)
    known: dict[tuple[str, ...], str] = {}
    for spelling in categories:
        known.setdefault(_words(spelling), spelling)
    longest = max((len(key) for key in known), default=0)
    found: dict[str, int] = {}
    taken: set[int] = set()
    for length in range(min(longest, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            span = range(start, start + length)
            name = known.get(tuple(words[start : start + length]))
            if name is not None and name not in found and taken.isdisjoint(span):
                found[name] = start
                taken.update(span)
    if not found:
        return None
    matched = tuple(sorted(found, key=found.__getitem__))
    message = f"I read this as: {_counted(matched, categories, ' and ')}."
    return Understood(Question(text, " ".join(matched)), matched, "all", "words", 1.0, message)


def _words(text: str) -> tuple[str, ...]:
    """Split into words that compare equal ("museum, please"; "American (New)"; "the zoo's")."""
    whole = re.sub(r"'s\b", "", text.replace("\u2019", "'"), flags=re.IGNORECASE)
    return tuple(category_key(_PUNCTUATION.sub(" ", whole)).split())


def _by_meaning(
    text: str,
    phrase: str,
    categories: Mapping[str, int],
    embed: Callable[[Sequence[str]], FloatArray],
) -> Understood:
    names = list(categories)
    similarities = embed(names) @ embed([phrase])[0]
    best = float(similarities.max())
    if best < _LEAST_SIMILARITY:
        message = f"No category of the places means {phrase!r}, so I look at all of them."
        return Understood(Question(text, phrase), (), "any", "none", best, message)
    order = np.argsort(-similarities, kind="stable")[:_MAX_MATCHED]
    floor = max(best - _NEAR_TIE, _LEAST_SIMILARITY)
    matched = tuple(names[index] for index in order if similarities[index] >= floor)
    message = f"I read {phrase!r} as: {_counted(matched, categories)}."
    return Understood(Question(text, matched[0]), matched, "any", "meaning", best, message)


def _counted(matched: Sequence[str], categories: Mapping[str, int], joined_by: str = " or ") -> str:
    counted = ((name, categories[name]) for name in matched)
    return joined_by.join(
        f"{name} ({count:,} {'place' if count == 1 else 'places'})" for name, count in counted
    )
