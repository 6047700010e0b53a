"""`visuallens benchmark build NAME`: from a raw dump to a benchmark folder."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Never

import click

from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tqdm import tqdm


@click.command()
@click.argument("name")
@click.option(
    "--raw",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the raw dump.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the benchmark."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processes of this machine, or a Ray cluster.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Tasks at a time. [default: one per processor]"
)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, such as benchmark.split=by_time. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    name: str,
    raw: Path,
    out: Path,
    engine: str,
    workers: int | None,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Build the benchmark NAME: google-review-v, yelp-v, movielens-v or one of a plug-in.

    A stopped build goes on where it was when the same command is given again.
    """
    from visuallens.benchmark.build import build
    from visuallens.benchmark.steps import Crew
    from visuallens.config import load_settings

    settings = load_settings(config, overrides)
    bars = _Bars()
    chosen: Any = engine  # Any: click has checked the choice
    crew = Crew(chosen, workers or os.cpu_count() or 1, bars.advance)
    try:
        about = build(name, raw, out, settings.benchmark, seed=settings.seed, crew=crew)
    finally:
        bars.close()
    if as_json:
        print_json(dict(about))
    else:
        _print(about, out)


class _Bars:
    """One progress bar after the other, silent when standard error is not a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Never] | None = None
        self._step = ""

    def advance(self, step: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None or self._step != step:
            self.close()
            self._step = step
            self._bar = tqdm(total=total, desc=step, unit="task", disable=None)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


# Any: JSON.
def _print(about: Mapping[str, Any], out: Path) -> None:
    for source in about["sources"]:
        for reason, count in source["rejected"].items():
            shown = next(one for one in source["shown"] if one.endswith(reason))
            click.echo(f"{source['file']}: {count:,} rows left out: {reason} ({shown})")
    counts = about["counts"]
    click.echo(f"{'split':8} {'examples':>12} {'users':>10}")
    for split, found in counts["splits"].items():
        click.echo(f"{split:8} {found['examples']:12,} {found['users']:10,}")
    click.echo(f"checksum {about['checksum']}")
    click.echo(f"Written to {out}. Look at it with: visuallens benchmark stats {quote(str(out))}")
