"""`visuallens train joint`: aspect words and matching together (§5.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.indexed import open_indexed
from visuallens.cli.options import backbone_overrides, common, print_json

if TYPE_CHECKING:
    from visuallens.training.joint import JointTask
    from visuallens.training.loop import Fitted


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option(
    "--aspects",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder of stage 2, whose words are learned. [default: the library's words]",
)
@click.option(
    "--teacher",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Run file of another ranker on the train split, to be distilled from.",
)
@click.option("--backbone", help="What is trained; see: visuallens models")
@click.option(
    "--adapter", type=click.Path(path_type=Path), help="Adapter to go on with, as of stage 1."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@common
def command(
    benchmark: Path,
    aspects: Path | None,
    teacher: Path | None,
    backbone: str | None,
    adapter: Path | None,
    out: Path,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train a backbone on the train split of BENCHMARK, and go on where a run was stopped.

    The benchmark's photos are indexed before: visuallens index FOLDER --library LIBRARY --user USER
    """
    from visuallens.benchmark.folder import Benchmark
    from visuallens.config import load_settings
    from visuallens.training.adapted import open_adapted
    from visuallens.training.aspects import read_refined
    from visuallens.training.hardware import is_main_process
    from visuallens.training.joint import JointTask, hold_to_data
    from visuallens.training.loop import fit
    from visuallens.training.run import open_run
    from visuallens.training.teacher import digest_of, open_teacher

    chosen = () if teacher is None else (f"training.joint.teacher={json.dumps(str(teacher))}",)
    settings = load_settings(config, (*overrides, *backbone_overrides(backbone, adapter), *chosen))
    training, style = settings.training, settings.matching.style
    opened = Benchmark(benchmark)
    refined = None if aspects is None else read_refined(aspects)
    open_run(out, "joint", settings)
    with open_indexed(opened, library, user, settings) as (_, profiles):
        trained = open_adapted(
            settings.backbone, training.lora, training.joint.labels, style, seed=settings.seed
        )
        run, taste = training.joint.teacher, training.joint.teacher_taste
        task = JointTask(trained, profiles, settings, refined, open_teacher(run, opened, taste))
        hold_to_data(out, {**task.trained_on, **digest_of(run)})
        fitted = fit(task, training.loop, out, seed=settings.seed)
    record = as_record(out, task, fitted)
    if not is_main_process():
        return  # one of several processes says how it went
    if as_json:
        print_json(record)
    else:
        click.echo(as_text(record))


def as_record(out: Path, task: JointTask, fitted: Fitted) -> dict[str, object]:
    """Turn a run into the JSON of `train joint`."""
    from visuallens.training.loop import MODEL

    return {
        "run": str(out),
        "adapter": str(out / MODEL),
        "examples": task.size,
        "steps": fitted.steps,
        "mrr": round(fitted.best, 4),
        "best_step": fitted.best_step,
        "stopped_early": fitted.stopped_early,
        **task.counts,
    }


def as_text(record: dict[str, object]) -> str:
    """Write a run for reading."""
    lines = [
        f"Trained {record['steps']:,} steps on {record['examples']:,} examples.",
        f"Best MRR on dev: {record['mrr']:.4f}, at step {record['best_step']:,}.",
        f"Adapter: {record['adapter']}",
    ]
    if record["vanished_photos"]:
        lines.insert(1, f"{record['vanished_photos']:,} photos could not be opened any more.")
    return "\n".join(lines)
