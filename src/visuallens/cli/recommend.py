"""`visuallens recommend`: a ranked list of places, with the photos that explain it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.options import Point, common, print_json, ranker_overrides

if TYPE_CHECKING:
    from visuallens.answer import Answer
    from visuallens.api import VisualLens
    from visuallens.types import GeoPoint, RankedCandidate

_NAME_WIDTH = 34


@click.command()
@click.argument("question")
@click.option(
    "--candidates",
    required=True,
    help="Places file (.csv, .json, .jsonl, .geojson, .parquet) or a bundled city.",
)
@click.option("--category", help="What to rank, if the question alone should not decide.")
@click.option("--near", type=Point(), help="Where you are: keeps the nearest places.")
@click.option("--within", "within_km", type=float, metavar="KM", help="Only this near.")
@click.option(
    "--top", type=click.IntRange(1), default=10, show_default=True, help="How many places to print."
)
@click.option(
    "--ranker",
    help="similarity, attention, visuallens, random, rating or nearest. [default: similarity]",
)
@click.option("--backbone", help="For the ranker visuallens; see: visuallens models")
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    help="Folder of what was trained for the ranker visuallens or attention.",
)
@click.option("--anyway", is_flag=True, help="Rank even if the photos say nothing about it.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the grid image.")
@click.option("--no-grid", is_flag=True, help="Draw no grid image.")
@common
def command(
    question: str,
    candidates: str,
    category: str | None,
    near: GeoPoint | None,
    within_km: float | None,
    top: int,
    ranker: str | None,
    backbone: str | None,
    adapter: Path | None,
    anyway: bool,
    out: Path | None,
    no_grid: bool,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Answer QUESTION with a ranked list of places, best first."""
    from visuallens.api import VisualLens
    from visuallens.config import RankerSettings, load_settings
    from visuallens.places import candidates_named

    settings = load_settings(config, overrides)
    if ranker is None:
        ranker = settings.ranker.name
        # The default ranker has no use for them; one that was chosen in the settings stays.
        if (backbone or adapter) and ranker == RankerSettings().name:
            ranker = "visuallens"
    given = ranker_overrides(ranker, backbone, adapter)
    settings = load_settings(config, (*overrides, *given)) if given else settings
    with VisualLens(library, settings=settings) as lens:
        answer = lens.recommend(
            question,
            candidates_named(candidates),
            user=user,
            category=category,
            near=near,
            within_km=within_km,
            ranker=ranker,
            anyway=anyway,
        )
        grid = None if no_grid or answer.abstained else save_grid(lens, answer, question, out)
    if as_json:
        print_json(as_record(answer, top, grid))
    else:
        click.echo(as_text(answer, top, grid))


def save_grid(lens: VisualLens, answer: Answer, question: str, out: Path | None) -> Path | None:
    """Draw the grid and save the profile; None when the folder cannot be written."""
    from visuallens.errors import RequestError
    from visuallens.profile.saved import save_profile

    folder = out or lens.path.parent / "profiles" / slug(question)
    try:
        image, _ = save_profile(lens.draw(answer.profile), folder)
    except RequestError:
        if out is not None:
            raise
        return None
    return image


def as_record(answer: Answer, top: int, grid: Path | None) -> dict[str, object]:
    """Turn an answer into the JSON contract of `recommend`."""
    return {
        "question": answer.understood.question.text,
        "category": answer.understood.question.category,
        "abstained": answer.abstained,
        "message": answer.message,
        "candidates": [_candidate_record(ranked) for ranked in answer.candidates[:top]],
        "ranked": len(answer.candidates),
        "notes": list(answer.notes),
        "counts": dict(answer.counts),
        "p_value": round(answer.standing.p_value, 4),
        "grid": None if grid is None else str(grid),
        "timings_ms": {name: round(ms, 2) for name, ms in answer.timings_ms.items()},
    }


def as_text(answer: Answer, top: int, grid: Path | None) -> str:
    """Write an answer for reading: a ranked table with the reason in each line."""
    lines = [*textwrap.wrap(answer.message, 96), ""]
    if answer.abstained:
        return "\n".join([*lines[:-1], "Add --anyway to rank the places all the same."])
    lines += [line for note in answer.notes for line in textwrap.wrap(note, 96)]
    if answer.notes:
        lines.append("")
    lines.append(f"{'#':>3}  {'score':>5}  {'place':{_NAME_WIDTH}}  why")
    lines += [_line(ranked) for ranked in answer.candidates[:top]]
    hidden = len(answer.candidates) - top
    if hidden > 0:
        lines.append(f"     ... and {hidden:,} more; see --top")
    if grid is not None:
        lines += ["", f"The photos by number: {grid}"]
    return "\n".join(lines)


def _line(ranked: RankedCandidate) -> str:
    name = textwrap.shorten(ranked.candidate.name, _NAME_WIDTH, placeholder="...")
    return f"{ranked.rank:>3}  {ranked.score:>5.2f}  {name:{_NAME_WIDTH}}  {_why(ranked)}".rstrip()


def _why(ranked: RankedCandidate) -> str:
    if not ranked.evidence:
        return ""
    cells = ", ".join(str(evidence.cell) for evidence in ranked.evidence)
    words = f": {', '.join(ranked.aspect_words)}" if ranked.aspect_words else ""
    return f"photo{'s' if len(ranked.evidence) > 1 else ''} {cells}{words}"


def _candidate_record(ranked: RankedCandidate) -> dict[str, object]:
    return {
        "rank": ranked.rank,
        "id": ranked.candidate.id,
        "name": ranked.candidate.name,
        "score": round(ranked.score, 4) if abs(ranked.score) != float("inf") else None,
        "evidence": [
            {
                "photo": evidence.photo,
                "cell": evidence.cell,
                "similarity": round(evidence.similarity, 4),
            }
            for evidence in ranked.evidence
        ],
        "aspect_words": list(ranked.aspect_words),
    }


def slug(text: str) -> str:
    """Turn a question into a folder name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "question"
