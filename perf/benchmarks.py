"""Building benchmarks, measured: time and memory of two sizes of one dump, and where time goes.

Run as: python perf/benchmarks.py [--reviews 1000000 4000000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.benchmark.synthetic import write_google

_PROGRAM = """
import json, os, sys, time
from pathlib import Path
from visuallens.benchmark.build import build
from visuallens.benchmark.steps import Crew
from visuallens.config import BenchmarkSettings

if __name__ == "__main__":
    ends, began = {}, time.perf_counter()
    def progress(step, done, total):
        ends[step] = time.perf_counter() - began
    crew = Crew(workers=os.cpu_count(), progress=progress)
    build("google-review-v", Path(sys.argv[1]), Path(sys.argv[2]), BenchmarkSettings(), crew=crew)
    ends["finish"] = time.perf_counter() - began
    print(json.dumps(ends))
"""
_SIZES = (1_000_000, 4_000_000)
_BUSINESSES = 50_000
_WATCH_S = 0.2


@dataclass(frozen=True, slots=True)
class Built:
    """One build: what it made, in how long, with how much memory at most.

    Attributes:
        steps: name → wall-clock seconds; "finish" is what comes after the last task.
    """

    reviews: int
    examples: int
    seconds: float
    peak_bytes: int
    steps: dict[str, float]


def building(sizes: Sequence[int] = _SIZES) -> Iterator[str]:
    """Build google-review-v from synthetic dumps, each in a process of its own."""
    yield "| reviews | businesses | examples | seconds | of the first | peak memory |"
    yield "|---|---|---|---|---|---|"
    first: float | None = None
    steps = []
    for reviews in sizes:
        built = _build(reviews)
        first = first or built.seconds
        yield (
            f"| {reviews:,} | {_BUSINESSES:,} | {built.examples:,} | {built.seconds:.0f} | "
            f"{built.seconds / first:.1f} x | {built.peak_bytes / 1e9:.1f} GB |"
        )
        spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in built.steps.items())
        steps.append(f"Seconds of the steps with {reviews:,} reviews: {spent}.")
    yield ""
    yield from steps


def _build(reviews: int) -> Built:
    with tempfile.TemporaryDirectory() as scratch:
        raw, out = Path(scratch) / "raw", Path(scratch) / "out"
        write_google(raw, reviews=reviews, businesses=_BUSINESSES)
        program = Path(scratch) / "build.py"
        program.write_text(_PROGRAM)
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(program), str(raw), str(out)], stdout=subprocess.PIPE, text=True
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(_memory_bytes(one) for one in _family(process.pid)))
            time.sleep(_WATCH_S)
        if process.returncode:
            raise SystemExit(process.returncode)
        seconds = time.perf_counter() - began
        splits = json.loads((out / "benchmark.json").read_text())["counts"]["splits"]
        examples = sum(split["examples"] for split in splits.values())
        said = process.stdout.read() if process.stdout else "{}"
        return Built(reviews, examples, seconds, peak, _lengths(json.loads(said)))


def _lengths(ends: dict[str, float]) -> dict[str, float]:
    """Turn when steps ended into how long they took."""
    starts = [0.0, *ends.values()]
    return {name: end - start for (name, end), start in zip(ends.items(), starts, strict=False)}


def _family(pid: int) -> Iterator[int]:
    """Yield a process and all that came from it."""
    yield pid
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))
    except OSError:
        return


def _memory_bytes(pid: int) -> int:
    """Read a process's share of the memory, pages of several processes divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, nargs="+", default=_SIZES)
    for line in building(parser.parse_args().reviews):
        print(line, flush=True)


if __name__ == "__main__":
    main()
