"""Comparing category names, which people write in many ways."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache


@lru_cache(maxsize=65_536)
def category_key(category: str) -> str:
    """Reduce a category to what two spellings of it share.

    Args:
        category: as written, for instance "Cafés" or "library".

    Returns:
        A key for comparing ("cafe", "librari"), not for showing; empty for empty text.

    Choice: letter case, accents, extra spaces and English plurals do not matter, so "museums"
    finds "Museum" and "cafe" finds "Café". "Art museum" is still not "museum": whole categories
    are compared.
    """
    decomposed = unicodedata.normalize("NFKD", category.casefold().replace("&", " and "))
    plain = "".join(mark for mark in decomposed if not unicodedata.combining(mark))
    return " ".join(_singular(word) for word in plain.split())


def _singular(word: str) -> str:
    """Map singular and plural of a word to one form ("library", "libraries" → "librari")."""
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    word = re.sub(r"(s|x|z|ch|sh|i)e$", r"\1", word)
    return re.sub(r"y$", "i", word)
