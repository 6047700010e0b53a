from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.benchmark.tiny import write_tiny
from tests.indexed import SMALL, USER, index_photos
from tests.training.test_attention import SHORT

from visuallens import registry
from visuallens.cli.main import visuallens
from visuallens.cli.rank import of_system
from visuallens.cli.reproduce import NAMES
from visuallens.config import load_settings
from visuallens.errors import RunFileError
from visuallens.evaluation.studies.studies import ALL, STUDIES
from visuallens.evaluation.systems import SYSTEMS

STUDY = (
    "study.method=attention",
    'study.train=["attention","attention-blind","attention-wordless"]',
    'study.systems=["rating","popularity","similarity","text-llm","unimp","attention"]',
    "study.questions=2",
    "study.resamples=100",
    "study.history_sizes=[0,2]",
    "study.orders=1",
    "study.examples=2",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("reproduce") / "tiny", examples=24, users=8)


@pytest.fixture(scope="module")
def library(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.sqlite"
    index_photos(path, tiny / "photos")
    return path


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN["models"], "colours", "tests.indexed:ColourModel")


def reproduce(study: str, tiny: Path, library: Path, out: Path, *more: str) -> Result:
    # No backbone is at hand: rows that ask one are missing.
    settings = (*SMALL, *SHORT, *STUDY, "backbone.name=nowhere", *more)
    given = [part for one in settings for part in ("--set", one)]
    where = ["--library", str(library), "--user", USER, "--out", str(out)]
    return CliRunner().invoke(visuallens, ["reproduce", study, str(tiny), *where, *given, "--json"])


# Any: JSON.
def record_of(result: Result) -> dict[str, Any]:
    assert result.exception is None, result.exception
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def rows_of(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    (table,) = (one for one in record["tables"] if one["name"] == name)
    return {row["label"]: row for row in table["rows"]}


def test_every_study_has_its_name() -> None:
    assert set(NAMES) == {*STUDIES, ALL}


@pytest.fixture(scope="module")
def made(
    tiny: Path, library: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BUILT_IN["models"], "colours", "tests.indexed:ColourModel")
        return out, record_of(reproduce("all", tiny, library, out))


def test_all_ends_in_a_report(made: tuple[Path, dict[str, Any]]) -> None:
    out, record = made
    assert [table["name"] for table in record["tables"]] == [
        "table1", "table2", "table3", "table3-attention", "table4", "positions",
    ]  # fmt: skip
    assert [plot["name"] for plot in record["plots"]] == [
        "figure3a", "figure3b", "figure3b-sweep", "figure4", "figure5",
    ]  # fmt: skip
    assert record["examples"] == 2
    page = (out / "report.html").read_text("utf-8")
    assert "rank by rating" in page
    assert "Table 2" in (out / "report.md").read_text("utf-8")
    assert (out / "images" / "figure3a.svg").exists()


def test_rows_have_numbers_and_the_commands_behind_them(
    made: tuple[Path, dict[str, Any]],
) -> None:
    rows = rows_of(made[1], "table2")
    ours = rows["attention"]
    assert ours["missing"] is None
    assert set(ours["values"]) == {"hit@1", "hit@3", "hit@10", "mrr", "questions"}
    assert [command.split()[1] for command in ours["commands"]] == ["train", "rank"]
    popular = rows["train popularity"]["values"]["mrr against it"]
    assert popular["value"] == pytest.approx(
        ours["values"]["mrr"]["value"] - rows["train popularity"]["values"]["mrr"]["value"]
    )
    low, high = popular["interval"]
    assert low <= popular["value"] <= high
    assert rows["rank by rating"]["paper"]["google-review-v mrr"] == 0.177
    assert "attention, another user's history" in rows
    assert "attention, no photo" in rows


def test_rows_that_could_not_run_say_why(made: tuple[Path, dict[str, Any]]) -> None:
    rows = rows_of(made[1], "table2")
    assert "There is no backbone named 'nowhere'" in rows["text LLM, direct"]["missing"]
    assert "study.train" in rows["UniMP"]["missing"]
    assert [one.split()[1] for one in rows["UniMP"]["commands"]] == ["train", "rank"]
    assert "visuallens annotate" in rows["human annotations"]["missing"]
    assert (
        "--raw"
        in rows_of(made[1], "table4")["LongHis: trained until a moment, tested after it"]["missing"]
    )


def test_what_was_made_is_not_made_again(
    made: tuple[Path, dict[str, Any]], tiny: Path, library: Path
) -> None:
    out, record = made
    commands = (out / "commands.jsonl").read_text("utf-8")
    again = record_of(reproduce("all", tiny, library, out))
    new = (out / "commands.jsonl").read_text("utf-8").removeprefix(commands)
    # What failed is tried again, and fails again.
    assert new == ""
    assert again["tables"] == record["tables"]


def test_other_settings_are_another_run(
    made: tuple[Path, dict[str, Any]], tiny: Path, library: Path
) -> None:
    before = {path.name for path in (made[0] / "runs").glob("*.run")}
    more = ("retrieval.max_photos=3", 'study.systems=["similarity"]', "study.method=visuallens")
    record_of(reproduce("table2", tiny, library, made[0], *more))
    new = {path.name for path in (made[0] / "runs").glob("*.run")} - before
    assert [name.partition("-")[0] for name in new] == ["similarity"]


def test_what_would_only_fail_later_is_refused_at_once(
    tiny: Path, library: Path, tmp_path: Path
) -> None:
    for wrong in ('study.train=["atention"]', 'study.configs={atention="a.toml"}'):
        result = reproduce("table1", tiny, library, tmp_path / "out", wrong)
        assert result.exception is not None
        assert not (tmp_path / "out" / "runs").exists()
    lost = reproduce("table1", tiny, library, tmp_path, f'study.annotations=["{tmp_path}/a.json"]')
    assert isinstance(lost.exception, RunFileError)


def test_settings_do_not_undo_what_makes_a_system(tiny: Path, tmp_path: Path) -> None:
    overrides = ("matching.image=true", "backbone.name=nano")
    for name in ("tuned-text", "unimp"):
        _, _, own = of_system(name, tmp_path)
        settings = load_settings(None, (*overrides, *own))
        assert settings.matching.image == (name == "unimp")
        assert settings.backbone.name == ("unimp" if name == "unimp" else "nano")


def test_a_system_is_ranked_by_its_name(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.run"
    result = CliRunner().invoke(
        visuallens, ["rank", str(tiny), "--system", "popularity", "--out", str(out), "--json"]
    )
    assert record_of(result)["ranker"] == "popularity"


@pytest.mark.parametrize("name", [name for name, one in SYSTEMS.items() if one.trained_by])
def test_what_has_to_be_trained_says_how(tiny: Path, tmp_path: Path, name: str) -> None:
    out = str(tmp_path / "a.run")
    result = CliRunner().invoke(visuallens, ["rank", str(tiny), "--system", name, "--out", out])
    assert f"visuallens train {SYSTEMS[name].trained_by}" in str(result.exception)


def test_an_unknown_system_is_answered_with_the_known_ones(tiny: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "a.run")
    result = CliRunner().invoke(visuallens, ["rank", str(tiny), "--system", "gpt", "--out", out])
    assert "text-llm" in str(result.exception)
