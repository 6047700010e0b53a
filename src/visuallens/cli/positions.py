"""What `visuallens evaluate --positions` found, as JSON and for reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from visuallens.cli.benchmark.stats import aligned

if TYPE_CHECKING:
    from visuallens.evaluation.positions import OrderPair, PositionBias, Positions


# Any, here and below: JSON.
def as_record(found: Positions) -> dict[str, Any]:
    """Turn it into JSON; what is not known is null."""
    return {
        "runs": [_bias(one) for one in found.runs],
        "orders": [_pair(one) for one in found.pairs],
    }


def _bias(one: PositionBias) -> dict[str, Any]:
    return {
        "run": one.run,
        "candidate_order": one.order,
        "examples": one.examples,
        "users": one.users,
        "fifths": [
            {
                "share": fifth.share,
                "expected": fifth.expected,
                "interval": _known(fifth.interval),
                "p_value": fifth.p_value,
            }
            for fifth in one.fifths
        ],
        "p_value": one.p_value,
        "correlation": {
            "value": one.correlation,
            "interval": _known(one.interval),
            "p_value": one.correlation_p,
        },
    }


def _pair(one: OrderPair) -> dict[str, Any]:
    return {
        "runs": list(one.runs),
        "candidate_orders": list(one.orders),
        "examples": one.examples,
        "users": one.users,
        "same_best": {
            "value": one.same_best,
            "interval": _known(one.same_best_interval),
            "by_chance": one.same_best_by_chance,
        },
        "kendall_tau": {"value": one.tau, "interval": _known(one.tau_interval)},
        "mrr": list(one.mrr),
    }


def as_text(found: Positions) -> str:
    """Write it for reading, shares in percent."""
    lines = ["How often what is shown in each fifth of the list is ranked first"]
    lines += aligned(list(_bias_rows(found.runs)))
    if found.pairs:
        lines += ["", "The same questions with the candidates in another order"]
        lines += aligned(list(_pair_rows(found.pairs)), left=2)
    return "\n".join(lines)


def _bias_rows(runs: Sequence[PositionBias]) -> Iterator[tuple[str, ...]]:
    yield "", "first", "second", "third", "fourth", "last", "p", "correlation", "p"
    for one in runs:
        shares = (_percent(fifth.share) for fifth in one.fifths)
        p, own_p = f"{one.p_value:.4f}", f"{one.correlation_p:.4f}"
        yield f"{one.run}, order {one.order}", *shares, p, f"{one.correlation:+.3f}", own_p
        bounds = (_range(fifth.interval, _percent) for fifth in one.fifths)
        yield "", *bounds, "", _range(one.interval, _signed)
        yield (
            "  if places did not matter",
            *(_percent(fifth.expected) for fifth in one.fifths),
            "",
            "0",
        )


def _pair_rows(pairs: Sequence[OrderPair]) -> Iterator[tuple[str, ...]]:
    yield "", "", "questions", "same best", "Kendall tau", "mrr", "mrr"
    for one in pairs:
        names = (f"{run}, order {order}" for run, order in zip(one.runs, one.orders, strict=True))
        figures = (_percent(one.same_best), _signed(one.tau), *map(_percent, one.mrr))
        yield *names, f"{one.examples:,}", *figures
        bounds = (_range(one.same_best_interval, _percent), _range(one.tau_interval, _signed))
        yield "", "", "", *bounds
        yield "  by chance", "", "", _percent(one.same_best_by_chance), "0"


def _known(pair: tuple[float, float]) -> list[float | None]:
    return [bound if math.isfinite(bound) else None for bound in pair]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _range(pair: tuple[float, float], written: Callable[[float], str]) -> str:
    return " to ".join(map(written, pair)) if math.isfinite(pair[0]) else "unknown"
