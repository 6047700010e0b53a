"""`visuallens benchmark audit FOLDER`: does anything but taste point at the ground truth?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.benchmark.schema import SPLITS
from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.benchmark.audit import Audit
    from visuallens.benchmark.folder import Benchmark

LEAK = 12
"""Exit code where a leak is found."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=20_000,
    show_default=True,
    help="Examples of each split that the controls look at.",
)
@click.option(
    "--requests",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Requests of each split whose photos are looked at.",
)
@click.option(
    "--split",
    "splits",
    type=click.Choice(SPLITS),
    multiple=True,
    help="Only this one. Repeatable. [default: all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    folder: Path,
    sample: int,
    requests: int,
    splits: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check the benchmark in FOLDER for leaks; exit with 12 if there is one.

    Controls that know nothing of taste must not beat chance. Each check gets a verdict: ok, leak,
    shortcut or not checked, with the figures that decide.
    """
    from visuallens.benchmark.audit import audit
    from visuallens.benchmark.folder import Benchmark

    benchmark = Benchmark(folder)
    found = audit(benchmark, splits_looked_at=splits or SPLITS, sample=sample, requests=requests)
    if as_json:
        print_json(_record(benchmark, found))
    else:
        _show(found)
    if found.leaks:
        context.exit(LEAK)


def _record(benchmark: Benchmark, found: Audit) -> dict[str, object]:
    return {
        "benchmark": benchmark.name,
        "checksum": benchmark.about.get("checksum"),
        "leaks": len(found.leaks),
        "looked_at": dict(found.looked_at),
        "requests": found.requests,
        "checks": [
            {
                "name": one.name,
                "verdict": one.verdict.value,
                "evidence": one.evidence,
                "figures": dict(one.figures),
            }
            for one in found.checks
        ],
    }


def _show(found: Audit) -> None:
    width = max(len(one.name) for one in found.checks)
    for one in found.checks:
        click.echo(f"{one.verdict.value:<11}  {one.name:<{width}}  {one.evidence}")
    looked_at = ", ".join(f"{count:,} of {split}" for split, count in found.looked_at.items())
    click.echo(
        f"Controls looked at {looked_at or 'no'} examples; photos of {found.requests:,} requests. "
        f"Leaks: {len(found.leaks)}."
    )
