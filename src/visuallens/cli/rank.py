"""`visuallens rank BENCHMARK`: ask a ranker every question of a split, and write a run file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visuallens.benchmark.schema import SPLITS
from visuallens.cli.indexed import open_indexed
from visuallens.cli.options import (
    chosen_workers,
    common,
    on_workers,
    print_json,
    ranker_overrides,
)

if TYPE_CHECKING:
    from visuallens.benchmark.folder import Benchmark
    from visuallens.config import Settings
    from visuallens.evaluation.runs import Asked, Watched
    from visuallens.rankers.base import Ranker
    from visuallens.workers import Workers

_LOOKED_AT = 50
"""Questions in which a photo must be indexed before a long run begins."""


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run file.")
@click.option("--ranker", help="A registered ranker. [default: the settings' ranker]")
@click.option(
    "--control",
    metavar="NAME",
    help="Instead of a ranker: random, rating, nearest, popularity, item-knn or ease. They look at "
    "no pixels and need no library.",
)
@click.option(
    "--system",
    metavar="NAME",
    help="Instead of both: a row of Table 2 by its name, such as text-llm; see docs/evaluation.md.",
)
@click.option("--backbone", help="For rankers that ask one; see: visuallens models")
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    help="Folder of what was trained: of the backbone, or for the ranker attention.",
)
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option(
    "--examples", type=click.IntRange(1), help="Ask so many, drawn with the seed. [default: all]"
)
@click.option(
    "--shuffled-history", is_flag=True, help="Ask everybody with the photos of another user."
)
@click.option(
    "--history",
    type=click.IntRange(0),
    metavar="PHOTOS",
    help="Know only the newest PHOTOS of each history; 0: none at all. [default: all]",
)
@click.option(
    "--candidate-order",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Show the candidates in another order: 1, 2, ... are drawn, 0 is the benchmark's.",
)
@click.option(
    "--ease-ridge",
    type=click.FloatRange(0, min_open=True),
    default=1000.0,
    show_default=True,
    help="Lambda of the control ease.",
)
@on_workers
@common
def command(
    benchmark: Path,
    out: Path,
    ranker: str | None,
    control: str | None,
    system: str | None,
    backbone: str | None,
    adapter: Path | None,
    split: str,
    examples: int | None,
    shuffled_history: bool,
    history: int | None,
    candidate_order: int,
    ease_ridge: float,
    engine: str,
    workers: int | None,
    gpus: float,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Rank the candidates of every question of BENCHMARK, and go on where a run was stopped.

    A ranker needs the benchmark's photos to be indexed before:
    visuallens index FOLDER --library LIBRARY --user USER
    """
    from visuallens.benchmark.folder import Benchmark
    from visuallens.config import load_settings
    from visuallens.evaluation.runs import Asked, write_run

    if system is not None:
        if ranker or control:
            raise click.UsageError("--system goes without --ranker and --control.")
        ranker, control, own = of_system(system, adapter)
        overrides = (*overrides, *own)  # what makes the system is no matter of choice
    if control is not None and (ranker or backbone or adapter):
        raise click.UsageError("--control goes without --ranker, --backbone and --adapter.")
    if control is not None and (engine != "local" or workers or gpus):
        raise click.UsageError(
            "--control goes without --engine, --workers and --gpus: it answers in this process."
        )
    crew = chosen_workers(engine, workers, gpus)
    settings = load_settings(config, overrides)
    name = ranker or settings.ranker.name
    given = ranker_overrides(name, backbone, adapter)
    settings = load_settings(config, (*overrides, *given)) if given else settings
    opened = Benchmark(benchmark)
    asked = Asked(split, settings, examples, shuffled_history, {}, history, candidate_order)
    if control is not None:
        chosen, made_with = open_control(control, opened, ease_ridge)
        manifest = write_run(chosen, opened, out, replace(asked, made_with=made_with))
    else:
        manifest = ask_ranker(name, opened, out, asked, (library, user), crew)
    if as_json:
        print_json({"run": str(out), **manifest})
    else:
        click.echo(as_text(out, manifest))


# Any, here and below: JSON.
def ask_ranker(
    name: str,
    benchmark: Benchmark,
    out: Path,
    asked: Asked,
    whose: tuple[Path | None, str],
    workers: Workers,
) -> dict[str, Any]:
    """Let a ranker answer into a run file, in this process or in workers.

    Args:
        name: a registered ranker.
        benchmark: that asks.
        out: the run file.
        asked: what is asked.
        whose: the library, None for the system's, and the user as which the photos are indexed.
        workers: who answer.

    Returns:
        The manifest.
    """
    from visuallens.api import VisualLens
    from visuallens.evaluation.runs import Team, write_run

    library, user = whose
    settings = asked.settings
    # Named in full, for the system's library may be another one where a worker is.
    known = (VisualLens(library, settings=settings).path, user)
    with open_ranker(name, benchmark, asked.split, settings, known) as (ranker, watched, read):
        using = read | made_with_models(settings)
        team = Team(RankerOpener(name, benchmark.folder, settings, known), workers)
        return write_run(ranker, benchmark, out, replace(asked, made_with=using), watched, team)


