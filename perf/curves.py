"""Draw learning curves of training runs as one SVG.

Run as: python perf/curves.py docs/images/learning.svg "attention=runs/attention:score" ...
A curve is NAME=FOLDER:METRIC, of the lines "dev" of the run's metrics.jsonl; METRIC may be a loss
("loss", "matching", "aspects"), then it is the mean training loss of --window steps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

_LOSSES = ("loss", "matching", "aspects")


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("curves", nargs="+", metavar="NAME=FOLDER:METRIC")
    parser.add_argument("--chance", type=float, help="a dashed line at this height")
    parser.add_argument("--label", default="MRR on dev")
    parser.add_argument("--window", type=int, default=10)
    arguments = parser.parse_args()
    mpl.rcParams.update({"svg.hashsalt": "visuallens", "font.size": 9})
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    for curve in arguments.curves:
        name, _, rest = curve.partition("=")
        folder, _, metric = rest.rpartition(":")
        steps, values = _read(Path(folder), metric, arguments.window)
        axes.plot(steps, values, marker=None if metric in _LOSSES else ".", label=name)
    if arguments.chance is not None:
        axes.axhline(arguments.chance, color="grey", linestyle="--", linewidth=1, label="chance")
    axes.set_xlabel("step")
    axes.set_ylabel(arguments.label)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(arguments.out, metadata={"Date": None})


def _read(folder: Path, metric: str, window: int) -> tuple[list[int], list[float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    if metric not in _LOSSES:
        dev = [line for line in lines if line["kind"] == "dev"]
        return [line["step"] for line in dev], [line[metric] for line in dev]
    steps = [line for line in lines if line["kind"] == "step"]
    losses = np.array([line[metric] for line in steps])
    means = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    return [line["step"] for line in steps[window - 1 :]], means.tolist()


if __name__ == "__main__":
    main()
