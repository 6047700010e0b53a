"""Which token ids mean a label on a server, found through its tokenizing route."""

from __future__ import annotations

import asyncio
import hashlib
import json
import string
from collections.abc import Mapping, Sequence

from visuallens.models.server.route import Tokenize

LETTERS = tuple(string.ascii_uppercase + string.ascii_lowercase)

Found = dict[str, tuple[int, ...]]
Forms = Mapping[str, tuple[int, ...]]
"""Label → token ids that mean it."""


async def forms_of(tokenize: Tokenize, labels: Sequence[str]) -> Found:
    """Find the tokens that write letters at the start of an answer.

    Args:
        tokenize: of the server, without special tokens.
        labels: single letters.

    Returns:
        The ids of each: alone, after a space and after a line break, as far as they are single
        tokens; labels without any are left out. No id belongs to two labels.

    Choice: all three, because a SentencePiece vocabulary has "A" only after a line break and writes
        it as " A" elsewhere.
    """
    line_break = await tokenize("\n")
    found: Found = {}
    taken: set[int] = set()
    for label in labels:
        alone, spaced, below = await asyncio.gather(
            *(tokenize(before + label) for before in ("", " ", "\n"))
        )
        if below[:-1] == line_break:
            below = below[-1:]
        single = [own[0] for own in (alone, spaced, below) if len(own) == 1]
        ids = tuple(token for token in dict.fromkeys(single) if token not in taken)
        if ids:
            found[label] = ids
            taken.update(ids)
    return found


async def single_tokens(tokenize: Tokenize, labels: Sequence[str]) -> Found | None:
    """Find labels that must each be one token of the vocabulary.

    Args:
        tokenize: of the server.
        labels: such as "<I1>".

    Returns:
        One id each, or None if any label is no single token.
    """
    found: Found = {}
    for label in labels:
        tokens = await tokenize(label)
        if len(tokens) != 1:
            return None
        found[label] = (tokens[0],)
    return found


def within_limit(labels: tuple[str, ...], forms: Forms, most: int) -> list[tuple[int, ...]]:
    """Choose the ids of each label: all of its forms, or the first where those are too many."""
    ids = [forms[label] for label in labels]
    return ids if len({i for own in ids for i in own}) <= most else [own[:1] for own in ids]


def vocabulary_hash(model: str, found: Found) -> str:
    """Digest what is known of a server's vocabulary: the ids of its labels."""
    known = json.dumps([model, sorted(found.items())])
    return hashlib.sha256(known.encode()).hexdigest()
