"""`visuallens train captions`: stage 1, multi-image caption pretraining (§5.1)."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from visuallens.cli.options import backbone_overrides, print_json

if TYPE_CHECKING:
    from visuallens.training.captioned import Captioned
    from visuallens.training.captions import Lesson


@click.command()
@click.option(
    "--data",
    "places",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="DOCCI's folder, or a table of images and captions: CSV or JSON lines. Repeatable.",
)
@click.option("--backbone", help="Which backbone is trained. [default: nano]")
@click.option(
    "--adapter", type=click.Path(path_type=Path, file_okay=False), help="Go on with this adapter."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file, or settings.json of a run.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, such as training.captions.grid_sides=[1,2]. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    places: tuple[Path, ...],
    backbone: str | None,
    adapter: Path | None,
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Teach a backbone to read grids of numbered photos.

    A stopped run goes on where it was when the same command is given again.
    """
    from visuallens.config import load_settings
    from visuallens.training.adapted import open_adapted
    from visuallens.training.captioned import read_captioned, split_dev
    from visuallens.training.captions import CaptionPlan, train_captions
    from visuallens.training.hardware import is_main_process
    from visuallens.training.run import open_run

    settings = load_settings(config, (*overrides, *backbone_overrides(backbone, adapter)))
    training, seed = settings.training, settings.seed
    captioned = read_captioned(
        places, max_pixels=settings.images.max_pixels, tags=training.captions.tags
    )
    train, dev = split_dev(captioned.photos, training.captions.dev_share, seed)
    record = settings.recorded()
    plan = CaptionPlan(
        train, dev, training.captions, settings.profile, settings.images, seed, record
    )
    open_run(out, "captions", settings)
    labels, style = training.joint.labels, settings.matching.style
    opened = open_adapted(settings.backbone, training.lora, labels, style, seed=seed)
    lessons = train_captions(opened, plan, training.loop, out)
    if not is_main_process():
        return  # one of several processes says how it went
    if as_json:
        print_json(_record(captioned, len(train), len(dev), lessons, out))
    else:
        _print(captioned, len(train), len(dev), lessons, out)


def _record(
    captioned: Captioned, train: int, dev: int, lessons: list[Lesson], out: Path
) -> dict[str, object]:
    return {
        "photos": {"train": train, "dev": dev},
        "left_out": dict(captioned.left_out),
        "sides": [
            {
                "grid_side": lesson.grid_side,
                "steps": lesson.fitted.steps,
                "best_step": lesson.fitted.best_step,
                "stopped_early": lesson.fitted.stopped_early,
                "before": dict(lesson.before),
                "after": dict(lesson.after),
            }
            for lesson in lessons
        ],
        "adapter": str(out / "model"),
    }


def _print(captioned: Captioned, train: int, dev: int, lessons: list[Lesson], out: Path) -> None:
    for reason, count in captioned.left_out.items():
        click.echo(f"Left out: {count:,} {reason}")
    click.echo(f"Photos: {train:,} for training, {dev:,} for dev")
    click.echo(
        f"{'grid':6} {'best step':>9} {'':7} {'loss':>7} {'caption':>8} {'cell':>6} matched chance"
    )
    for lesson in lessons:
        side, step = f"{lesson.grid_side}x{lesson.grid_side}", f"{lesson.fitted.best_step:,}"
        for name, found in (("before", lesson.before), ("after", lesson.after)):
            click.echo(
                f"{side:6} {step:>9} {name:7} {found['loss']:7.3f} {found['caption_of_cell']:8.0%} "
                f"{found['cell_of_caption']:6.0%} {found['matched']:7.0%} "
                f"{found['chance']:6.0%}"
            )
    adapter = quote(str(out / "model"))
    click.echo(f"Go on with: visuallens train joint --adapter {adapter}")
