from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.benchmark.tiny import write_tiny
from tests.evaluation.annotated import data_of, export_of, write_export

from visuallens.benchmark.folder import Benchmark
from visuallens.cli.annotate import command
from visuallens.cli.main import exit_code, visuallens
from visuallens.errors import EvaluationError
from visuallens.evaluation.annotation.page import Sheet


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("annotate") / "tiny", examples=40, users=20)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(visuallens, [str(one) for one in arguments])


def test_a_page_is_written_and_described(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    result = call("annotate", tiny, "--sample", 5, "--photos", 3, "--out", out, "--json")
    assert result.exception is None, result.exception
    record = json.loads(result.stdout)
    data = data_of(out.read_text("utf-8"))
    assert record == {
        "page": str(out),
        "benchmark": "tiny",
        "checksum": Benchmark(tiny).about["checksum"],
        "split": "test",
        "seed": 0,
        "examples": 5,
        "users": 5,
        "photos": len(data["images"]),
        "missing_photos": 0,
        "bytes": out.stat().st_size,
    }
    assert {len(one["history"]) for one in data["questions"]} == {3}
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_plain_output_says_what_to_do_next(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = call("annotate", tiny, "--sample", 2, "--split", "dev", "--out", out)
    assert "2 questions of 2 users" in result.output
    assert f"visuallens evaluate {tiny} EXPORT" in result.output
    assert data_of(out.read_text("utf-8"))["about"]["split"] == "dev"


def test_what_is_asked_by_default_is_the_sample_of_the_paper() -> None:
    given = {option.name: option.default for option in command.params}
    asked = {name: given[name] for name in ("split", "sample", "photos", "seed")}
    assert asked == asdict(Sheet()) == {"split": "test", "sample": 50, "photos": 64, "seed": 0}


def test_a_sample_that_is_too_large_is_refused(tiny: Path, tmp_path: Path) -> None:
    error = call("annotate", tiny, "--out", tmp_path / "page.html").exception
    assert isinstance(error, EvaluationError)
    assert "has 10 examples, not 50" in str(error)
    assert exit_code(error) == 14
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_an_error_in_words(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = call("annotate", tiny, "--sample", 2, "--out", tmp_path / "file" / "a.html").exception
    assert isinstance(error, EvaluationError)
    assert "Check --out" in str(error)


def test_exports_are_evaluated_beside_runs_and_compared(tiny: Path, tmp_path: Path) -> None:
    benchmark, run = Benchmark(tiny), tmp_path / "rating.run"
    call("rank", tiny, "--control", "rating", "--out", run)
    asked = list(benchmark.requests("test"))[:4]
    first = {one.id: [one.candidates[0].id] for one in asked}
    paths = [
        write_export(tmp_path / f"{name}.json", export_of(benchmark, name, first))
        for name in ("Ada", "Bo\x1b[2J")
    ]
    record = json.loads(call("evaluate", tiny, *paths, run, "--json").stdout)
    assert [one["run"] for one in record["runs"]] == ["Ada.json", "Bo\x1b[2J.json", "rating"]
    assert {one["examples"] for one in record["runs"]} == {4}
    (agreed,) = record["agreement"]
    assert agreed["annotators"] == ["Ada", "Bo\x1b[2J"]
    assert agreed["examples"] == 4
    lengths = [len(one.candidates) for one in asked]
    chance = sum(1 / count for count in lengths) / 4
    assert agreed["first_choice"]["value"] == 1
    assert agreed["first_choice"]["by_chance"] == pytest.approx(chance)
    assert agreed["tau_b"] == {"value": 1.0, "interval": [1.0, 1.0], "by_chance": 0.0}
    text = call("evaluate", tiny, *paths, run, "--metric", "hit@1").output
    table = text[text.index("Agreement of annotators") :]
    assert "\x1b" not in table
    rows = [line.split() for line in table.splitlines()[1:]]
    assert rows[0] == ["questions", "same", "first", "first", "three", "tau-b"]
    assert rows[1][-4:] == ["4", "100.0", "100.0", "+1.00"]
    assert rows[3][:2] == ["by", "chance"]
    assert float(rows[3][2]) == pytest.approx(100 * chance, abs=0.05)
    assert not re.search("Agreement", call("evaluate", tiny, paths[0], run).output)
