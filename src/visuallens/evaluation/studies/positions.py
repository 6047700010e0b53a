"""The audit of positions: the same questions, their candidates in other orders.

Source: §7.4 (Q4), robustness; the audit is ours.
"""

from __future__ import annotations

from visuallens.evaluation.positions import Fifth, OrderPair, PositionBias, examine_positions
from visuallens.evaluation.studies.desk import Desk, texts
from visuallens.evaluation.studies.results import Row, Table, Value
from visuallens.evaluation.systems import SYSTEMS, System, system

_COLUMNS = (
    "first fifth",
    "last fifth",
    "place and rank",
    "same best",
    "kendall's tau",
    "mrr, from",
    "mrr, to",
)


def positions(desk: Desk) -> Table:
    """Make the table: every ranker of Table 2 that can be made, under several orders.

    Choice: controls look at ids alone, so they are left out. A backbone is shown the candidates as
        they come; its ranker would otherwise put them into an order of its own, and no order would
        decide anything.
    """
    wanted = desk.workshop.study.systems or tuple(SYSTEMS)
    rankers = {name: system(name) for name in wanted if system(name).ranker is not None}
    return Table(
        name="positions",
        title="What the order decides in which candidates are shown",
        rows=tuple(_row(desk, name, one) for name, one in rankers.items()),
        columns=_COLUMNS,
        text="How much more often what is shown in the first and in the last fifth of the list is "
        "ranked first than if places did not matter; Spearman's correlation of place and rank; and "
        "between orders of the same candidates, how often the best one stays the same, Kendall's "
        "tau of the rankings, both for the two orders that differ most, and the range of MRR. In "
        "percent; p-values are not corrected.",
        source="ours, for §7.4",
    )


def _row(desk: Desk, name: str, chosen: System) -> Row:
    shown = ("matching.order=given",) if chosen.asks_backbone else ()
    cells = [
        desk.cell(name, options=("--candidate-order", str(order)) if order else (), settings=shown)
        for order in range(desk.workshop.study.orders + 1)
    ]
    commands = tuple(dict.fromkeys(text for cell in cells for text in texts(cell)))
    missing = next((cell.missing for cell in cells if cell.missing is not None), None)
    if missing is not None:
        return Row(chosen.label, commands=commands, missing=missing)
    paths = [cell.run for cell in cells]
    found = examine_positions(desk.benchmark, paths, desk.drawing)
    values = {**_bias(found.runs[0]), **_stability(found.pairs)}
    about = "method" if name == desk.method else "baseline"
    return Row(chosen.label, values=values, commands=commands, about=about)


def _bias(one: PositionBias) -> dict[str, Value]:
    return {
        "first fifth": _over_chance(one.fifths[0]),
        "last fifth": _over_chance(one.fifths[-1]),
        "place and rank": Value(one.correlation, one.interval, p_value=one.correlation_p),
    }


def _over_chance(one: Fifth) -> Value:
    low, high = one.interval
    interval = (low - one.expected, high - one.expected)
    return Value(one.share - one.expected, interval, p_value=one.p_value)


def _stability(pairs: tuple[OrderPair, ...]) -> dict[str, Value]:
    """Take the worst of the pairs; nothing where there is one order only."""
    if not pairs:
        return {}
    least = min(pairs, key=lambda pair: pair.same_best)
    worst = min(pairs, key=lambda pair: pair.tau)
    mrrs = [mrr for pair in pairs for mrr in pair.mrr]
    return {
        "same best": Value(least.same_best, least.same_best_interval),
        "kendall's tau": Value(worst.tau, worst.tau_interval),
        "mrr, from": Value(min(mrrs)),
        "mrr, to": Value(max(mrrs)),
    }
