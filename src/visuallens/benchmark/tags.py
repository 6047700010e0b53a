"""From the tags of businesses to the categories that questions ask for (appendix A.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

KEPT_PHRASES = ("tourist attraction", "steak house", "historical landmark", "nature preserve")
"""Categories of several words that are kept whole.

Source: appendix A.2, word for word; its "etc." is not guessed at.
`benchmark.kept_phrases` takes a longer list.
"""


def category_of(tag: str, kept_phrases: Collection[str]) -> str:
    """Reduce one tag to its category.

    Args:
        tag: as the dump writes it, for instance "Italian restaurant".
        kept_phrases: lower-case categories of several words.

    Returns:
        The last word of the tag in lower case, or the phrase that it ends with; empty for an empty
        tag.

    Source: appendix A.2, category removal and merge.
    Choice: a "Brazilian steak house" is a steak house; the longest phrase counts.
    """
    words = tag.casefold().split()
    ends = (" ".join(words[start:]) for start in range(len(words) - 1))
    return next((end for end in ends if end in kept_phrases), words[-1] if words else "")


def categories_of(
    tags: Iterable[str], kept_phrases: Collection[str], removed: Collection[str]
) -> tuple[str, ...]:
    """List the categories of a business, each once, in the order of its tags.

    Choice: a business carries every category that its tags give; the paper does not say whether it
        has one or several.
    """
    found = (category_of(tag, kept_phrases) for tag in tags)
    return tuple(dict.fromkeys(one for one in found if one and one not in removed))
