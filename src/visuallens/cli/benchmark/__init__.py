"""`visuallens benchmark ...`: build, describe and audit benchmarks; one file per command."""

from __future__ import annotations

import click

from visuallens.cli.lazy import LazyGroup

COMMANDS = {
    "build": ("visuallens.cli.benchmark.build", "Build a benchmark from a raw dump."),
    "synthesize": ("visuallens.cli.benchmark.synthesize", "Make up a world with known tastes."),
    "stats": ("visuallens.cli.benchmark.stats", "Describe it: Table 1, Figure 5, distributions."),
    "show": ("visuallens.cli.benchmark.show", "Show one example on one page."),
    "audit": ("visuallens.cli.benchmark.audit", "Check it for leaks; fails on one."),
    "fetch": ("visuallens.cli.benchmark.fetch", "Download its photos; goes on where it stopped."),
    "prune": ("visuallens.cli.benchmark.prune", "Write it again without photos that are gone."),
    "export": ("visuallens.cli.benchmark.export", "Write it for trainers and for datasets."),
}


@click.group(cls=LazyGroup, commands=COMMANDS)
def command() -> None:
    """Build the benchmarks of the paper from raw dumps, look at them, and prove them clean."""
