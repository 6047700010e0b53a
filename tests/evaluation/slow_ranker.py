"""A ranker that can be slowed down, and a run of it that another process can kill.

Run as: python -m tests.evaluation.slow_ranker BENCHMARK OUT SECONDS
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.config import load_settings
from visuallens.evaluation.runs import Asked, Watched, write_run
from visuallens.rankers.base import to_ranking
from visuallens.types import Ranking, RankingRequest


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


# Any: JSON.
def run(
    benchmark: Benchmark,
    out: Path,
    ranker: SlowRanker,
    *,
    sample: int | None = None,
    shuffled_history: bool = False,
    made_with: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run it over the train split; keywords are those of `Asked`."""
    what = Asked("train", load_settings(), sample, shuffled_history, made_with or {})
    watched = Watched(ranker.account, lambda history: len(history) // 2)
    return write_run(ranker, benchmark, out, what, watched)


if __name__ == "__main__":
    run(Benchmark(Path(sys.argv[1])), Path(sys.argv[2]), SlowRanker(float(sys.argv[3])))
