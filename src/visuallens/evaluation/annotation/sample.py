"""Drawing the questions that people annotate, and the photos that they see of a history.

Source: §6.3, "we subsampled 50 examples from the test set for human annotation".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.errors import EvaluationError
from visuallens.types import RankingRequest

logger = logging.getLogger(__name__)

Shown = TypeVar("Shown")


def draw_requests(
    benchmark: Benchmark, split: str, sample: int, seed: int
) -> tuple[RankingRequest, ...]:
    """Draw questions of a split for people to answer.

    Args:
        benchmark: an open one.
        split: "train", "dev" or "test".
        sample: how many; at least 1.
        seed: of the draw.

    Returns:
        Requests, without ground truth, in the order of `draw_rows`. Questions without candidates
        are never drawn. Where a user asks twice, the later history may show what the earlier
        question asks for, which is logged.

    Raises:
        EvaluationError: the split has fewer questions.
    """
    with benchmark.open_table(schema.examples_file(split)) as file:
        table = file.read(columns=["user_id", "candidates"])
    lengths = pc.list_value_length(table["candidates"]).to_numpy()
    filled = np.flatnonzero(lengths > 0)
    if sample > len(filled):
        raise EvaluationError(
            f"the {split} split of {benchmark.name} has {len(filled):,} examples, not {sample:,}",
            "Lower --sample, or choose another --split.",
        )
    users = table["user_id"].to_numpy()[filled]
    if sample > (most := len(np.unique(users.astype(str)))):
        logger.warning(
            "Only %d users ask: some ask twice, and the photos of one question may show what the "
            "other asks for. With --sample %d nobody does.",
            most,
            most,
        )
    rows = filled[draw_rows(users, sample, seed)].tolist()
    found = (one.example.request for one in benchmark.some(split, rows))
    by_row = dict(zip(sorted(rows), found, strict=True))
    return tuple(by_row[row] for row in rows)


def draw_rows(users: NDArray[np.object_], sample: int, seed: int) -> NDArray[np.int64]:
    """Draw examples so that as many users as possible ask one.

    Args:
        users: (examples,) who asks each.
        sample: how many, at most as many as there are.
        seed: of the draw.

    Returns:
        (sample,) different numbers of examples, in the order in which they are to be answered.

    Choice: every user asks one question before anybody asks a second, and each user is as likely
        to be asked as any other. Questions of one user are alike, so fifty users say more than
        fifty questions of ten, and shares of independent questions have Wilson's interval.
    Choice: the order is drawn too. Whoever stops early has answered a smaller sample of the same
        kind, the same for all annotators, and a larger sample begins with the smaller one.
    """
    generator = np.random.default_rng((seed, 14))
    order = generator.permutation(len(users))
    _, codes = np.unique(users[order].astype(str), return_inverse=True)
    by_user = np.argsort(codes, kind="stable")
    begins = np.flatnonzero(np.diff(codes[by_user], prepend=-1))
    lengths = np.diff(begins, append=len(users))
    turns = np.empty(len(users), np.int64)
    turns[by_user] = np.arange(len(users)) - np.repeat(begins, lengths)
    chosen = np.lexsort((generator.random(len(users)), turns))[:sample]
    return np.asarray(order[chosen], np.int64)


def spread(history: Sequence[Shown], count: int) -> tuple[Shown, ...]:
    """Choose the photos of a history that a person sees.

    Args:
        history: oldest first.
        count: at most so many; at least 1.

    Returns:
        The newest first; all of them where there are not more.

    Choice: spread evenly over the history, from the newest to the oldest, rather than the most
        recent ones: those may all be of one journey, and a ranker may look at all of them too.
        They are not those that a retriever finds, which would lend its judgement to people.
    """
    if not history:
        return ()
    last = len(history) - 1
    places = np.linspace(last, 0, min(count, len(history))).round().astype(int)
    return tuple(history[at] for at in places.tolist())
