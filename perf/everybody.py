"""Rank films by how many users of the raw data rated them, which no ranker can know.

Run as: python perf/everybody.py BENCHMARK RUN
For `movielens-v` alone, whose positions are the logarithm of that number. A ceiling to compare with
where no film of a question is known from training; score it with `visuallens evaluate`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.run_file import run_lines


def main() -> None:
    """Write the run of the test split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    opened = Benchmark(arguments.benchmark)
    positions = opened.positions()
    with arguments.run.open("w", encoding="utf-8") as file:
        for request in opened.requests("test"):
            counts = [(one.id, float(positions[one.id][0])) for one in request.candidates]
            ranked = sorted(counts, key=lambda pair: -pair[1])
            lines = run_lines(request.id, ranked, "everybody")
            file.writelines(f"{line.rstrip()}\n" for line in lines)


if __name__ == "__main__":
    main()
