from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.benchmark.films import write_films
from tests.indexed import USER, small_settings

from visuallens.benchmark.build import build
from visuallens.benchmark.folder import Benchmark
from visuallens.config import BenchmarkSettings
from visuallens.errors import EvaluationError
from visuallens.evaluation.studies.making import Maker
from visuallens.evaluation.studies.plan import Cell, Recipe, Step, Workshop
from visuallens.evaluation.systems import SYSTEMS, system


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def built(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "movielens-v"
    build("movielens-v", films, out, BenchmarkSettings(dev_examples=3))
    return out


def workshop(
    built: Path,
    raw: Path | None,
    *overrides: str,
    indexed: bool = True,
    recipes: Mapping[str, Recipe] | None = None,
) -> Workshop:
    recipe = Recipe(("--config", "a.toml"), small_settings(*overrides))
    folder = Path("study")
    return Workshop(built, raw, folder / "library", indexed, USER, recipe, recipes or {}, folder)


def words(cell: Cell) -> list[list[str]]:
    return [shlex.split(step.text)[1:] for step in cell.steps]


def test_a_control_is_one_command_without_library_and_settings(built: Path) -> None:
    (rank,) = words(workshop(built, None).cell("popularity"))
    assert rank[:4] == ["rank", str(built), "--system", "popularity"]
    assert "--library" not in rank
    assert "--config" not in rank


def test_what_nobody_has_indexed_is_indexed_first(built: Path, films: Path) -> None:
    cell = workshop(built, films, indexed=False).cell("similarity")
    index, rank = words(cell)
    # By way of the raw dump, wherever a link leads.
    assert index[:2] == ["index", str(films / "posters")]
    assert rank[rank.index("--library") + 1] == index[index.index("--library") + 1]


def test_a_backbone_answers_a_sample(built: Path) -> None:
    count = Benchmark(built).count("test")
    few = workshop(built, None, f"study.questions={count - 1}").cell("text-llm")
    assert f"--examples {count - 1}" in few.steps[-1].text
    whole = workshop(built, None, f"study.questions={count}").cell("text-llm")
    assert "--examples" not in whole.steps[-1].text


def test_what_is_trained_for_a_system_is_found_trained_or_missing(built: Path) -> None:
    missing = workshop(built, None).cell("attention")
    assert missing.missing is not None
    # The whole chain is listed, for whoever runs it by hand.
    assert [one[0] for one in words(missing)] == ["train", "rank"]
    trained = workshop(built, None, 'study.train=["attention"]').cell("attention")
    assert [one[:2] for one in words(trained)] == [["train", "attention"], ["rank", str(built)]]
    assert trained.missing is None
    given = workshop(built, None, 'study.adapters={attention="there"}').cell("attention")
    (rank,) = words(given)
    assert rank[rank.index("--adapter") + 1] == "there"


def test_the_method_is_trained_on_refined_words(built: Path) -> None:
    cell = workshop(built, None, 'study.train=["visuallens"]').cell("visuallens")
    aspects, joint, _ = words(cell)
    assert aspects[:2] == ["train", "aspects"]
    assert joint[joint.index("--aspects") + 1] == aspects[aspects.index("--out") + 1]


def test_a_baseline_is_trained_with_the_settings_that_it_ranks_with(built: Path) -> None:
    cell = workshop(built, None, 'study.train=["tuned-text"]').cell("tuned-text")
    joint, _ = words(cell)
    given = [joint[at + 1] for at, word in enumerate(joint) if word == "--set"]
    assert given == list(system("tuned-text").settings)


def test_runs_are_told_apart_by_all_that_decides_them(built: Path) -> None:
    plain = workshop(built, None)
    runs = [
        plain.cell("similarity").run,
        plain.cell("similarity", options=("--shuffled-history",)).run,
        plain.cell("similarity", settings=("retrieval.by_category=false",)).run,
        workshop(built, None, "retrieval.max_photos=3").cell("similarity").run,
        workshop(built, None, recipes={"similarity": Recipe(("--config", "b"), small_settings())})
        .cell("similarity")
        .run,
    ]
    assert len(set(runs)) == len(runs)
    # What is studied does not decide a run.
    assert workshop(built, None, "study.resamples=200").cell("similarity").run == runs[0]


def test_other_splits_are_built_with_the_rules_of_the_benchmark(built: Path, films: Path) -> None:
    cell = workshop(built, films).cell("popularity", split="by_time")
    make, rank = words(cell)
    assert make[:3] == ["benchmark", "build", "movielens-v"]
    given = [make[at + 1] for at, word in enumerate(make) if word == "--set"]
    assert sorted(given) == ["benchmark.dev_examples=3", "benchmark.split=by_time"]
    assert rank[1] == make[make.index("--out") + 1]
    same = workshop(built, None).cell("popularity", split="by_user")
    assert same.benchmark == built
    lacking = workshop(built, None).cell("popularity", split="by_time")
    assert lacking.missing is not None
    assert "--raw" in lacking.missing


def test_every_system_can_be_planned(built: Path) -> None:
    plan = workshop(built, None)
    for name in SYSTEMS:
        assert plan.cell(name).steps[-1].text.startswith("visuallens rank")


def test_a_command_that_failed_costs_its_rows_and_is_run_once(tmp_path: Path) -> None:
    ran: list[list[str]] = []

    def run(arguments: Sequence[str]) -> None:
        ran.append(list(arguments))
        if "bad" in ran[-1]:
            raise EvaluationError("it is bad", "Do better.")
        (tmp_path / ran[-1][0]).touch()

    maker = Maker(tmp_path / "study", run)
    good, bad = Step(("good",), tmp_path / "good"), Step(("bad",), tmp_path / "bad")
    first = Cell(tmp_path, tmp_path / "a.run", (good, bad))
    assert "it is bad" in str(maker.make(first).missing)
    assert "it is bad" in str(maker.make(first).missing)
    assert maker.make(Cell(tmp_path, tmp_path / "b.run", (good,))).missing is None
    assert ran == [["good"], ["bad"]]
    # Another time it is tried again, and what is gone is made again.
    (tmp_path / "good").unlink()
    Maker(tmp_path / "study", run).make(first)
    assert ran[2:] == [["good"], ["bad"]]


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    def run(arguments: object) -> None:
        del arguments
        (tmp_path / "made").touch()

    cell = Cell(tmp_path, tmp_path / "made", (Step(("a",), tmp_path / "made"),))
    Maker(tmp_path, run).make(cell)
    file = tmp_path / "commands.jsonl"
    whole = file.read_text()
    file.write_text(whole + whole[:10])
    Maker(tmp_path, run).make(Cell(tmp_path, tmp_path, (Step(("b",), tmp_path / "made"),)))
    assert list(Maker(tmp_path, run).seconds) == ["visuallens a", "visuallens b"]


def test_any_error_of_a_command_costs_its_rows_alone(tmp_path: Path) -> None:
    def run(arguments: object) -> None:
        raise MemoryError("no room")

    cell = Cell(tmp_path, tmp_path / "made", (Step(("a",), tmp_path / "made"),))
    assert Maker(tmp_path, run).make(cell).missing == "MemoryError: no room"


def test_photos_are_looked_for_each_time(built: Path, tmp_path: Path) -> None:
    ran: list[str] = []

    def run(arguments: Sequence[str]) -> None:
        ran.append(arguments[0])
        (tmp_path / arguments[0]).touch()

    cell = Cell(
        built,
        tmp_path / "rank",
        (Step(("index",), tmp_path / "index", always=True), Step(("rank",), tmp_path / "rank")),
    )
    for _ in range(2):
        maker = Maker(tmp_path / "study", run)
        assert not maker.make(cell).missing
        assert not maker.make(cell).missing
    assert ran == ["index", "rank", "index"]


def test_an_adapter_put_in_the_place_of_another_gives_another_run(
    built: Path, tmp_path: Path
) -> None:
    given = f'study.adapters={{attention="{tmp_path}"}}'
    runs = []
    for content in ("one", "two"):
        (tmp_path / "weights").write_text(content)
        runs.append(workshop(built, None, given).cell("attention").run)
    assert runs[0] != runs[1]


def test_a_broken_list_of_commands_is_refused(tmp_path: Path) -> None:
    (tmp_path / "commands.jsonl").write_text("nonsense\n")
    with pytest.raises(EvaluationError, match=r"commands\.jsonl"):
        Maker(tmp_path, lambda _: None)
