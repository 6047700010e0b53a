"""`visuallens benchmark prune FOLDER --out DIR`: write it again without photos that are gone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from visuallens.cli.options import print_json


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the new benchmark; does not exist, or is empty.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: Path, out: Path, as_json: bool) -> None:
    """Write the benchmark in FOLDER again without the photos whose files are not there.

    Examples are dropped where too few photos are left, or none of the category, and counted.
    """
    from visuallens.benchmark.folder import Benchmark
    from visuallens.benchmark.prune import prune

    pruned, about = prune(Benchmark(folder), out)
    if as_json:
        print_json(
            {**asdict(pruned), "dropped": dict(pruned.dropped), "checksum": about["checksum"]}
        )
        return
    click.echo(
        f"photos         {pruned.photos:,}, of which {pruned.photos_gone:,} are gone\n"
        f"in histories   {pruned.history_photos_gone:,} fewer, in the examples kept"
    )
    for reason, count in pruned.dropped.items():
        click.echo(f"dropped        {count:,} x {reason}")
    for split, left in pruned.splits.items():
        click.echo(f"{split:<13}  {left['examples']:,} examples of {left['users']:,} users")
    click.echo(f"checksum       {about['checksum']}")
