"""A ranker that can be slowed down, and a run of it that another process can kill.

Run as: python -m tests.evaluation.slow_ranker BENCHMARK OUT SECONDS [ENGINE WORKERS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.config import load_settings
from visuallens.evaluation.runs import Asked, Team, Watched, write_run
from visuallens.rankers.base import to_ranking
from visuallens.types import Ranking, RankingRequest
from visuallens.workers import Engine, Workers


class SlowRanker:
    """Scores by the seed, with many ties; counts what it does and what it uses."""

    name = "slow"

    def __init__(self, wait_s: float = 0.0) -> None:
        self._wait_s = wait_s
        self.asked: list[str] = []

    def rank(self, request: RankingRequest) -> Ranking:
        time.sleep(self._wait_s)
        self.asked.append(request.id)
        scores = np.random.default_rng(request.seed).integers(0, 4, len(request.candidates)) / 3
        ranking = to_ranking(request, self.name, scores.astype(np.float32))
        return replace(ranking, counts={"prompts": 2, "photos_seen": len(request.history)})

    def account(self) -> dict[str, float]:
        return {"requests": len(self.asked), "cost": 0.5 * len(self.asked)}


def watched(ranker: SlowRanker) -> Watched:
    return Watched(ranker.account, lambda history: len(history) // 2)


@contextmanager
def opened(wait_s: float = 0.0) -> Iterator[tuple[SlowRanker, Watched]]:
    """Open one in a worker."""
    ranker = SlowRanker(wait_s)
    yield ranker, watched(ranker)


# Any: JSON.
def run(
    benchmark: Benchmark,
    out: Path,
    ranker: SlowRanker,
    *,
    sample: int | None = None,
    shuffled_history: bool = False,
    made_with: Mapping[str, Any] | None = None,
    team: Team | None = None,
) -> dict[str, Any]:
    """Run it over the train split; keywords are those of `Asked` and `write_run`."""
    what = Asked("train", load_settings(), sample, shuffled_history, made_with or {})
    return write_run(ranker, benchmark, out, what, watched(ranker), team)


if __name__ == "__main__":
    folder, into, seconds, *rest = sys.argv[1:]
    who = Workers(cast("Engine", rest[0]), int(rest[1])) if rest else Workers()
    slow = partial(opened, float(seconds))
    run(Benchmark(Path(folder)), Path(into), SlowRanker(float(seconds)), team=Team(slow, who))
