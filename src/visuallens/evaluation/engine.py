"""Asking a ranker many questions: in this process, in several, or on a Ray cluster.

Each worker opens the ranker once. Answers come back in the order of the questions, so a run is the
same to the byte, and goes on after a kill, whoever answers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial

from visuallens.benchmark.run_file import run_lines
from visuallens.evaluation.journal import Answered
from visuallens.rankers.base import Ranker
from visuallens.types import RankingRequest, VisualHistory
from visuallens.workers import Workers, in_order


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched while a ranker answers.

    Attributes:
        account: reads what the backbone has used so far, by name; None: it keeps no account.
        missing_photos: counts the photos of a history that the ranker cannot see.
    """

    account: Callable[[], Mapping[str, float] | None] | None = None
    missing_photos: Callable[[VisualHistory], int] | None = None


OpenRanker = Callable[[], AbstractContextManager[tuple[Ranker, Watched]]]
"""Opens a ranker, and what is watched while it answers; importable by name, so that it travels."""


@dataclass(frozen=True, slots=True)
class Team:
    """Workers who answer instead of this process.

    Attributes:
        open_ranker: opens in each worker the ranker that this process has open.
        workers: who they are.
    """

    open_ranker: OpenRanker
    workers: Workers = field(default_factory=Workers)


def answer_all(
    ranker: Ranker,
    requests: Iterable[RankingRequest],
    watched: Watched,
    team: Team | None = None,
) -> Generator[Answered]:
    """Ask a ranker many questions.

    Args:
        ranker: that answers, where there is no team.
        requests: what is asked.
        watched: what is counted beside the ranker, where there is no team.
        team: who answers instead, or None.

    Yields:
        One answer for each request, in their order.

    Raises:
        RunFileError: an answer does not fit into a run file; what was answered before is given.
        WorkerError: a worker was killed, or cannot work where it is.

    Choice: workers are sent requests, one by one, as they would be asked here: samples and
        strangers are drawn in one place, and no answer waits for others to be kept.
    """
    if team is None or team.workers.is_alone:
        yield from (answer(request, ranker, watched) for request in requests)
    else:
        yield from in_order(partial(_answering, team.open_ranker), requests, team.workers)


@contextmanager
def _answering(open_ranker: OpenRanker) -> Iterator[Callable[[RankingRequest], Answered]]:
    with open_ranker() as (ranker, watched):
        yield partial(answer, ranker=ranker, watched=watched)


def answer(request: RankingRequest, ranker: Ranker, watched: Watched) -> Answered:
    """Ask a ranker one question.

    Args:
        request: what is asked.
        ranker: that answers.
        watched: what is counted beside it.

    Returns:
        The answer, with how long it took.

    Raises:
        RunFileError: the answer does not fit into a run file.
    """
    before = _read_account(watched)
    start = time.perf_counter()
    ranking = ranker.rank(request)
    latency_ms = 1000 * (time.perf_counter() - start)
    after = _read_account(watched)
    ranked = tuple((one.candidate.id, one.score) for one in ranking.candidates)
    # What no run file can hold must not get into the journal, where it would stay.
    list(run_lines(request.id, ranked, ranker.name))
    counts = Counter(ranking.counts)
    if watched.missing_photos is not None:
        counts["photos"] += len(request.history)
        counts["photos_not_indexed"] += watched.missing_photos(request.history)
    return Answered(
        request.id,
        ranked,
        round(latency_ms, 3),
        dict(counts),
        {key: after[key] - before.get(key, 0) for key in after},
    )


def _read_account(watched: Watched) -> Mapping[str, float]:
    return (watched.account() if watched.account is not None else None) or {}
