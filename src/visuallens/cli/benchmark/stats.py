"""`visuallens benchmark stats`: Table 1, Figure 5, distributions, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.benchmark.statistics import PaperRow, Statistics


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--svg",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw Figure 5 and the distributions there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: Path, svg: Path | None, as_json: bool) -> None:
    """Describe the benchmark in FOLDER as Table 1 and Figure 5 of the paper do."""
    from visuallens.benchmark.folder import Benchmark
    from visuallens.benchmark.statistics import PAPER, QUANTILES, statistics

    found = statistics(Benchmark(folder))
    paper = PAPER.get(found.name)
    drawn: list[Path] = []
    if svg is not None:
        from visuallens.benchmark.figures import draw

        drawn = draw(found, svg)
    if as_json:
        print_json(
            {
                **asdict(found),
                "quantiles": QUANTILES,
                "paper": None if paper is None else asdict(paper),
                "svg": [str(path) for path in drawn],
            }
        )
        return
    click.echo(as_text(found, paper))
    for path in drawn:
        click.echo(f"Drawn: {path}")


def as_text(statistics: Statistics, paper: PaperRow | None) -> str:
    """Write statistics for reading, beside the paper's where it describes this benchmark."""
    from visuallens.benchmark.figures import DISTRIBUTIONS, bars_of, category_bars, text_bars
    from visuallens.benchmark.statistics import ALL

    lines = [f"{statistics.name}, checksum {statistics.checksum}", "", *_table_1(statistics, paper)]
    lines += ["", "Random, exact, in percent", *_random(statistics, paper)]
    lines += ["", "Training examples of each category (Figure 5)"]
    lines += text_bars(category_bars(statistics))
    whole = statistics.splits[ALL]
    for attribute, counted in DISTRIBUTIONS.items():
        lines += ["", f"Examples by {counted}", *_quantiles(statistics, attribute), ""]
        lines += text_bars(bars_of(getattr(whole, attribute)))
    return "\n".join([*lines, "", *_left_out(statistics)])


def _table_1(statistics: Statistics, paper: PaperRow | None) -> Iterator[str]:
    from visuallens.benchmark.statistics import ALL

    header = ("Table 1", "examples", "users", "categories", "images", "ground truths", "candidates")
    rows: list[tuple[str, ...]] = [
        (
            split,
            f"{one.examples:,}",
            f"{one.users:,}",
            str(one.categories),
            f"{one.history.mean:.1f}",
            f"{one.ground_truth.mean:.1f}",
            f"{one.candidates.mean:.1f}",
        )
        for split, one in statistics.splits.items()
    ]
    if paper is not None:
        for split, examples in paper.examples.items():
            rows.append((f"paper, {split}", f"{examples:,}", *[""] * 5))
        means = (f"{one:.1f}" for one in (paper.images, paper.ground_truth, paper.candidates))
        rows.append((f"paper, {ALL}", "", "", str(paper.categories), *means))
    return aligned([header, *rows])


def _random(statistics: Statistics, paper: PaperRow | None) -> Iterator[str]:
    from visuallens.benchmark.statistics import METRICS

    named = {split: one.random for split, one in statistics.splits.items()}
    if paper is not None:
        named["paper, test"] = paper.random
    header = ("", "Hit@1", "Hit@3", "Hit@10", "MRR")
    rows = [
        (name, *(f"{100 * scores[metric]:.1f}" for metric in METRICS))
        for name, scores in named.items()
    ]
    return aligned([header, *rows])


def _quantiles(statistics: Statistics, attribute: str) -> Iterator[str]:
    from visuallens.benchmark.statistics import QUANTILES

    header = ("", "mean", *(f"{quantile:.0%}" for quantile in QUANTILES))
    rows = []
    for split, one in statistics.splits.items():
        spread = getattr(one, attribute)
        rows.append((split, f"{spread.mean:.1f}", *(f"{value:,}" for value in spread.quantiles)))
    return aligned([header, *rows])


def _left_out(statistics: Statistics) -> Iterator[str]:
    yield "Raw rows that were rejected, by file and reason"
    rejected = [
        (file, reason, f"{count:,}")
        for file, reasons in statistics.rejected.items()
        for reason, count in reasons.items()
    ]
    yield from (aligned(rejected, left=2) if rejected else ("none",))
    yield ""
    yield "Questions that became no example, by reason"
    dropped = [(reason, f"{count:,}") for reason, count in statistics.dropped.items()]
    yield from (aligned(dropped) if dropped else ("none",))
    if statistics.counted:
        yield from ("", "Counted by the build")
        yield from aligned([(name, f"{count:,}") for name, count in statistics.counted.items()])


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Write rows as columns of equal width.

    Args:
        rows: of cells; a row may be short.
        left: so many columns begin at the left, the others end at the right.

    Yields:
        One line a row, without spaces at its end.
    """
    columns = max(len(row) for row in rows)
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(columns)]
    for row in rows:
        cells = (
            f"{cell:<{widths[at]}}" if at < left else f"{cell:>{widths[at]}}"
            for at, cell in enumerate(row)
        )
        yield "  ".join(cells).rstrip()
