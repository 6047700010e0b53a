"""Label spaces: the tokens that name candidates in a prompt and in the first output token.

Source: appendix D, special tokens <I1> ... <I100> added to the vocabulary.
Choice: four forms. New tokens are the paper's, must be trained and cannot be served as a LoRA;
    existing reserved tokens (PaliGemma's `<locNNNN>`, Llama's reserved ones) are trained too but
    leave the vocabulary as it is; letters mean something to a model without any training. With
    names there are no labels: a candidate is scored by how likely its own name is as the answer, so
    that whatever a language model knows of names counts, and all of their words are trained.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Protocol, get_args
from weakref import WeakKeyDictionary

from visuallens.errors import BackboneError

LabelKind = Literal["new", "reserved", "letters", "names"]

MOST_LABELS = 100
"""Source: appendix D, at most 100 candidates."""
NEW_LABELS = tuple(f"<I{number}>" for number in range(1, MOST_LABELS + 1))

_RESERVED = (
    re.compile(r"<loc\d{4}>"),  # PaliGemma
    re.compile(r"<\|reserved_special_token_\d+\|>"),  # Llama 3
    re.compile(r"<unused\d+>"),  # Gemma
    re.compile(r"<\|?reserved_\d+\|?>"),  # MiniCPM and others
    re.compile(r"<extra_\d+>|<\|extra_\d+\|>"),  # Qwen's first generations
)


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    def __len__(self) -> int: ...
    def get_vocab(self) -> dict[str, int]: ...  # noqa: D102 - theirs
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...  # noqa: D102


_digests: WeakKeyDictionary[Tokenizer, tuple[int, str]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """Labels of candidates, compared by token id.

    Attributes:
        kind: where the tokens come from.
        labels: as written before a candidate in the prompt, in order; none of the kind "names".
        token_ids: of the first output token that means each label; empty for a server that tells
            no token ids, where the bytes of the token are compared instead, and for names.
        tokenizer: `tokenizer_hash` of the vocabulary that the ids belong to; empty likewise.
    """

    kind: LabelKind
    labels: tuple[str, ...]
    token_ids: tuple[int, ...]
    tokenizer: str

    def __len__(self) -> int:
        return len(self.labels)

    def cut(self, count: int) -> LabelSpace:
        """Keep the first `count` labels."""
        return LabelSpace(self.kind, self.labels[:count], self.token_ids[:count], self.tokenizer)

    def to_record(self) -> dict[str, object]:
        """Turn into what is saved with every adapter."""
        return {
            "kind": self.kind,
            "labels": list(self.labels),
            "token_ids": list(self.token_ids),
            "tokenizer": self.tokenizer,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LabelSpace:  # Any: JSON
        """Read what `to_record` made.

        Args:
            record: parsed JSON.

        Returns:
            The label space.

        Raises:
            KeyError, TypeError, ValueError: it is not such a record.
        """
        kind = record["kind"]
        if kind not in get_args(LabelKind):
            raise ValueError(f"unknown kind {kind!r}")
        return cls(
            kind,
            tuple(str(label) for label in record["labels"]),
            tuple(int(token) for token in record["token_ids"]),
            str(record["tokenizer"]),
        )


def new_tokens(tokenizer: Tokenizer, backbone: str) -> LabelSpace:
    """Use the paper's own tokens, which must be in the vocabulary already.

    Args:
        tokenizer: with `NEW_LABELS` added.
        backbone: named in errors.

    Returns:
        100 labels.

    Raises:
        BackboneError: the tokens have not been added.
    """
    vocabulary = tokenizer.get_vocab()
    if any(label not in vocabulary for label in NEW_LABELS):
        raise BackboneError(
            backbone,
            "the label tokens <I1> ... <I100> are not in its vocabulary. Load an adapter that was "
            "trained with them, or choose --set matching.labels=letters.",
        )
    return _space("new", NEW_LABELS, [vocabulary[label] for label in NEW_LABELS], tokenizer)


def reserved_tokens(tokenizer: Tokenizer, backbone: str) -> LabelSpace:
    """Use tokens that the vocabulary keeps for later use.

    Args:
        tokenizer: of the model.
        backbone: named in errors.

    Returns:
        At most 100 labels, in the order of their token ids.

    Raises:
        BackboneError: the vocabulary has fewer than two.
    """
    vocabulary = tokenizer.get_vocab()
    for pattern in _RESERVED:
        matching = (text for text in vocabulary if pattern.fullmatch(text))
        found = sorted((vocabulary[text], text) for text in matching)
        if len(found) >= 2:
            kept = found[:MOST_LABELS]
            return _space("reserved", [text for _, text in kept], [i for i, _ in kept], tokenizer)
    raise BackboneError(
        backbone,
        "its vocabulary has no reserved tokens. Choose --set matching.labels=new with an adapter, "
        "or letters.",
    )


def letters(tokenizer: Tokenizer, before: str, gap: str, backbone: str) -> LabelSpace:
    """Use single letters, as the model would write them after a given text.

    Args:
        tokenizer: of the model.
        before: a prompt, up to where the answer begins.
        gap: what the model writes between the two; a space there is part of the letter's token.
        backbone: named in errors.

    Returns:
        Up to 52 labels, A to Z and a to z; letters that are no single token there are left out.

    Raises:
        BackboneError: fewer than two letters are single tokens.
    """
    start = tokenizer.encode(before, add_special_tokens=False)
    labels, ids = [], []
    for letter in string.ascii_letters[26:] + string.ascii_letters[:26]:
        whole = tokenizer.encode(before + gap + letter, add_special_tokens=False)
        if len(whole) == len(start) + 1 and whole[:-1] == start and whole[-1] not in ids:
            labels.append(letter)
            ids.append(whole[-1])
    if len(labels) < 2:
        raise BackboneError(
            backbone, "its tokenizer writes no letter as one token. Choose another label space."
        )
    return _space("letters", labels, ids, tokenizer)


def no_labels(tokenizer: Tokenizer) -> LabelSpace:
    """Use no labels: candidates are told by their own names."""
    return _space("names", (), (), tokenizer)


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """Digest a vocabulary: every token with its id, added ones included.

    Args:
        tokenizer: its digest is remembered while no token is added, for it takes a tenth of a
            second.

    Returns:
        sha256, hex.
    """
    size, known = _digests.get(tokenizer, (0, ""))
    if size != len(tokenizer):
        pairs = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
        size, known = len(tokenizer), sha256(pairs.encode("utf-8", "surrogatepass")).hexdigest()
        _digests[tokenizer] = size, known
    return known


def _space(
    kind: LabelKind, labels: Sequence[str], ids: Sequence[int], tokenizer: Tokenizer
) -> LabelSpace:
    return LabelSpace(kind, tuple(labels), tuple(ids), tokenizer_hash(tokenizer))
