"""`visuallens train attention`: the ranker for low latency."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.indexed import open_indexed
from visuallens.cli.options import common, print_json

if TYPE_CHECKING:
    from visuallens.training.attention import AttentionTask
    from visuallens.training.loop import Fitted


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--teacher",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Run file of a slower ranker on the train split, to be distilled from.",
)
@common
def command(
    benchmark: Path,
    out: Path,
    teacher: Path | None,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train the ranker `attention` on the train split of BENCHMARK, in minutes.

    The benchmark's photos are indexed before: visuallens index FOLDER --library LIBRARY --user USER
    """
    from visuallens.benchmark.folder import Benchmark
    from visuallens.config import load_settings
    from visuallens.training.attention import AttentionTask
    from visuallens.training.hardware import is_main_process
    from visuallens.training.joint import hold_to_data
    from visuallens.training.loop import fit
    from visuallens.training.run import open_run
    from visuallens.training.teacher import digest_of, open_teacher

    chosen = () if teacher is None else (f"training.attention.teacher={json.dumps(str(teacher))}",)
    settings = load_settings(config, (*overrides, *chosen))
    run = settings.training.attention.teacher
    opened = Benchmark(benchmark)
    open_run(out, "attention", settings)
    with open_indexed(opened, library, user, settings) as (lens, profiles):
        teacher_run = open_teacher(run, opened)
        task = AttentionTask(profiles, lens.model.sentences, settings, lens.model.id, teacher_run)
        hold_to_data(out, task.trained_on | digest_of(run))
        fitted = fit(task, settings.training.loop, out, seed=settings.seed)
    record = as_record(out, task, fitted)
    if not is_main_process():
        return  # one of several processes says how it went
    if as_json:
        print_json(record)
    else:
        click.echo(as_text(record))


def as_record(out: Path, task: AttentionTask, fitted: Fitted) -> dict[str, object]:
    """Turn a run into the JSON of `train attention`."""
    from visuallens.training.loop import MODEL
    from visuallens.training.run import SETTINGS

    return {
        "run": str(out),
        "model": str(out / MODEL),
        "settings": str(out / SETTINGS),
        "examples": task.size,
        "parameters": task.parameters,
        "landmarks": task.matcher.memory.landmarks,
        "steps": fitted.steps,
        "mrr": round(fitted.best, 4),
        "best_step": fitted.best_step,
        "stopped_early": fitted.stopped_early,
    }


def as_text(record: dict[str, object]) -> str:
    """Write a run for reading."""
    return "\n".join(
        (
            f"Trained {record['steps']:,} steps on {record['examples']:,} examples; "
            f"{record['parameters']:,} numbers, {record['landmarks']:,} landmarks.",
            f"Best MRR on dev: {record['mrr']:.4f}, at step {record['best_step']:,}.",
            f"Rank with it: --ranker attention --adapter {record['model']} "
            f"--config {record['settings']}",
        )
    )
