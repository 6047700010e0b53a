from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tests.benchmark.tiny import CATEGORIES, DROPPED, REJECTED, write_tiny

from visuallens.benchmark import schema
from visuallens.benchmark.chance import hit_by_chance, mrr_by_chance
from visuallens.benchmark.figures import bars_of, draw, text_bars
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.statistics import (
    ALL,
    PAPER,
    QUANTILES,
    Distribution,
    SplitStatistics,
    Statistics,
    distribution,
    random_scores,
    statistics,
)
from visuallens.cli.main import visuallens
from visuallens.errors import BenchmarkFolderError, MissingPackageError
from visuallens.types import Example


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", photos=False)


@pytest.fixture(scope="module")
def found(folder: Path) -> Statistics:
    return statistics(Benchmark(folder))


def examples_of(folder: Path, name: str) -> list[Example]:
    splits = schema.SPLITS if name == ALL else (name,)
    return [one for split in splits for one in Benchmark(folder).examples(split)]


@pytest.mark.parametrize("split", [*schema.SPLITS, ALL])
def test_table_1_is_what_reading_every_example_gives(
    folder: Path, found: Statistics, split: str
) -> None:
    examples = examples_of(folder, split)
    row = found.splits[split]
    assert row.examples == len(examples)
    assert row.users == len({one.request.history.user_id for one in examples})
    assert row.categories == len({one.request.question.category for one in examples})
    assert row.history.mean == pytest.approx(fmean(len(one.request.history) for one in examples))
    assert row.ground_truth.mean == pytest.approx(fmean(len(one.ground_truth) for one in examples))
    candidates = [len(one.request.candidates) for one in examples]
    assert row.candidates.mean == pytest.approx(fmean(candidates))
    assert sum(count for _, _, count in row.candidates.histogram) == len(examples)
    assert (row.candidates.quantiles[0], row.candidates.quantiles[-1]) == (
        min(candidates),
        max(candidates),
    )


@pytest.mark.parametrize("split", [*schema.SPLITS, ALL])
def test_random_is_the_mean_over_examples(folder: Path, found: Statistics, split: str) -> None:
    sizes = [
        (len(one.request.candidates), len(one.ground_truth)) for one in examples_of(folder, split)
    ]
    random = found.splits[split].random
    assert random["mrr"] == pytest.approx(fmean(mrr_by_chance(n, g) for n, g in sizes))
    for k in (1, 3, 10):
        assert random[f"hit@{k}"] == pytest.approx(fmean(hit_by_chance(n, g, k) for n, g in sizes))


def test_random_by_hand() -> None:
    # Twice 4 candidates with 2 ground truths, once 3 with 1: MRR (2 * 13/18 + 11/18) / 3 = 37/54,
    # Hit@1 (2 * 1/2 + 1/3) / 3 = 4/9, Hit@3 (2 * 1 + 1) / 3 = 1.
    scores = random_scores({(4, 2): 2, (3, 1): 1})
    assert scores["mrr"] == pytest.approx(37 / 54)
    assert scores["hit@1"] == pytest.approx(4 / 9)
    assert scores["hit@3"] == scores["hit@10"] == 1
    assert set(random_scores({}).values()) == {0.0}


def test_figure_5_counts_training_examples_only(folder: Path, found: Statistics) -> None:
    counted = Counter(one.request.question.category for one in examples_of(folder, "train"))
    assert found.categories == counted
    assert list(found.categories.values()) == sorted(counted.values(), reverse=True)


def test_what_was_left_out_is_told_by_reason(found: Statistics) -> None:
    assert found.rejected == {"tiny.jsonl": REJECTED}
    assert found.dropped == DROPPED


def test_other_counts_of_the_build_are_told(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=12, photos=False)
    about = json.loads((folder / schema.ABOUT).read_text())
    about["counts"] |= {"reviews": 1500, "businesses": {"without_position": 3}}
    (folder / schema.ABOUT).write_text(json.dumps(about))
    result = CliRunner().invoke(visuallens, ["benchmark", "stats", str(folder)])
    *_, title, first, second = result.stdout.splitlines()
    assert title == "Counted by the build"
    assert first.split() == ["reviews", "1,500"]
    assert second.split() == ["businesses:", "without_position", "3"]


