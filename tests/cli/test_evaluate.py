from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark.folder import Benchmark
from visuallens.cli.main import visuallens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark and runs of two controls beside it."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_tiny(folder / "tiny", photos=False)
    for control in ("rating", "popularity"):
        arguments = ["rank", str(folder / "tiny"), "--control", control]
        call(*arguments, "--out", str(folder / f"{control}.run"))
    return folder


def call(*arguments: str) -> str:
    result = CliRunner().invoke(visuallens, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def evaluate(folder: Path, *arguments: str) -> str:
    runs = (str(folder / "rating.run"), str(folder / "popularity.run"))
    return call("evaluate", str(folder / "tiny"), *runs, "--resamples", "200", *arguments)


def test_the_json_contract_holds(folder: Path) -> None:
    baseline = str(folder / "popularity.run")
    record = json.loads(evaluate(folder, "--baseline", baseline, "--by", "category", "--json"))
    assert set(record) >= {"runs", "differences"}
    first, second = record["runs"]
    assert set(first) >= {"run", "examples", "users", "metrics", "intervals"}
    assert (first["run"], second["run"]) == ("rating", "popularity")
    assert first["examples"] == Benchmark(folder / "tiny").count("test")
    assert set(first["metrics"]) >= {"hit@1", "hit@3", "hit@10", "mrr", "ndcg", "map"}
    assert all(0 <= value <= 1 for value in first["metrics"].values())
    for metric, (low, high) in first["intervals"].items():
        assert 0 <= low <= first["metrics"][metric] <= high <= 1
    assert len(record["differences"]) == len(first["intervals"])
    for one in record["differences"]:
        assert set(one) >= {
            "run", "baseline", "metric", "difference", "interval", "p_value", "effect_size",
        }  # fmt: skip
        assert (one["run"], one["baseline"]) == ("rating", "popularity")
        expected = first["metrics"][one["metric"]] - second["metrics"][one["metric"]]
        assert one["difference"] == pytest.approx(expected)
        assert one["p_value"] <= one["p_holm"]
    assert record["random"]["metrics"]["mrr"] > 0
    examples = {one["group"]: one["examples"] for one in record["groups"]}
    assert sum(examples.values()) == first["examples"]


def test_random_comes_first_in_percent(folder: Path) -> None:
    text = evaluate(folder, "--metric", "mrr", "--metric", "coverage@1")
    lines = text.splitlines()
    assert lines[0].startswith("tiny, test split: ")
    assert lines[2].split() == ["mrr", "coverage@1"]
    assert lines[3].startswith("random, exact")
    assert float(lines[3].split()[-1]) > 1
    assert " to " in lines[4]
    assert lines[5].startswith("rating")
    assert len(lines[5].split()) == 3
    assert "Against" not in text


def test_groups_and_differences_are_printed(folder: Path) -> None:
    baseline = str(folder / "popularity.run")
    text = evaluate(folder, "--metric", "mrr", "--by", "seen", "--baseline", baseline)
    assert "ground truth" in text
    assert "Against popularity" in text
    assert "p, Holm" in text


def test_a_baseline_of_its_own_is_scored_too(folder: Path) -> None:
    rating, popularity = (str(folder / f"{one}.run") for one in ("rating", "popularity"))
    arguments = ["evaluate", str(folder / "tiny"), rating, "--baseline", popularity, "--json"]
    record = json.loads(call(*arguments, "--metric", "hit@3"))
    assert [one["run"] for one in record["runs"]] == ["rating", "popularity"]
    assert len(record["differences"]) == 1


def test_what_one_user_leaves_unknown_is_null(tmp_path: Path) -> None:
    write_tiny(tmp_path / "one", examples=9, users=3, photos=False)
    call("rank", str(tmp_path / "one"), "--control", "rating", "--out", str(tmp_path / "a.run"))
    runs = [str(tmp_path / "a.run"), "--baseline", str(tmp_path / "a.run")]
    record = json.loads(call("evaluate", str(tmp_path / "one"), *runs, "--json"))
    assert record["runs"][0]["users"] == 1
    assert record["runs"][0]["intervals"]["mrr"] == [None, None]
    assert "unknown" in call("evaluate", str(tmp_path / "one"), *runs)