def of_system(name: str, adapter: Path | None) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Look a system up.

    Args:
        name: of it.
        adapter: that is given for it, or None.

    Returns:
        Its ranker or None, its control or None, and its settings.

    Raises:
        UnknownNameError: there is none of that name.
        RequestError: it has to be trained, and nothing was given.
    """
    from visuallens.errors import RequestError
    from visuallens.evaluation.systems import system

    found = system(name)
    if found.trained_by is not None and adapter is None:
        given = "".join(f" --set {one}" for one in found.settings)
        raise RequestError(
            f"The system {name!r} has to be trained first: visuallens train {found.trained_by} "
            f"BENCHMARK{given} --out RUN, then --adapter RUN/model"
        )
    return found.ranker, found.control, (*found.settings, *found.ranked_with)


def open_control(
    name: str, benchmark: Benchmark, ease_ridge: float
) -> tuple[Ranker, dict[str, Any]]:
    """Make a control, and say what it is made with."""
    from visuallens import registry
    from visuallens.evaluation.controls import ControlSettings

    settings = ControlSettings(ease_ridge=ease_ridge)
    control: Ranker = registry.load("controls", name)(benchmark, settings)
    return control, {"control": name, **(asdict(settings) if name == "ease" else {})}


@contextmanager
def open_ranker(
    name: str,
    benchmark: Benchmark,
    split: str | None,
    settings: Settings,
    whose: tuple[Path, str],
) -> Iterator[tuple[Ranker, Watched, dict[str, Any]]]:
    """Open a ranker over the library in which the benchmark's photos are indexed.

    Args:
        name: a registered ranker.
        benchmark: that asks.
        split: whose photos must be indexed; None: that is known.
        settings: the whole tree.
        whose: the library, and the user as which the photos are indexed.

    Yields:
        The ranker, what is watched while it answers, and what it reads: the encoder and what is
        indexed.
    """
    from visuallens import registry
    from visuallens.evaluation.runs import Watched

    with open_indexed(benchmark, *whose, settings) as (lens, profiles):
        if split is not None:
            _refuse_unindexed(profiles, split)
        opened: list[Any] = []  # Any: the backbone, once a ranker has asked for it

        def backbone() -> Any:  # noqa: ANN401 - as above
            if not opened:
                opened.append(lens.backbone)
            return opened[0]

        def account() -> Mapping[str, float] | None:
            usage = getattr(opened[0], "usage", None) if opened else None
            return None if usage is None else asdict(usage)

        def missing_photos(history: Any) -> int:  # noqa: ANN401 - a VisualHistory
            return len(history) - profiles.count_indexed(history)

        ranker: Ranker = registry.load("rankers", name)(
            profiles.resources(backbone, lens.draw, lens.matcher)
        )
        read = {"encoder": lens.model.id, "indexed_sha256": profiles.digest()}
        yield ranker, Watched(account, missing_photos), read


@dataclass(frozen=True, slots=True)
class RankerOpener:
    """Opens in a worker the ranker that `open_ranker` opens here.

    Attributes:
        name: a registered ranker.
        folder: of the benchmark that asks.
        settings: the whole tree.
        whose: the library, and the user as which the photos are indexed.
    """

    name: str
    folder: Path
    settings: Settings
    whose: tuple[Path, str]

    @contextmanager
    def __call__(self) -> Iterator[tuple[Ranker, Watched]]:
        """Open the ranker, with what is watched while it answers."""
        from visuallens.benchmark.folder import Benchmark

        opened = Benchmark(self.folder)
        with open_ranker(self.name, opened, None, self.settings, self.whose) as (made, watched, _):
            yield made, watched


def made_with_models(settings: Settings) -> dict[str, Any]:
    """Say which models decide the answers of a ranker, beside the encoder."""
    return {
        "backbone": settings.backbone.name,
        **_trained("adapter", settings.backbone.adapter),
        **_trained("matcher", settings.ranker.model),
    }


def _trained(name: str, folder: Path | None) -> dict[str, Any]:
    """Name a folder of what was trained, and tell it from another one that lies there later."""
    from visuallens.benchmark.writing import checksum, file_checksum

    if folder is None:
        return {name: None}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): file_checksum(path) for path in files}
    return {name: str(folder), f"{name}_sha256": checksum(sums)}


def _refuse_unindexed(profiles: Any, split: str) -> None:  # noqa: ANN401 - BenchmarkProfiles
    """Refuse a library without the benchmark's photos."""
    from itertools import islice

    from visuallens.errors import EvaluationError

    first = list(islice(profiles.benchmark.requests(split), _LOOKED_AT))
    if first and not any(profiles.count_indexed(one.history) for one in first):
        folder = profiles.benchmark.photos_folder
        raise EvaluationError(
            f"no photo of {profiles.benchmark.name} is indexed in this library for this user",
            f"Index them first: visuallens index {folder} --library LIBRARY --user USER",
        )


def as_text(out: Path, manifest: Mapping[str, Any]) -> str:
    """Write what a run did for reading."""
    latency = manifest["latency_ms"]
    lines = [
        f"{manifest['ranker']} answered {manifest['examples']:,} questions of the "
        f"{manifest['split']} split of {manifest['benchmark']}{_conditions(manifest)}.",
        f"A question took {latency['median']:,.1f} ms (median), {latency['p95']:,.1f} ms (95%).",
    ]
    if manifest["counts"]:
        counted = ", ".join(f"{name} {count:,}" for name, count in manifest["counts"].items())
        lines.append(f"Counted: {counted}.")
    if manifest["account"]:
        used = ", ".join(f"{name} {value:,}" for name, value in manifest["account"].items())
        lines.append(f"The backbone's account: {used}.")
    lines.append(f"Written to {out}. Score it with: visuallens evaluate BENCHMARK {out}")
    return "\n".join(lines)


def _conditions(manifest: Mapping[str, Any]) -> str:
    """Say how the questions were asked, where it was not as the benchmark has them."""
    said = ""
    if manifest["shuffled_history"]:
        said += ", each with another user's history"
    if manifest.get("history_photos") is not None:
        said += f", knowing the newest {manifest['history_photos']:,} photos of each history"
    if manifest.get("candidate_order"):
        said += f", with the candidates in order {manifest['candidate_order']}"
    return said
