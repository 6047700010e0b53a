"""`visuallens train unimp`: the baseline UniMP (§6.3)."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from visuallens.cli.indexed import open_indexed
from visuallens.cli.options import backbone_overrides, common, print_json

if TYPE_CHECKING:
    from visuallens.training.loop import Fitted
    from visuallens.training.unimp import UniMPTask


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option("--backbone", help="The language model, such as causal. [default: nano]")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@common
def command(
    benchmark: Path,
    backbone: str | None,
    out: Path,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train UniMP on the train split of BENCHMARK, and go on where a run was stopped.

    The benchmark's photos are indexed before: visuallens index FOLDER --library LIBRARY --user USER
    """
    from visuallens.benchmark.folder import Benchmark
    from visuallens.config import load_settings
    from visuallens.training.hardware import is_main_process
    from visuallens.training.loop import fit
    from visuallens.training.run import open_run
    from visuallens.training.unimp import UniMPTask, open_untrained

    settings = load_settings(config, (*overrides, *backbone_overrides(backbone)))
    opened = Benchmark(benchmark)
    open_run(out, "unimp", settings)
    with open_indexed(opened, library, user, settings) as (lens, profiles):
        photo_dim = profiles.vectors(()).shape[1]
        model = open_untrained(settings, photo_dim=photo_dim, encoder=lens.model.id)
        task = UniMPTask(model, profiles, settings)
        fitted = fit(task, settings.training.loop, out, seed=settings.seed)
    record = as_record(out, task, fitted)
    if not is_main_process():
        return  # one of several processes says how it went
    if as_json:
        print_json(record)
    else:
        click.echo(as_text(record))


def as_record(out: Path, task: UniMPTask, fitted: Fitted) -> dict[str, object]:
    """Turn a run into the JSON of `train unimp`."""
    from visuallens.training.loop import MODEL

    weights = [*task.model.parameters()]
    return {
        "run": str(out),
        "adapter": str(out / MODEL),
        "examples": task.size,
        "parameters": {
            "trained": sum(one.numel() for one in weights if one.requires_grad),
            "frozen": sum(one.numel() for one in weights if not one.requires_grad),
        },
        "steps": fitted.steps,
        "mrr": round(fitted.best, 4),
        "best_step": fitted.best_step,
        "stopped_early": fitted.stopped_early,
        **task.counts,
    }


def as_text(record: dict[str, object]) -> str:
    """Write a run for reading."""
    return "\n".join(
        (
            f"Trained {record['steps']:,} steps on {record['examples']:,} examples.",
            f"Best MRR on dev: {record['mrr']:.4f}, at step {record['best_step']:,}.",
            f"Rank with: --ranker unimp --backbone unimp --adapter {quote(str(record['adapter']))}",
        )
    )