def _with_about(folder: Path, **about: object) -> Statistics:
    known = json.loads((folder / schema.ABOUT).read_text())
    (folder / schema.ABOUT).write_text(json.dumps(known | about))
    return statistics(Benchmark(folder))


def test_stray_photos_are_told_only_where_the_dump_has_a_table_of_photos(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=12, photos=False)
    counts = {"businesses": {"unnamed": 1, "stray_photos": 0}}
    reviews = {"file": "reviews.jsonl", "table": "reviews", "rejected": {}}
    photos = {"file": "photos.jsonl", "table": "photos", "rejected": {}}
    without = _with_about(folder, counts=counts, sources=[reviews])
    assert without.counted == {"businesses: unnamed": 1}
    has_photos = _with_about(folder, counts=counts, sources=[reviews, photos])
    assert has_photos.counted == {"businesses: unnamed": 1, "businesses: stray_photos": 0}


def test_what_was_rejected_of_one_file_is_told_for_each_of_its_tables(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=12, photos=False)
    sources = [
        {"file": "movies.jsonl", "table": "businesses", "rejected": {"no title": 2}},
        {"file": "movies.jsonl", "table": "photos", "rejected": {"no poster": 5}},
        {"file": "ratings.csv", "table": "reviews", "rejected": {"no user": 1}},
        {"file": "ratings.csv", "table": "reviews", "rejected": {"no user": 2, "no time": 4}},
    ]
    assert _with_about(folder, sources=sources).rejected == {
        "movies.jsonl (businesses)": {"no title": 2},
        "movies.jsonl (photos)": {"no poster": 5},
        "ratings.csv": {"no time": 4, "no user": 3},
    }


