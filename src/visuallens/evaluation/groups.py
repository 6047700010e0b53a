"""Groups of questions to score apart: by category, by numbers, and by what training has shown.

Source: Figure 3a (candidates), Figure 3b (photos), Figure 4 (categories, and the number of training
data). Seen and unseen are ours: where an image identifies its item, such as a poster, a ranker may
recognise what it was trained on, and recognising is not taste.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import CandidateLists, Flags, Ints, count_photos
from visuallens.evaluation.items import known_from_train
from visuallens.evaluation.train_data import train_examples

By = Literal["seen", "category", "candidates", "photos", "train-examples"]

SEEN, MIXED, UNSEEN = "ground truth seen", "ground truth mixed", "ground truth unseen"

_PHOTOS = (0, 10, 20, 40, 80, 160)
"""Choice: doubled from the 10 photos that a history has at least, for MRR "increases and flattens
after reaching ~ 100 images" (Figure 3b)."""

_TRAIN_EXAMPLES = (0, 1, *(step * 10**power for power in range(1, 8) for step in (1, 2, 5)))
"""Choice: about even steps of the logarithm; categories without any stand apart."""


def groups_of(benchmark: Benchmark, lists: CandidateLists, by: By) -> list[tuple[str, Flags]]:
    """Divide questions into groups.

    Args:
        benchmark: that they are of.
        lists: of the questions.
        by: "seen": whether all, some or none of the ground truth is known from the train split;
            "category": of the question, the most frequent first; "candidates": how many there are,
            in tens as in Figure 3a; "photos": how many the history has; "train-examples": how many
            the category of the question has.

    Returns:
        Names and (examples,) flags of the groups that have questions; together all of them. Groups
        of numbers ascend and are named by their first and last, such as "30-39".
    """
    if by == "seen":
        share = _seen_shares(benchmark, lists)
        named = [(SEEN, share == 1), (MIXED, (share > 0) & (share < 1)), (UNSEEN, share == 0)]
    elif by == "category":
        categories = np.array(lists.categories, np.object_)
        names, counts = np.unique(categories.astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        named = [(str(names[at]), categories == names[at]) for at in order]
    elif by == "candidates":
        named = _bins(lists.lengths, range(0, int(lists.lengths.max(initial=0)) + 11, 10))
    elif by == "photos":
        named = _bins(count_photos(benchmark, lists), _PHOTOS)
    else:
        known = train_examples(benchmark)
        counts = np.array([known[category] for category in lists.categories], np.int64)
        named = _bins(counts, _TRAIN_EXAMPLES)
    return [(name, np.asarray(chosen, np.bool_)) for name, chosen in named if chosen.any()]


def _bins(values: Ints, firsts: Sequence[int]) -> list[tuple[str, Flags]]:
    """Divide by numbers; each bin begins at one of `firsts`, and the last has no end."""
    named = []
    for first, after in zip(firsts, [*firsts[1:], None], strict=True):
        if after is None:
            named.append((f"{first}+", values >= first))
        else:
            name = f"{first}-{after - 1}" if after - first > 1 else f"{first}"
            named.append((name, (values >= first) & (values < after)))
    return named


def _seen_shares(benchmark: Benchmark, lists: CandidateLists) -> NDArray[np.float64]:
    """Compute the share of the ground truth that is known from the train split, (examples,).

    Choice: known is what the train split has as a candidate, as a ground truth, or on a photo of a
        history: a trained ranker may have met its picture or text in each of these.
    """
    known = known_from_train(benchmark)
    seen = np.array([one in known for one in lists.candidate_ids], np.bool_)[lists.candidates]
    hits = np.add.reduceat((seen & lists.relevant).astype(np.float64), lists.starts)
    relevant = np.add.reduceat(lists.relevant.astype(np.float64), lists.starts)
    return np.divide(hits, relevant, out=np.zeros(len(hits)), where=relevant > 0)
