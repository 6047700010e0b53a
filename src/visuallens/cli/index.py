"""`visuallens index`: add photos to the library."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.options import (
    backbone_overrides,
    chosen_workers,
    common,
    on_workers,
    print_json,
)

if TYPE_CHECKING:
    from visuallens.augment.base import Estimate, IndexReport
    from visuallens.types import Refusal

_SHOWN_PER_REASON = 5


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--backbone", help="Let this backbone write captions and aspect words.")
@click.option("--estimate", is_flag=True, help="Only say how long it would take.")
@on_workers
@common
def command(
    photos: tuple[Path, ...],
    backbone: str | None,
    estimate: bool,
    engine: str,
    workers: int | None,
    gpus: float,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Add photos to the library: folders, photos, or manifests (.jsonl, .csv, .parquet).

    A manifest has a column path, and may have user_id, taken_at, latitude, longitude and caption,
    which win over what the file says and what a model would write.

    Only what is new is read. A run that was stopped goes on where it was when it is started again.
    """
    from visuallens.api import VisualLens
    from visuallens.cli.progress import Bar
    from visuallens.config import load_settings

    crew = chosen_workers(engine, workers, gpus)
    if estimate and not crew.is_alone:
        raise click.UsageError("--estimate goes without --engine and --workers.")
    if backbone:
        overrides = (*overrides, *backbone_overrides(backbone), "index.describe_by=backbone")
    lens = VisualLens(library, settings=load_settings(config, overrides))
    if estimate:
        print_estimate(lens.estimate(photos, user=user), as_json)
        return
    bar = Bar()
    try:
        report = lens.index(photos, user=user, progress=bar, workers=crew)
    finally:
        bar.close()
    if as_json:
        print_json(as_record(report))
    else:
        click.echo(as_text(report))


def print_estimate(found: Estimate, as_json: bool) -> None:
    """Print what a run would take."""
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(str(found))


def as_record(report: IndexReport) -> dict[str, object]:
    """Turn a report into the JSON contract of `index`."""
    return {
        "indexed": report.indexed,
        "unchanged": report.unchanged,
        "duplicates": asdict(report.duplicates),
        "refused": [_refusal(refusal) for refusal in report.refused],
        "skipped": [_refusal(refusal) for refusal in report.skipped],
        "seconds": round(report.seconds, 3),
    }


def as_text(report: IndexReport) -> str:
    """Write a report for reading."""
    rate = f", {report.indexed / report.seconds:.0f} photos/s" if report.indexed else ""
    duplicates = report.duplicates
    lines = [
        f"Indexed {report.indexed:,} photos in {report.seconds:.1f} s{rate}; "
        f"{report.unchanged:,} were known already.",
        f"Duplicates: {duplicates.same_bytes:,} same file, {duplicates.same_picture:,} same "
        f"picture, {duplicates.same_moment:,} same moment.",
    ]
    if report.skipped:
        lines.append(f"Skipped {len(report.skipped):,} files that are not photos.")
    if report.refused:
        lines.append(f"Refused {len(report.refused):,} files:")
        lines += _by_reason(report.refused)
    return "\n".join(lines)


def _by_reason(refused: Sequence[Refusal]) -> list[str]:
    groups = defaultdict(list)
    for refusal in refused:
        groups[refusal.reason.value].append(refusal)
    lines = []
    for reason, members in sorted(groups.items()):
        lines.append(f"  {reason} ({len(members):,})")
        lines += [f"    {member.path}: {member.detail}" for member in members[:_SHOWN_PER_REASON]]
        if len(members) > _SHOWN_PER_REASON:
            lines.append(f"    ... and {len(members) - _SHOWN_PER_REASON:,} more; see --json")
    return lines


def _refusal(refusal: Refusal) -> dict[str, str]:
    return {"path": refusal.path, "reason": refusal.reason.value, "detail": refusal.detail}
