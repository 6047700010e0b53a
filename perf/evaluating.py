"""Evaluating a run of the paper's size, measured: time and memory of `visuallens evaluate`.

Run as: python perf/evaluating.py [--questions 200000] [--candidates 45]
Two made-up runs, one as good as chance and one better, over as many questions of a tenth as many
users; with intervals and tests, 2,000 resamples.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.run_file import run_lines

_ITEMS = 50_000
_TRUE = 3
_EVALUATE = ("-m", "visuallens", "evaluate")


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200_000)
    parser.add_argument("--candidates", type=int, default=45)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, generator = Path(scratch), np.random.default_rng(0)
        asked = [*_asks(given.questions, given.candidates, generator)]
        write_toy(folder / "toy", {"test": asked})
        for name, gain in (("one", 0.0), ("other", 0.5)):
            _write_run(folder / f"{name}.run", asked, gain, generator)
        del asked
        runs = [str(folder / f"{name}.run") for name in ("one", "other")]
        began = time.perf_counter()
        command = [sys.executable, *_EVALUATE, str(folder / "toy"), *runs, "--baseline", runs[0]]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{given.questions:,} x {given.candidates}: {seconds:.0f} s, {peak:.2f} GB at most")


def _asks(questions: int, candidates: int, generator: np.random.Generator) -> Iterator[Ask]:
    users = max(1, questions // 10)
    for at in range(questions):
        listed = generator.choice(_ITEMS, candidates, replace=False).tolist()
        yield Ask(f"user-{at % users}", [listed[-1]], listed, listed[:_TRUE], seed=at)


def _write_run(path: Path, asked: list[Ask], gain: float, generator: np.random.Generator) -> None:
    """Rank at random, with so much more for what is true."""
    with path.open("w", encoding="utf-8") as file:
        for at, ask in enumerate(asked):
            scores = generator.random(len(ask.candidates))
            scores[:_TRUE] += gain
            order = np.argsort(-scores).tolist()
            ranked = [(str(ask.candidates[one]), float(scores[one])) for one in order]
            file.writelines(run_lines(f"test-{at}", ranked, path.stem))


if __name__ == "__main__":
    main()
