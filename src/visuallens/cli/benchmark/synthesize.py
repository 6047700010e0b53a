"""`visuallens benchmark synthesize OUT`: a made-up world as a raw dump."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from visuallens.cli.options import print_json


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--users", type=click.IntRange(1), default=180, show_default=True, help="People who live there."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of every draw.")
@click.option(
    "--backbone",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write a small untrained PaliGemma that knows the world's words into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(out: Path, users: int, seed: int, backbone: Path | None, as_json: bool) -> None:
    """Write a synthetic world into the folder OUT: people with known tastes and drawn photos.

    It is a raw dump in the schema of Google Local. Build it with:
    visuallens benchmark build synthetic-google --raw OUT --out BENCHMARK
    """
    from visuallens.benchmark.synthesis import SyntheticPlan, synthesize, vocabulary

    counts = synthesize(out, SyntheticPlan(users=users, seed=seed))
    if backbone is not None:
        from visuallens.models.backbones.small import write_small

        write_small(backbone, vocabulary())
    if as_json:
        print_json(
            {
                "dump": str(out),
                "synthetic": True,
                **counts,
                "backbone": None if backbone is None else str(backbone),
            }
        )
        return
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    click.echo(f"A synthetic world: {said}.")
    if backbone is not None:
        click.echo(f"A small untrained backbone: {backbone}")
    click.echo(
        f"Written to {out}. Build it with: visuallens benchmark build synthetic-google "
        f"--raw {quote(str(out))} --out BENCHMARK"
    )
