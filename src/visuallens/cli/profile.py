"""`visuallens profile`: save what the photos say about a question."""

from __future__ import annotations

from pathlib import Path

import click

from visuallens.cli.options import common, print_json


@click.command()
@click.argument("question")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to save in.")
@click.option("--category", help="What it is about, if the question alone should not decide.")
@click.option("--candidates", help="Places file or bundled city: tells what the question means.")
@common
def command(
    question: str,
    out: Path,
    category: str | None,
    candidates: str | None,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Save the preference profile for QUESTION: the numbered grid (PNG) and its words (JSON)."""
    from visuallens.api import VisualLens
    from visuallens.config import load_settings
    from visuallens.places import candidates_named
    from visuallens.profile.saved import save_profile

    places = candidates_named(candidates) if candidates else ()
    with VisualLens(library, settings=load_settings(config, overrides)) as lens:
        profile = lens.profile(question, user=user, category=category, candidates=places)
    image, record = save_profile(profile, out)
    if as_json:
        print_json(
            {
                "question": profile.question.text,
                "category": profile.question.category,
                "photos": len(profile.cells),
                "aspect_words": list(profile.aspect_words),
                "image": str(image),
                "profile": str(record),
            }
        )
        return
    click.echo(
        f"{len(profile.cells)} photos for {profile.question.category!r}\n\n{profile.text}\n\n"
        f"Grid:    {image}\nProfile: {record}"
    )