def test_a_folder_whose_name_looks_like_a_pattern_is_counted(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny [1]*?", examples=12, photos=False)
    assert statistics(Benchmark(folder)).splits[ALL].examples == 12


def test_a_distribution_by_hand() -> None:
    # 1, 1, 1, 7, 30: mean 40 / 5; at least 5 % and 25 % of five are one and two examples, both 1;
    # half is the third, 1; 75 % the fourth, 7; 95 % the fifth.
    spread = distribution({1: 3, 7: 1, 30: 1})
    assert spread.mean == 8
    assert QUANTILES == (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    assert spread.quantiles == (1, 1, 1, 1, 7, 30, 30)
    # Bars 1 wide would be 30, 2 wide 16 (0-1 to 30-31), 5 wide 7.
    assert spread.histogram == (
        (0, 4, 3),
        (5, 9, 1),
        (10, 14, 0),
        (15, 19, 0),
        (20, 24, 0),
        (25, 29, 0),
        (30, 34, 1),
    )


@pytest.mark.parametrize("most", [0, 1, 9, 14, 15, 100, 12_345, 10**9])
def test_a_histogram_has_few_bars_and_loses_nothing(most: int) -> None:
    counts = {0: 1, most // 3: 2, most // 2: 3, most: 4}
    bars = distribution(counts).histogram
    assert 1 <= len(bars) <= 15
    assert sum(count for _, _, count in bars) == sum(counts.values())
    assert all(high + 1 == low for (_, high, _), (low, _, _) in pairwise(bars))


def test_nothing_counted_gives_an_empty_distribution() -> None:
    assert distribution({}) == Distribution(0.0, (), ())


def test_a_split_without_examples_is_a_row_of_zeros(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=3, users=12, photos=False)
    found = statistics(Benchmark(folder))
    row = found.splits["test"]
    assert (row.examples, row.users, row.categories) == (0, 0, 0)
    assert set(row.random.values()) == {0.0}
    assert found.splits[ALL].examples == 3
    result = CliRunner().invoke(visuallens, ["benchmark", "stats", str(folder)])
    assert result.exit_code == 0


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=12, photos=False)
    path = folder / schema.ground_truth_file("train")
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(BenchmarkFolderError, match="do not belong together"):
        statistics(Benchmark(folder))


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingPackageError, match=r"visuallens\[benchmark\]"):
        statistics(Benchmark(folder))


def test_bars_are_as_long_as_their_numbers() -> None:
    # 8 of 8 is four whole characters of eight eighths, 3 of 8 is one and a half.
    assert text_bars([("museum", 8), ("park", 3), ("bar", 0)], width=4) == [
        "museum  8  ████",
        "park    3  █▌",
        "bar     0",
    ]
    assert text_bars([]) == []
    assert text_bars([("a", 0)]) == ["a  0"]


def test_bars_of_a_histogram_name_their_ends() -> None:
    assert bars_of(Distribution(0.0, (), ((3, 3, 1), (1000, 1999, 2)))) == [
        ("3", 1),
        ("1,000-1,999", 2),
    ]


def test_figures_keep_their_text_and_their_bytes(found: Statistics, tmp_path: Path) -> None:
    drawn = draw(found, tmp_path / "one")
    assert [path.name for path in drawn] == [
        "categories.svg",
        "history.svg",
        "candidates.svg",
        "ground_truth.svg",
    ]
    for path, again in zip(drawn, draw(found, tmp_path / "two"), strict=True):
        assert path.read_bytes() == again.read_bytes()
    root = ET.fromstring(drawn[0].read_text("utf-8"))  # noqa: S314 - drawn a moment ago
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {*CATEGORIES, "training examples"}


def test_odd_names_of_categories_are_drawn_as_they_are(tmp_path: Path) -> None:
    empty = Distribution(0.0, (), ())
    row = statistics_row(empty)
    odd = Statistics("$x", "", {ALL: row}, {"<b>$5 & up$\x00": 2, "": 1}, {}, {}, {})
    categories, *_ = draw(odd, tmp_path)
    root = ET.fromstring(categories.read_text("utf-8"))  # noqa: S314 - drawn a moment ago
    assert any("$5 & up$" in (element.text or "") for element in root.iter())


def statistics_row(spread: Distribution) -> SplitStatistics:
    return SplitStatistics(0, 0, 0, spread, spread, spread, random_scores({}))


def test_stats_prints_aligned_tables(folder: Path) -> None:
    result = CliRunner().invoke(visuallens, ["benchmark", "stats", str(folder)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("tiny, checksum ")
    table = lines[2:7]
    header = "Table 1  examples  users  categories  images  ground truths  candidates"
    assert table[0].split() == header.split()
    assert [line.split()[0] for line in table[1:]] == ["train", "dev", "test", "all"]
    assert len({len(line) for line in table}) == 1
    assert "tiny.jsonl  not_json     2" in lines
    assert "short_history     7" in lines
    assert "paper" not in result.stdout


@pytest.mark.parametrize("name", PAPER)
def test_a_benchmark_of_the_paper_stands_beside_its_rows(tmp_path: Path, name: str) -> None:
    folder = write_tiny(tmp_path / "named", examples=12, photos=False, name=name)
    result = CliRunner().invoke(visuallens, ["benchmark", "stats", str(folder)])
    paper = PAPER[name]
    assert f"{paper.examples['train']:,}" in result.stdout
    assert f"paper, test  {100 * paper.random['hit@1']:5.1f}" in result.stdout
    assert str(paper.images) in result.stdout


def test_stats_as_json_holds_everything(folder: Path, tmp_path: Path) -> None:
    arguments = ["benchmark", "stats", str(folder), "--json", "--svg", str(tmp_path / "svg")]
    result = CliRunner().invoke(visuallens, arguments)
    record = json.loads(result.stdout)
    assert list(record["splits"]) == ["train", "dev", "test", "all"]
    assert set(record["splits"]["test"]) == {
        "examples",
        "users",
        "categories",
        "history",
        "ground_truth",
        "candidates",
        "random",
    }
    assert set(record["splits"]["test"]["random"]) == {"hit@1", "hit@3", "hit@10", "mrr"}
    assert record["dropped"] == DROPPED
    assert all(Path(path).is_file() for path in record["svg"])
