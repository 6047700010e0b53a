"""`visuallens forget`: delete photos, a folder or a user, and prove it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from visuallens.cli.options import common, print_json


@click.command()
@click.option("--photo", help="Path or id of one photo.")
@click.option("--folder", type=click.Path(path_type=Path), help="All photos below this folder.")
@click.option("--everything", is_flag=True, help="All photos of --user.")
@common
def command(
    photo: str | None,
    folder: Path | None,
    everything: bool,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Delete what is known of a photo, a folder or a user. Your photo files stay untouched."""
    from visuallens.api import VisualLens
    from visuallens.config import load_settings

    if sum((photo is not None, folder is not None, everything)) != 1:
        raise click.UsageError("Say what to forget: one of --photo, --folder, --everything.")
    lens = VisualLens(library, settings=load_settings(config, overrides))
    receipt = lens.forget(photo=photo, folder=folder, user=user)
    if as_json:
        print_json(asdict(receipt))
    else:
        click.echo(str(receipt))
