"""The numbers that the paper prints, as fractions, to stand beside ours.

Source: Tables 2, 3 and 4. Table 1 is in `benchmark/statistics.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

METRICS = ("hit@1", "hit@3", "hit@10", "mrr")
TITLES = {"google-review-v": "GR-V", "yelp-v": "Yelp-V"}

Printed = Mapping[str, Mapping[str, float]]
"""Benchmark → metric → what is printed."""


def _printed(google: tuple[float, ...], yelp: tuple[float, ...]) -> Printed:
    """Put the eight numbers of a row of Tables 2 and 3, in percent, under their names."""
    both = zip(TITLES, (google, yelp), strict=True)
    names = {4: METRICS, 2: METRICS[:2]}
    return {
        benchmark: {
            metric: round(value / 100, 4)
            for metric, value in zip(names[len(values)], values, strict=True)
        }
        for benchmark, values in both
    }


SYSTEMS: Mapping[str, Printed] = MappingProxyType({
    "random": _printed((7.6, 21.0, 55.0, 21.2), (13.0, 33.6, 72.7, 30.0)),
    "rating": _printed((3.9, 15.8, 55.5, 17.7), (8.7, 28.0, 72.3, 25.9)),
    "unimp": _printed((13.8, 34.1, 73.0, 30.5), (22.4, 48.5, 85.0, 38.3)),
    "llama-3.1-8b": _printed((15.8, 36.3, 77.2, 32.9), (24.1, 52.2, 88.5, 39.6)),
    "minicpm-v2.5": _printed((16.1, 36.4, 78.4, 33.2), (24.8, 53.0, 89.3, 40.3)),
    "llama-3.1-70b": _printed((16.2, 35.9, 75.7, 33.1), (25.2, 53.2, 88.5, 40.6)),
    "gpt-4o": _printed((17.1, 37.3, 80.1, 34.3), (26.1, 54.5, 90.5, 41.7)),
    "visuallens": _printed((16.7, 36.3, 77.1, 33.5), (27.8, 58.8, 90.4, 44.3)),
    "visuallens-8b": _printed((18.5, 38.9, 82.3, 35.4), (28.3, 59.1, 91.0, 44.9)),
    "human": _printed((22.0, 45.0), (36.0, 66.0)),
})  # fmt: skip
"""Table 2. "visuallens" has PaliGemma, "visuallens-8b" MiniCPM-V2.5."""

ABLATIONS: Mapping[int, Printed] = MappingProxyType({
    1: _printed((16.7, 36.3, 77.1, 33.5), (27.8, 58.8, 90.4, 44.3)),
    2: _printed((16.1, 35.8, 76.2, 33.0), (27.2, 57.9, 88.9, 43.3)),
    3: _printed((15.7, 35.2, 75.4, 32.5), (26.9, 57.5, 88.2, 42.9)),
    4: _printed((15.2, 34.7, 74.2, 31.9), (25.8, 55.3, 86.1, 41.2)),
    5: _printed((14.8, 33.9, 73.0, 31.2), (25.0, 53.9, 84.9, 40.4)),
    6: _printed((13.5, 32.5, 71.9, 29.6), (22.0, 48.2, 83.6, 38.8)),
    7: _printed((11.5, 27.9, 67.3, 25.9), (20.1, 45.7, 81.7, 36.8)),
})  # fmt: skip
"""Table 3, by the number of its row."""

TRANSFER: Mapping[str, Mapping[str, float]] = MappingProxyType({
    "by_time": {"google-review-v": 0.359, "yelp-v": 0.466},
    "by_category": {"google-review-v": 0.349, "yelp-v": 0.452},
    "by_user": {"google-review-v": 0.335, "yelp-v": 0.443},
})  # fmt: skip
"""Table 4, MRR of PaliGemma, by split."""


def columns(benchmark: str, metrics: tuple[str, ...] = METRICS) -> tuple[str, ...]:
    """Name the columns of the paper that stand beside ours.

    Args:
        benchmark: name of ours.
        metrics: of the table.

    Returns:
        Those of the same benchmark where the paper has it; else of both, for Hit@3 and MRR, or for
        the one metric of the table.
    """
    if benchmark in TITLES:
        return tuple(f"{benchmark} {metric}" for metric in metrics)
    few = [metric for metric in metrics if metric in {"hit@3", "mrr"}]
    return tuple(f"{name} {metric}" for name in TITLES for metric in few)


def beside(printed: Printed | None, wanted: tuple[str, ...]) -> dict[str, float]:
    """Choose the numbers of a row of the paper that its columns ask for."""
    if printed is None:
        return {}
    named = {f"{name} {metric}": v for name, row in printed.items() for metric, v in row.items()}
    return {column: named[column] for column in wanted if column in named}
