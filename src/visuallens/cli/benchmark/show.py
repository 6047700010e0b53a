"""`visuallens benchmark show`: one example on one page."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.benchmark.schema import SPLITS
from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.benchmark.folder import Benchmark, FoundExample
    from visuallens.types import Candidate

_MARK = "*"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("example_id", required=False)
@click.option(
    "--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Of which split."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page of HTML with its photos there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    folder: Path, example_id: str | None, split: str, out: Path | None, as_json: bool
) -> None:
    """Show example EXAMPLE_ID of the benchmark in FOLDER; without it, the first of the split.

    Question, history, candidates in the order rankers see them, and the ground truth.
    """
    from visuallens.benchmark.folder import Benchmark

    benchmark = Benchmark(folder)
    found = benchmark.find(split, example_id)
    if out is not None:
        from visuallens.benchmark.page import example_page, write_page

        write_page(example_page(found, benchmark, split), out)
    if as_json:
        print_json(
            {**as_record(found, benchmark, split), "page": None if out is None else str(out)}
        )
    elif out is not None:
        click.echo(f"Written: {out}")
    else:
        click.echo(as_text(found, benchmark, split))


def as_record(found: FoundExample, benchmark: Benchmark, split: str) -> dict[str, object]:
    """Turn an example into JSON values."""
    request, answers = found.example.request, found.example.ground_truth
    return {
        "benchmark": benchmark.name,
        "checksum": benchmark.about["checksum"],
        "split": split,
        "id": request.id,
        "user": request.history.user_id,
        "asked_at": found.asked_at.isoformat(),
        "question": request.question.text,
        "category": request.question.category,
        "seed": request.seed,
        "history": [
            {
                "id": photo.id,
                "path": photo.path,
                "at": None
                if photo.metadata.taken_at is None
                else photo.metadata.taken_at.isoformat(),
            }
            for photo in request.history.photos
        ],
        "candidates": [_candidate_record(one, one.id in answers) for one in request.candidates],
    }


def as_text(found: FoundExample, benchmark: Benchmark, split: str) -> str:
    """Write an example for reading; what comes from the raw dump is made harmless to show."""
    from visuallens.prompts import as_data

    request, answers = found.example.request, found.example.ground_truth
    photos = request.history.photos
    dates = [f"{one.metadata.taken_at:%Y-%m-%d}" for one in photos if one.metadata.taken_at]
    span = f", {dates[0]} to {dates[-1]}" if dates else ""
    gone = sum(not Path(photo.path).is_file() for photo in photos)
    missing = f" ({gone:,} files are not there)" if gone else ""
    lines = [
        as_data(request.question.text),
        "",
        f"example     {as_data(request.id)} of {as_data(benchmark.name)}, {split}",
        f"category    {as_data(request.question.category)}",
        f"user        {as_data(request.history.user_id)}",
        f"asked at    {found.asked_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        f"history     {len(photos):,} photos{span}{missing}",
        f"candidates  {len(request.candidates):,}, of which {len(answers):,} are ground truth "
        f"({_MARK})",
        "",
    ]
    for number, candidate in enumerate(request.candidates, start=1):
        mark = _MARK if candidate.id in answers else ""
        told = as_data(candidate.description, 60)
        name = f"{number:>4} {mark:1} {as_data(candidate.name, 60)}"
        lines.append(f"{name}: {told}" if told else name)
    lines += ["", "Add --out page.html to see the photos."]
    return "\n".join(lines)


def _candidate_record(candidate: Candidate, is_answer: bool) -> dict[str, object]:
    return {
        "id": candidate.id,
        "name": candidate.name,
        "description": candidate.description,
        "rating": candidate.rating,
        "rating_count": candidate.rating_count,
        "photos": list(candidate.photos),
        "ground_truth": is_answer,
    }
