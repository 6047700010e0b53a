"""What the documentation says is run or looked up here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.benchmark.films import write_films
from visuallens.cli.main import COMMANDS, visuallens

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"visuallens \w+( |$)", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text):
        found = (ROOT / name).exists() or (ROOT / "src/visuallens" / name).exists()
        assert found or name == "src/visuallens/rankers/popular.py", name


def test_commands_of_the_readme_run(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "places.csv").write_text(
        "name,category,latitude,longitude\nTrattoria A,Italian restaurant,51.507,-0.128\n"
        "Trattoria B,Italian restaurant,51.51,-0.12\n"
    )
    private = photo_folder / "private"
    private.mkdir()
    (photo_folder / "0.jpg").rename(private / "0.jpg")
    write_films(tmp_path / "movielens")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISUALLENS_LIBRARY", str(tmp_path / "library"))
    found = commands(ROOT / "README.md")
    assert {line.split()[1] for line in found} == set(COMMANDS) - {"demo", "train"}
    for line in found:
        arguments = shlex.split(line.replace("~/Pictures", str(photo_folder)))[1:]
        result = CliRunner().invoke(visuallens, arguments, catch_exceptions=False)
        assert result.exit_code == 0, line


def test_the_python_example_runs(
    tmp_path: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "places.csv").write_text("name,category\nBoat Museum,museum\nArt Museum,museum\n")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = code.replace("~/Pictures", str(photo_folder))
    # Drawn photos say nothing about museums; the example itself stays as a reader has it.
    monkeypatch.setenv("VISUALLENS_ABSTENTION__FALSE_ANSWER_RATE", "0.9999")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own example
    assert "1 " in capsys.readouterr().out


def test_the_added_ranker_of_the_docs_ranks() -> None:
    from visuallens.types import Candidate, Question, RankingRequest, VisualHistory

    text = (ROOT / "docs/adding.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "adding.md", "exec"), names)  # noqa: S102 - our own example
    ranker = names["PopularRanker"]
    assert callable(ranker)
    candidates = (Candidate("few", "n", rating_count=1), Candidate("many", "n", rating_count=9))
    request = RankingRequest("r", Question("q", "c"), VisualHistory("me", ()), candidates)
    assert ranker().rank(request).candidates[0].candidate.id == "many"


def test_everything_of_the_paper_map_is_there() -> None:
    text = (ROOT / "docs/paper-map.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| ") and "`tests/" in row]
    assert len(rows) >= 14


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_docs_are_understood(page: Path) -> None:
    for line in commands(page):
        name, *arguments = shlex.split(line)[1:]
        command = visuallens.get_command(click.Context(visuallens), name)
        assert command is not None, line
        if isinstance(command, click.Group) and arguments:
            found = command.get_command(click.Context(command), arguments[0])
            assert found is not None, line
            command, arguments = found, arguments[1:]
        command.make_context(name, arguments)
