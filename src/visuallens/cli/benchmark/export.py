"""`visuallens benchmark export`: a benchmark in the formats of others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.benchmark.schema import SPLITS
from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.benchmark.folder import Benchmark
    from visuallens.prompts import Style


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "datasets"]),
    required=True,
    help="Conversations for LLaMA-Factory and ms-swift, or a folder for Hugging Face datasets.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to make.",
)
@click.option(
    "--split",
    "splits",
    type=click.Choice(SPLITS),
    multiple=True,
    help="Only this one. Repeatable. [default: all]",
)
@click.option(
    "--max-photos",
    type=click.IntRange(0),
    default=64,
    show_default=True,
    help="jsonl: the newest photos of each history.",
)
@click.option(
    "--style",
    type=click.Choice(["fenced", "paper"]),
    default="fenced",
    show_default=True,
    help="jsonl: how the prompt marks names and descriptions as data.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    folder: Path,
    format_: str,
    out: Path,
    splits: tuple[str, ...],
    max_photos: int,
    style: Style,
    as_json: bool,
) -> None:
    """Write the benchmark in FOLDER for trainers (jsonl) or for the datasets library.

    jsonl holds the newest photos instead of retrieved ones, and no captions or aspect words;
    datasets holds every table but the positions of candidates.
    """
    from visuallens.benchmark.folder import Benchmark

    chosen = [split for split in SPLITS if split in splits or not splits]
    benchmark = Benchmark(folder)
    if format_ == "jsonl":
        record = _export_chat(benchmark, out, chosen, max_photos, style)
    else:
        record = _export_datasets(benchmark, out, chosen)
    if as_json:
        print_json({"out": str(out), **record})
        return
    click.echo(f"Written: {out}")
    for name, value in record.items():
        told = ", ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(f"  {name.replace('_', ' ')}: {told}")


def _export_chat(
    benchmark: Benchmark, out: Path, splits: Sequence[str], max_photos: int, style: Style
) -> dict[str, object]:
    from visuallens.benchmark.export import export_chat

    written = export_chat(benchmark, out, splits, max_photos=max_photos, style=style)
    return {
        **{f"{split}_examples": count for split, count in written.examples.items()},
        "examples_without_photos": written.without_photos,
        "photos_not_there": written.missing_photos,
    }


def _export_datasets(benchmark: Benchmark, out: Path, splits: Sequence[str]) -> dict[str, object]:
    from visuallens.benchmark.export import export_datasets

    return {"files": export_datasets(benchmark, out, splits)}
