"""`visuallens annotate BENCHMARK`: a page on which a person ranks the candidates of a sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.benchmark.schema import SPLITS
from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.evaluation.annotation.page import AnnotationPage


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Questions, drawn with the seed: one of each user as far as there are users.",
)
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("annotate.html"),
    show_default=True,
    help="The page.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draw.")
@click.option(
    "--photos",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Of a history, spread evenly over it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    benchmark: Path, sample: int, split: str, out: Path, seed: int, photos: int, as_json: bool
) -> None:
    """Write a page on which a person ranks the candidates of some questions of BENCHMARK.

    It is one file without ground truth that works in any browser, offline. Send it to people, and
    give what they export to: visuallens evaluate BENCHMARK EXPORT...
    """
    from visuallens.benchmark.folder import Benchmark
    from visuallens.benchmark.page import write_page
    from visuallens.errors import EvaluationError
    from visuallens.evaluation.annotation.page import Sheet, annotation_page

    opened = Benchmark(benchmark)
    page = annotation_page(opened, Sheet(split, sample, photos, seed))
    try:
        write_page(page.html, out)
    except OSError as error:
        raise EvaluationError(f"{out} cannot be written ({error})", "Check --out.") from error
    if as_json:
        print_json(
            {
                "page": str(out),
                "benchmark": opened.name,
                "checksum": opened.about["checksum"],
                "split": split,
                "seed": seed,
                "examples": page.examples,
                "users": page.users,
                "photos": page.photos,
                "missing_photos": page.missing,
                "bytes": out.stat().st_size,
            }
        )
    else:
        click.echo(as_text(page, out, benchmark))


def as_text(page: AnnotationPage, out: Path, benchmark: Path) -> str:
    """Write what a page holds for reading."""
    lines = [
        f"{page.examples:,} questions of {page.users:,} users with {page.photos:,} photos.",
        f"Written to {out} ({out.stat().st_size / 1e6:,.1f} MB).",
        "Open it in a browser, rank, and export. Score what people export with:",
        f"visuallens evaluate {benchmark} EXPORT...",
    ]
    if page.missing:
        lines.insert(1, f"{page.missing:,} more cannot be read; the page shows gaps.")
    return "\n".join(lines)
