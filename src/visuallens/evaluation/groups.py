"""Groups of questions to score apart: by category, and by what training has shown.

Source: Figure 4 (categories). Seen and unseen are ours: where an image identifies its item, such as
a poster, a ranker may recognise what it was trained on, and recognising is not taste.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import CandidateLists, Flags
from visuallens.evaluation.items import known_from_train

By = Literal["seen", "category"]

SEEN, MIXED, UNSEEN = "ground truth seen", "ground truth mixed", "ground truth unseen"


def groups_of(benchmark: Benchmark, lists: CandidateLists, by: By) -> list[tuple[str, Flags]]:
    """Divide questions into groups.

    Args:
        benchmark: that they are of.
        lists: of the questions.
        by: "seen": whether all, some or none of the ground truth is known from the train split;
            "category": of the question, the most frequent first.

    Returns:
        Names and (examples,) flags of the groups that have questions; together all of them.
    """
    if by == "seen":
        share = _seen_shares(benchmark, lists)
        named = [(SEEN, share == 1), (MIXED, (share > 0) & (share < 1)), (UNSEEN, share == 0)]
    else:
        categories = np.array(lists.categories, np.object_)
        names, counts = np.unique(categories.astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        named = [(str(names[at]), categories == names[at]) for at in order]
    return [(name, np.asarray(chosen, np.bool_)) for name, chosen in named if chosen.any()]


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
