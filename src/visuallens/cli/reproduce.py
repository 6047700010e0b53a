"""`visuallens reproduce STUDY BENCHMARK`: the tables and figures of the paper, with a report."""

from __future__ import annotations

import logging
import math
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visuallens.cli.options import common, print_json

if TYPE_CHECKING:
    from visuallens.benchmark.folder import Benchmark
    from visuallens.config import Settings, StudySettings
    from visuallens.evaluation.studies.desk import Desk
    from visuallens.evaluation.studies.plan import Recipe, Workshop
    from visuallens.evaluation.studies.results import ExamplePage, Report
    from visuallens.evaluation.studies.studies import Outcome

logger = logging.getLogger(__name__)

NAMES = (
    "table1", "table2", "table3", "table4", "figure3", "figure4", "figure5", "positions", "all",
)  # fmt: skip
"""See `STUDIES`; here, so that --help needs no NumPy."""


@click.command()
@click.argument("study", type=click.Choice(NAMES), metavar="STUDY")
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reproduction"),
    show_default=True,
    help="Folder for runs, what is trained, and the report.",
)
@click.option(
    "--raw",
    type=click.Path(path_type=Path),
    help="Folder of the benchmark's raw dump, from which Table 4 builds other splits.",
)
@common
def command(
    study: str,
    benchmark: Path,
    out: Path,
    raw: Path | None,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make STUDY of BENCHMARK: table1 to table4, figure3 to figure5, positions, or all.

    Runs the commands behind every number, each once, and writes report.html and report.md. What was
    made before is not made again. With --library, the benchmark's photos are indexed in it already;
    without, they are indexed for this study alone.
    """
    from visuallens.benchmark.folder import Benchmark
    from visuallens.evaluation.evaluate import Drawing
    from visuallens.evaluation.report.write import write_report
    from visuallens.evaluation.studies.desk import Desk
    from visuallens.evaluation.studies.making import Maker
    from visuallens.evaluation.studies.studies import run_studies

    workshop = open_workshop(benchmark, raw, out, (library, user), (config, overrides))
    check(workshop.study)
    settings = workshop.recipe.settings
    maker = Maker(out, run_command)
    desk = Desk(workshop, maker, Drawing(settings.study.resamples, settings.seed))
    outcome = run_studies(study, desk)
    opened = Benchmark(benchmark)
    report = about(opened, desk, outcome, _typed(study, benchmark, sys.argv))
    report = with_examples(report, desk, opened)
    write_report(report, out)
    if as_json:
        print_json(as_record(report, out))
    else:
        click.echo(as_text(report, out))


def open_workshop(
    benchmark: Path,
    raw: Path | None,
    out: Path,
    whose: tuple[Path | None, str],
    given: tuple[Path | None, tuple[str, ...]],
) -> Workshop:
    """Resolve what every command of a study is given.

    Args:
        benchmark: folder.
        raw: of its dump, or None.
        out: for everything that is made.
        whose: the library, or None for one of the study's own, and the user.
        given: --config and --set.

    Returns:
        The workshop.

    Raises:
        SettingsError: a setting is wrong, in any of the files.
    """
    from visuallens.evaluation.studies.plan import Workshop

    library, user = whose
    recipe = _recipe(*given)
    configs = recipe.settings.study.configs
    return Workshop(
        benchmark=benchmark,
        raw=raw,
        library=library or out / "library",
        indexed=library is not None,
        user=user,
        recipe=recipe,
        recipes={ranker: _recipe(file, given[1]) for ranker, file in configs.items()},
        folder=out,
    )


def check(study: StudySettings) -> None:
    """Refuse before hours of work what would only fail in it.

    Args:
        study: its settings.

    Raises:
        UnknownNameError: a system is unknown, or a ranker that `configs` names.
        MissingPackageError: the report cannot be drawn, or a benchmark cannot be counted.
        RunFileError: an export of annotators is not one.
    """
    from importlib.util import find_spec

    from visuallens import registry
    from visuallens.benchmark.base import needs
    from visuallens.evaluation.annotation.export import read_answers
    from visuallens.evaluation.systems import system

    for name in (*(study.systems or ()), *study.train, *study.adapters):
        system(name)
    for ranker in study.configs:
        registry.load("rankers", ranker)
    for package in ("duckdb", "matplotlib"):
        if find_spec(package) is None:
            raise needs(package)
    for export in study.annotations:
        read_answers(export)


def _recipe(config: Path | None, overrides: tuple[str, ...]) -> Recipe:
    """Resolve settings; those of the study itself are not passed on to its commands."""
    from visuallens.config import load_settings
    from visuallens.evaluation.studies.plan import Recipe

    passed = [one for one in overrides if not one.startswith("study.")]
    options = [] if config is None else ["--config", str(config)]
    options += [part for one in passed for part in ("--set", one)]
    return Recipe(tuple(options), load_settings(config, overrides))


def run_command(arguments: Sequence[str]) -> None:
    """Run `visuallens` in this process; what it prints goes to standard error."""
    from contextlib import redirect_stdout

    from visuallens.cli.main import visuallens
    from visuallens.errors import EvaluationError

    try:
        with redirect_stdout(sys.stderr):
            visuallens(list(arguments), standalone_mode=False)
    except click.ClickException as error:
        raise EvaluationError(
            f"{shlex.join(arguments)} is refused ({error.format_message()})",
            "Check the study's settings.",
        ) from error


def about(benchmark: Benchmark, desk: Desk, outcome: Outcome, command: str) -> Report:
    """Say what a report is about, and put the tables and plots into it.

    Choice: the seconds are those of every command behind it, in the run that made it first.
    """
    from visuallens import __version__
    from visuallens.evaluation.studies.results import Report

    found: Mapping[str, Any] = benchmark.about  # Any: JSON
    settings: Settings = desk.workshop.recipe.settings
    facts = {
        "benchmark": f"{found['name']}, checksum {found['checksum']}",
        "method": desk.method,
        "preset": settings.preset,
        "seed": str(settings.seed),
        "version": __version__,
    }
    set_ = sorted(name for name in os.environ if name.startswith("VISUALLENS_"))
    if set_:
        facts["set in the environment"] = ", ".join(set_)
    behind = {
        *(one for table in outcome.tables for row in table.rows for one in row.commands),
        *(one for plot in outcome.plots for one in plot.commands),
    }
    return Report(
        benchmark=benchmark.name,
        note=str(found["card"].get("note", "")),
        facts=facts,
        command=command,
        machine=f"{platform.machine()}, {_cores()} cores, Python {platform.python_version()}",
        seconds=sum(desk.maker.seconds.get(one, 0.0) for one in behind),
        tables=outcome.tables,
        plots=outcome.plots,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _typed(study: str, benchmark: Path, argv: Sequence[str]) -> str:
    """Write the command as it was typed, without the path of the interpreter."""
    return (
        shlex.join(("visuallens", *argv[1:]))
        if len(argv) > 1 and argv[1] == "reproduce"
        else (shlex.join(("visuallens", "reproduce", study, str(benchmark))))
    )


def with_examples(report: Report, desk: Desk, benchmark: Benchmark) -> Report:
    """Add example pages; where they cannot be drawn, the tables are kept without them."""
    from dataclasses import replace

    from visuallens.errors import VisualLensError

    try:
        return replace(report, examples=shown_examples(desk, benchmark))
    except VisualLensError as error:
        logger.warning("There are no example pages: %s", error)
        return report


def shown_examples(desk: Desk, benchmark: Benchmark) -> tuple[ExamplePage, ...]:
    """Draw the best and the worst cases of the method; none where the study did not run it."""
    from visuallens.cli.indexed import open_indexed
    from visuallens.evaluation.report.examples import example_pages

    workshop = desk.workshop
    cell = workshop.cell(desk.method)
    if not workshop.study.examples or not desk.maker.has_made(cell):
        return ()
    recipe = workshop.recipes.get(desk.method, workshop.recipe)
    settings = recipe.settings
    with open_indexed(benchmark, workshop.library, workshop.user, settings) as (lens, profiles):
        return example_pages(
            benchmark,
            cell.run,
            lambda request: lens.draw(profiles.profile(request)),
            workshop.study.examples,
        )


# Any: JSON.
def as_record(report: Report, out: Path) -> dict[str, Any]:
    """Turn a report into the JSON of `reproduce`; fractions between 0 and 1."""
    from dataclasses import asdict

    record = asdict(report)
    del record["examples"]
    whole: dict[str, Any] = _finite(record)
    return {"report": str(out / "report.html"), **whole, "examples": len(report.examples)}


def _finite(value: Any) -> Any:  # noqa: ANN401 - as above
    """Write what is not known, such as an interval over one user, as null."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(report: Report, out: Path) -> str:
    """Say what was made, and which rows are missing."""
    lines = [f"{table.name}: {len(table.rows):,} rows" for table in report.tables]
    lines += [f"{plot.name}: {len(plot.x):,} places" for plot in report.plots]
    missing = [
        f"{table.name}, {row.label}: {row.missing}"
        for table in report.tables
        for row in table.rows
        if row.missing is not None
    ]
    missing += [f"{plot.name}: {plot.missing}" for plot in report.plots if plot.missing]
    if missing:
        lines += ["", "Missing:", *(f"  {one}" for one in missing)]
    lines += ["", f"Written to {out / 'report.html'} and {out / 'report.md'}."]
    return "\n".join(lines)
