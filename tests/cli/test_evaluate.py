from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.benchmark.tiny import write_tiny
from tests.evaluation.toy import Ask, write_toy

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


def test_groups_by_number_say_what_is_counted(folder: Path) -> None:
    for by, words in (
        ("candidates", " candidates: "),
        ("photos", " photos in the history: "),
        ("train-examples", " train examples of the category: "),
    ):
        record = json.loads(evaluate(folder, "--metric", "mrr", "--by", by, "--json"))
        assert record["by"] == by
        groups = {one["group"]: one["examples"] for one in record["groups"]}
        assert sum(groups.values()) == Benchmark(folder / "tiny").count("test")
        assert record["groups"][0]["run"] == "random, exact"
        assert "training_examples" not in record["groups"][0]
        text = evaluate(folder, "--metric", "mrr", "--by", by)
        for group, examples in groups.items():
            assert f"\n{group}{words}{examples:,} questions of " in text


def test_categories_come_with_their_train_examples(folder: Path) -> None:
    record = json.loads(evaluate(folder, "--by", "category", "--json"))
    trained = {one["group"]: one["training_examples"] for one in record["groups"]}
    train = Benchmark(folder / "tiny").examples("train")
    counts = Counter(one.request.question.category for one in train)
    assert trained == {category: counts[category] for category in trained}
    # The benchmark has four categories: too few.
    assert record["correlations"] == []
    text = evaluate(folder, "--by", "category")
    for category, count in trained.items():
        assert f"; {count:,} train examples" in text.split(f"\n{category}: ")[1].splitlines()[0]
    assert "Spearman" not in text


def test_correlations_are_printed(tmp_path: Path) -> None:
    train = [Ask("z", [9], [1, 2], [1], f"c{n}") for n in range(1, 6) for _ in range(n)]
    test = [Ask(f"u{n}", [9], [1, 2, 3], [1 + n % 3], f"c{n}") for n in range(1, 6)]
    write_toy(tmp_path / "toy", {"train": train, "test": test})
    run = str(tmp_path / "a.run")
    call("rank", str(tmp_path / "toy"), "--control", "rating", "--out", run)
    record = json.loads(call("evaluate", str(tmp_path / "toy"), run, "--by", "category", "--json"))
    random, own = record["correlations"]
    assert (random["run"], random["spearman"], random["p_value"]) == ("random, exact", None, None)
    assert (own["run"], own["metric"], own["categories"]) == ("a", "mrr", 5)
    # The best rated is 3: ranks of the ground truths 2, 3, 1 of c1 to c5 are 2, 1, 3, 2, 1.
    # MRR 1/2, 1, 1/3, 1/2, 1 have ranks 2.5, 4.5, 1, 2.5, 4.5 beside 1 to 5: 2 / sqrt(9 · 10).
    assert own["spearman"] == pytest.approx(2 / 90**0.5)
    text = call("evaluate", str(tmp_path / "toy"), run, "--by", "category")
    assert "MRR and train examples of a category, Spearman over categories" in text
    assert "+0.21" in text
    assert "unknown" in text


def test_positions_are_examined(folder: Path) -> None:
    assert json.loads(evaluate(folder, "--json"))["positions"] is None
    other = str(folder / "other.run")
    call("rank", str(folder / "tiny"), "--control", "rating", "--out", other,
         "--candidate-order", "1")  # fmt: skip
    record = json.loads(evaluate(folder, other, "--positions", "--json"))["positions"]
    orders = [(one["run"], one["candidate_order"]) for one in record["runs"]]
    assert orders == [("rating", 0), ("popularity", 0), ("other", 1)]
    for one in record["runs"]:
        assert sum(fifth["share"] for fifth in one["fifths"]) == pytest.approx(1)
        assert sum(fifth["expected"] for fifth in one["fifths"]) == pytest.approx(1)
        low, high = one["correlation"]["interval"]
        assert -1 <= low <= one["correlation"]["value"] <= high <= 1
    (pair,) = record["orders"]
    assert (pair["runs"], pair["candidate_orders"]) == (["rating", "other"], [0, 1])
    assert pair["same_best"]["value"] == pair["kendall_tau"]["value"] == 1
    assert 0 < pair["same_best"]["by_chance"] < 1
    assert pair["mrr"][0] == pair["mrr"][1]
    text = evaluate(folder, other, "--positions")
    assert "How often what is shown in each fifth of the list is ranked first" in text
    assert "rating, order 0" in text
    assert "other, order 1" in text
    assert "+1.000" in text
    assert "  by chance" in text
