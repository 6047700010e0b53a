"""`visuallens benchmark fetch FOLDER`: download its photos."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.benchmark.fetch import FetchReport


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--photos",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files; remembered. [default: the one remembered, else FOLDER/photos]",
)
@click.option(
    "--size",
    type=click.IntRange(32, 4096),
    default=512,
    show_default=True,
    help="Longer side in pixels, where the server offers sizes.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Downloads at a time.",
)
@click.option(
    "--per-host",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Of these, from one host.",
)
@click.option("--limit", type=click.IntRange(1), help="Ask for this many photos at most.")
@click.option("--retry", is_flag=True, help="Ask again for photos that failed for good.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    folder: Path,
    photos: Path | None,
    size: int,
    concurrency: int,
    per_host: int,
    limit: int | None,
    retry: bool,
    as_json: bool,
) -> None:
    """Download the photos of the benchmark in FOLDER; run it again to go on.

    Failures are written to failures.jsonl beside the photos. Examples whose photos are gone are
    dropped by: visuallens benchmark prune
    """
    from visuallens.benchmark.download import Limits
    from visuallens.benchmark.fetch import fetch_photos
    from visuallens.benchmark.folder import Benchmark

    report = fetch_photos(
        Benchmark(folder),
        photos,
        size_px=size,
        limits=Limits(concurrency=concurrency, per_host=per_host),
        at_most=limit,
        retry=retry,
    )
    if as_json:
        print_json({**asdict(report), "failed": dict(report.failed)})
    else:
        _show(report)


def _show(report: FetchReport) -> None:
    click.echo(
        f"fetched        {report.fetched:,} in {report.seconds:.1f} s\n"
        f"there already  {report.there_already:,}\n"
        f"failed         {report.failed.total():,}\n"
        f"given up       {report.given_up:,} in earlier runs; --retry asks again\n"
        f"without a URL  {report.without_url:,}\n"
        f"folder         {report.photos}"
    )
    for reason, count in report.failed.most_common():
        click.echo(f"  {count:,} x {reason}")
