"""The classes that the embedded classifier knows, with everyday words for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Label:
    """One class of the classifier.

    Attributes:
        word: aspect word for it, one or two words, singular.
        name: full name, used where its meaning is embedded.
        hypernyms: everyday words that include it, from near to far.
    """

    word: str
    name: str
    hypernyms: tuple[str, ...]


@cache
def imagenet_labels() -> tuple[Label, ...]:
    """List the 1,000 ImageNet classes in the order of the classifier's outputs.

    Source: class names and hypernyms are those of WordNet 3.0.
    Choice: hypernyms are cut down to words that people use of photos, and a few place words
        (architecture, garden, theater) are added, which WordNet files elsewhere.
    """
    lines = (files("visuallens.models") / "imagenet.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(_label(line) for line in lines if not line.startswith("#"))


def _label(line: str) -> Label:
    word, name, hypernyms = line.split("\t")
    return Label(word=word, name=name, hypernyms=tuple(filter(None, hypernyms.split(";"))))
