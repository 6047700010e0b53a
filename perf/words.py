"""Are the aspect words right? Against the curated tags of food photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from photos import Photos, food_records, load_all, tags

from visuallens.models.describe import Describer
from visuallens.models.embedded import EmbeddedModel
from visuallens.models.labels import imagenet_labels
from visuallens.models.spaces import softmax

_THRESHOLDS = ((0.1, 0.3), (0.2, 0.3), (0.2, 0.5), (0.3, 0.3))
_TOP = 5


def section(data: Path, photos: dict[str, Photos]) -> Iterator[str]:
    """Write the table."""
    records = food_records(data)
    yield "| half | class from | group from | precision@5 | recall | words per photo | silent |"
    yield "|---|---|---|---|---|---|---|"
    for half in ("development", "test"):
        food = photos["food"]
        kept = food.where(food.is_test if half == "test" else ~food.is_test)
        curated = [
            {
                singular(tag)
                for tag in tags(records[name], "isTags", "containsTags", "descriptiveTags")
            }
            for name in kept.names
        ]
        for label, group in _THRESHOLDS:
            describer = Describer(imagenet_labels(), label_confidence=label, group_confidence=group)
            said = [describer.aspect_words(row) for row in softmax(kept.logits)]
            yield f"| {half} | {label} | {group} | {figures(said, curated)} |"


def figures(said: list[tuple[str, ...]], curated: list[set[str]]) -> str:
    precisions, recalls = [], []
    for words, wanted in zip(said, curated, strict=True):
        top = [singular(word) for word in words[:_TOP]]
        if top:
            precisions.append(np.mean([_names_one(word, wanted) for word in top]))
        if wanted:
            recalls.append(np.mean([any(_same(w, tag) for w in top) for tag in wanted]))
    silent = np.mean([not words for words in said])
    count = np.mean([len(words) for words in said])
    return (
        f"{100 * np.mean(precisions):.1f} | {100 * np.mean(recalls):.1f} | {count:.1f} | "
        f"{100 * silent:.0f} %"
    )


def _names_one(word: str, wanted: set[str]) -> bool:
    return any(_same(word, tag) for tag in wanted)


def _same(word: str, tag: str) -> bool:
    """One is the other, or one word of it ("salad" and "fruit salad")."""
    return word == tag or word in tag.split() or tag in word.split()


def singular(tag: str) -> str:
    words = []
    for word in tag.lower().split():
        if word.endswith("ies"):
            words.append(word[:-3] + "y")
        elif word.endswith(("oes", "ches", "shes")):
            words.append(word[:-2])
        elif word.endswith("s") and not word.endswith("ss"):
            words.append(word[:-1])
        else:
            words.append(word)
    return " ".join(words)


if __name__ == "__main__":
    import sys

    folder = Path(sys.argv[1])
    for line in section(folder, load_all(EmbeddedModel(), folder)):
        print(line)
