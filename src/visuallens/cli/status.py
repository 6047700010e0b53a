"""`visuallens status`: what the library holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from visuallens.cli.options import common, print_json


@click.command()
@common
def command(
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what the library holds: photos, users, duplicates, models, size."""
    from visuallens.api import VisualLens
    from visuallens.config import load_settings

    del user  # the library as a whole
    with VisualLens(library, settings=load_settings(config, overrides)) as lens:
        status = lens.status()
        path = lens.path
    if as_json:
        print_json({"library": str(path), **asdict(status)})
        return
    duplicates = status.duplicates
    users = ", ".join(status.user_ids) or "nobody"
    click.echo(
        f"Library     {path} ({status.size_bytes / 1e6:,.1f} MB, schema {status.schema_version})\n"
        f"Photos      {status.photos:,} of {users}; {status.refused:,} refused\n"
        f"Duplicates  {duplicates.same_bytes:,} same file, {duplicates.same_picture:,} same "
        f"picture, {duplicates.same_moment:,} same moment\n"
        f"Models      {', '.join(status.models) or 'none yet'}"
    )
