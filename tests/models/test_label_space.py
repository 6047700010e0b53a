from __future__ import annotations

import json

import pytest
from tests.models.backbones.tiny import byte_tokenizer
from tokenizers import AddedToken

from visuallens.errors import BackboneError
from visuallens.models.label_space import (
    NEW_LABELS,
    LabelSpace,
    letters,
    new_tokens,
    reserved_tokens,
    tokenizer_hash,
)


def test_the_paper_has_a_hundred_labels_from_one() -> None:
    assert (NEW_LABELS[0], NEW_LABELS[-1], len(NEW_LABELS)) == ("<I1>", "<I100>", 100)


def test_new_tokens_must_have_been_added() -> None:
    tokenizer = byte_tokenizer([])
    with pytest.raises(BackboneError, match="not in its vocabulary"):
        new_tokens(tokenizer, "toy")
    before = tokenizer_hash(tokenizer)
    tokenizer.add_tokens([AddedToken(label, special=True) for label in NEW_LABELS])
    space = new_tokens(tokenizer, "toy")
    assert space.labels == NEW_LABELS
    assert tokenizer.convert_ids_to_tokens(list(space.token_ids)) == list(NEW_LABELS)
    assert space.tokenizer == tokenizer_hash(tokenizer) != before


@pytest.mark.parametrize(
    ("tokens", "first"),
    [
        ([f"<loc{n:04}>" for n in range(1024)], "<loc0000>"),
        ([f"<|reserved_special_token_{n}|>" for n in range(247)], "<|reserved_special_token_0|>"),
        ([f"<unused{n}>" for n in range(99)], "<unused0>"),
    ],
)
def test_reserved_tokens_come_in_the_order_of_their_ids(tokens: list[str], first: str) -> None:
    space = reserved_tokens(byte_tokenizer(tokens), "toy")
    assert space.labels[0] == first
    assert len(space) == min(100, len(tokens))
    assert list(space.token_ids) == sorted(set(space.token_ids))


def test_a_vocabulary_without_reserved_tokens_says_so() -> None:
    with pytest.raises(BackboneError, match="no reserved tokens"):
        reserved_tokens(byte_tokenizer(["<|reserved_special_token_0|>"]), "toy")


def test_letters_are_read_in_their_place() -> None:
    tokenizer = byte_tokenizer([])
    space = letters(tokenizer, "Answer:", "", "toy")
    assert len(space) == 52
    for label, token in zip(space.labels, space.token_ids, strict=True):
        ids = tokenizer.encode("Answer:" + label, add_special_tokens=False)
        assert ids[-1] == token


def test_a_space_before_a_letter_is_part_of_its_token() -> None:
    tokenizer = byte_tokenizer([])
    space = letters(tokenizer, "Answer:", " ", "toy")
    for label, token in zip(space.labels, space.token_ids, strict=True):
        assert tokenizer.decode([token]) == f" {label}"


def test_a_label_space_survives_its_record() -> None:
    space = letters(byte_tokenizer([]), "Answer:", "", "toy")
    assert LabelSpace.from_record(json.loads(json.dumps(space.to_record()))) == space


@pytest.mark.parametrize("change", [{"kind": "emoji"}, {"token_ids": ["x"]}, {"labels": None}])
def test_a_broken_record_is_refused(change: dict[str, object]) -> None:
    record = letters(byte_tokenizer([]), "Answer:", "", "toy").to_record() | change
    with pytest.raises((KeyError, TypeError, ValueError)):
        LabelSpace.from_record(record)


def test_a_cut_keeps_the_first() -> None:
    space = letters(byte_tokenizer([]), "Answer:", "", "toy").cut(3)
    assert (space.labels, len(space.token_ids)) == (("A", "B", "C"), 3)
