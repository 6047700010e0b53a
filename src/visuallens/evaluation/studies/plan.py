"""Which commands make a run file: every number of a study is the end of such a chain.

A study runs nothing but commands that a reader can type, so each number can be made again alone.
Files are named after what they are made with: what was made before is not made again, and what is
made otherwise gets another name.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from visuallens.benchmark.base import Rules
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.writing import file_checksum
from visuallens.config import BenchmarkSettings, Settings, StudySettings
from visuallens.errors import VisualLensError
from visuallens.evaluation.systems import System, system

SAMPLE = "--examples"
MODEL = "model"
"""Folder of a training run that holds what was trained."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes:
        arguments: after `visuallens`.
        makes: the file or folder that is there once it has run.
        always: run it even where it has run before, since what it reads may have grown.
    """

    arguments: tuple[str, ...]
    makes: Path
    always: bool = False

    @property
    def text(self) -> str:
        """The command as it is typed."""
        return shlex.join(("visuallens", *self.arguments))


@dataclass(frozen=True, slots=True)
class Cell:
    """A run file and the commands that make it.

    Attributes:
        benchmark: folder of the benchmark that it answers.
        missing: why it cannot be made, or None.
    """

    benchmark: Path
    run: Path
    steps: tuple[Step, ...]
    missing: str | None = None

    @property
    def sample(self) -> str:
        """How many questions are asked, as the command says it; empty: all."""
        arguments = self.steps[-1].arguments if self.steps else ()
        at = arguments.index(SAMPLE) if SAMPLE in arguments else -1
        return arguments[at + 1] if at >= 0 else ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How commands about one ranker are given their settings.

    Attributes:
        options: --config and --set.
        settings: what these come to.
    """

    options: tuple[str, ...]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all chains share.

    Attributes:
        benchmark: folder of the benchmark that is studied.
        raw: folder of its raw dump, for other splits of it, or None.
        library: in which its photos are indexed.
        indexed: whether somebody has indexed them; else the chains begin with it.
        user: as whom.
        recipe: of the study, and of every ranker that `recipes` does not name.
        recipes: ranker → its own.
        folder: for everything that is made.
    """

    benchmark: Path
    raw: Path | None
    library: Path
    indexed: bool
    user: str
    recipe: Recipe
    recipes: Mapping[str, Recipe]
    folder: Path

    @property
    def study(self) -> StudySettings:
        """What is run."""
        return self.recipe.settings.study

    def variant(self, split: str) -> tuple[Path, tuple[Step, ...], str | None]:
        """Find the benchmark with another split, or say how it is built.

        Args:
            split: "by_user", "by_category" or "by_time".

        Returns:
            Its folder, the steps that build it, and why it cannot be built or None.
        """
        about = Benchmark(self.benchmark).about
        rules, name = about.get("settings", {}), str(about["name"])
        if rules.get("split") == split:
            return self.benchmark, (), None
        folder = self.folder / "benchmarks" / f"{split}-{str(about['checksum'])[:8]}"
        if self.raw is None:
            return folder, (), "other splits are built from the raw dump: give --raw FOLDER"
        try:
            given = _given({**rules, "split": split}, name)
        except VisualLensError as error:
            return folder, (), str(error)
        if about.get("seed", 0):
            given += _sets([f"seed={about['seed']}"])
        arguments = ("benchmark", "build", name, "--raw", str(self.raw))
        step = Step((*arguments, "--out", str(folder), *given), folder / "benchmark.json")
        return folder, (step,), None

    def index(self) -> tuple[Step, ...]:
        """Say how the photos of the benchmark are indexed, where nobody has."""
        if self.indexed:
            return ()
        photos = _as_typed(Benchmark(self.benchmark).photos_folder, self.raw)
        where = ("--library", str(self.library), "--user", self.user)
        return (Step(("index", photos, *where, *self.recipe.options), self.library, always=True),)

    def cell(
        self,
        name: str,
        *,
        options: Sequence[str] = (),
        settings: Sequence[str] = (),
        split: str | None = None,
    ) -> Cell:
        """Plan the run of a system over the test split.

        Args:
            name: of the system.
            options: of `visuallens rank`, such as --shuffled-history.
            settings: `section.key=value`, for ranking alone; what was trained stays the same.
            split: of the benchmark; None: as it is.

        Returns:
            The run and its chain; `missing` where one of its steps cannot be run.
        """
        chosen = system(name)
        benchmark, steps, missing = self.variant(split) if split else (self.benchmark, (), None)
        recipe = self._recipe(chosen)
        arguments = ["rank", str(benchmark), "--system", name, *options]
        if chosen.control is None:
            if chosen.asks_backbone and (most := self.study.questions) is not None:
                arguments += _sample(benchmark, most)
            steps = (*steps, *self.index())
            arguments += ["--library", str(self.library), "--user", self.user]
            if chosen.trained_by is not None:
                adapter, training, untrained = self._adapter(name, chosen, benchmark)
                steps, missing = (*steps, *training), missing or untrained
                arguments += ["--adapter", str(adapter)]
            arguments += [*recipe.options, *_sets(settings)]
        told = (*arguments, *self._known(name, benchmark))
        run = self.folder / "runs" / f"{name}-{self._digest(recipe, benchmark, *told)}.run"
        steps = (*steps, Step((*arguments, "--out", str(run)), run))
        return Cell(benchmark, run, steps, missing)

    def _recipe(self, chosen: System) -> Recipe:
        return self.recipes.get(str(chosen.ranker), self.recipe)

    def _adapter(
        self, name: str, chosen: System, benchmark: Path
    ) -> tuple[Path, tuple[Step, ...], str | None]:
        """Find what is trained for a system, or say how it is trained.

        Choice: another split has other training users, so nothing that is trained for one is used
            for another.
        """
        given = self.study.adapters.get(name)
        if given is not None and benchmark == self.benchmark:
            return given, (), None
        steps = self._training(name, chosen, benchmark)
        if name in self.study.train:
            return steps[-1].makes, steps, None
        reason = f"nothing is trained for it: name {name} in study.train, or run its commands and"
        return steps[-1].makes, steps, f"{reason} name what they make in study.adapters"

    def _known(self, name: str, benchmark: Path) -> tuple[str, ...]:
        """Tell an adapter that was given from one that is put in its place later."""
        given = self.study.adapters.get(name)
        if given is None or benchmark != self.benchmark or not given.is_dir():
            return ()
        files = sorted(path for path in given.rglob("*") if path.is_file())
        return tuple(file_checksum(path) for path in files)

    def _training(self, name: str, chosen: System, benchmark: Path) -> tuple[Step, ...]:
        recipe = self._recipe(chosen)
        where = ("--library", str(self.library), "--user", self.user, *recipe.options)
        made = self.folder / "training"
        steps: tuple[Step, ...] = ()
        words: tuple[str, ...] = ()
        if chosen.refined:
            ready = made / f"aspects-{self._digest(recipe, benchmark)}"
            arguments = ("train", "aspects", str(benchmark), *where, "--out", str(ready))
            steps, words = (Step(arguments, ready),), ("--aspects", str(ready))
        out = made / f"{name}-{self._digest(recipe, benchmark)}"
        given = (*words, *where, *_sets(chosen.settings), "--out", str(out))
        stage = ("train", str(chosen.trained_by), str(benchmark))
        return (*steps, Step((*stage, *given), out / MODEL))

    def _digest(self, recipe: Recipe, benchmark: Path, *arguments: str) -> str:
        """Tell runs apart by the benchmark, the settings and what a command is given beyond them.

        Choice: a benchmark that is not built yet is told by its folder, whose name has the checksum
            of the one that it is a variant of.
        """
        about = benchmark / "benchmark.json"
        same = benchmark == self.benchmark and about.exists()
        of = str(Benchmark(benchmark).about["checksum"]) if same else benchmark.name
        shared = (str(self.library), self.user) if self.indexed else ()
        text = json.dumps([of, recipe.settings.recorded(), (*arguments, *shared)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def whole(cells: Sequence[Cell]) -> list[Cell]:
    """Leave out cells that cannot be made."""
    return [cell for cell in cells if cell.missing is None]


def failed(cell: Cell, reason: str) -> Cell:
    """Note why a cell could not be made."""
    return replace(cell, missing=reason)


def _sample(benchmark: Path, most: int) -> list[str]:
    """Ask for a sample, where the test split has more; a benchmark that is not built yet has."""
    if (benchmark / "benchmark.json").exists() and Benchmark(benchmark).count("test") <= most:
        return []
    return [SAMPLE, str(most)]


def _as_typed(photos: Path, raw: Path | None) -> str:
    """Write the folder of photos by way of the raw dump, as a reader has it."""
    if raw is not None and photos.resolve().is_relative_to(raw.resolve()):
        return str(raw / photos.resolve().relative_to(raw.resolve()))
    return str(photos)


def _sets(settings: Sequence[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def _given(rules: dict[str, object], name: str) -> list[str]:
    """Write the rules of a benchmark as settings; those that are the dataset's own are left out."""
    from visuallens import registry

    usual = Rules.resolve(BenchmarkSettings(), registry.load("datasets", name).defaults)
    known = {key: json.dumps(value) for key, value in asdict(usual).items()}
    own = {key: value for key, value in rules.items() if known.get(key) != json.dumps(value)}
    return _sets([f"benchmark.{key}={_as_setting(value)}" for key, value in own.items()])


def _as_setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
