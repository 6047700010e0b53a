"""movielens-v from the shared ratings, against the figures of an independent builder."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from visuallens.benchmark import schema
from visuallens.benchmark.audit import audit
from visuallens.benchmark.build import build
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.statistics import statistics
from visuallens.config import BenchmarkSettings

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    out = tmp_path_factory.mktemp("movielens") / "out"
    build("movielens-v", data / "movielens", out, BenchmarkSettings())
    return Benchmark(out)


def test_its_figures_are_those_of_the_independent_builder(built: Benchmark) -> None:
    found = statistics(built).splits["all"]
    assert found.examples == pytest.approx(7_900, rel=0.02)
    assert found.users == pytest.approx(300, rel=0.03)
    assert found.candidates.mean == pytest.approx(65.5, rel=0.02)
    assert found.ground_truth.mean == pytest.approx(9.0, rel=0.02)
    assert found.history.mean == pytest.approx(146, rel=0.02)
    scores = found.random
    expected = {"hit@1": 0.145, "hit@3": 0.329, "hit@10": 0.637, "mrr": 0.295}
    assert scores == pytest.approx(expected, abs=0.02)


def test_it_is_the_known_edition_and_does_not_leak(built: Benchmark) -> None:
    assert all(one["known_edition"] for one in built.about["sources"])
    assert audit(built, sample=1000, requests=50).leaks == ()


def test_histories_end_a_day_before_and_candidates_are_new_to_the_user(
    built: Benchmark, data: Path
) -> None:
    seen: dict[tuple[str, str], int] = {}
    for line in (data / "movielens" / "ratings.csv").read_text().splitlines()[1:]:
        user_id, film, _, seconds = line.split(",")
        seen[user_id, film] = min(int(seconds), seen.get((user_id, film), int(seconds)))
    for example in pq.read_table(built.path(schema.examples_file("test"))).to_pylist():
        asked_s = example["asked_at"].timestamp()
        assert max(example["history_at"]).timestamp() <= asked_s - 86_400
        for film in example["candidates"]:
            assert seen.get((example["user_id"], film), asked_s) >= asked_s


def test_only_the_most_rated_films_can_be_kept(data: Path, tmp_path: Path) -> None:
    settings = BenchmarkSettings(most_reviewed=200, min_drawn=8, max_drawn=16, min_candidates=6)
    build("movielens-v", data / "movielens", tmp_path / "out", settings)
    few = Benchmark(tmp_path / "out")
    known = set(pq.read_table(few.path(schema.PHOTOS)).column("business_id").to_pylist())
    films = (data / "movielens" / "movies.jsonl").read_text("utf-8").splitlines()
    ids = {str(json.loads(line)["id"]) for line in films}
    ratings = (data / "movielens" / "ratings.csv").read_text().splitlines()[1:]
    counted = Counter(film for line in ratings if (film := line.split(",")[1]) in ids)
    most = sorted(counted, key=lambda film: (-counted[film], film))[:200]
    assert len(known) > 150
    assert known <= set(most)


def test_films_apart_share_nothing_between_train_and_test(data: Path, tmp_path: Path) -> None:
    settings = BenchmarkSettings(business_disjoint=True)
    build("movielens-v", data / "movielens", tmp_path / "out", settings)
    films: dict[str, set[str]] = {}
    for split in schema.SPLITS:
        table = pq.read_table(tmp_path / "out" / schema.examples_file(split))
        columns = (table.column(name).to_pylist() for name in ("history", "candidates"))
        films[split] = {film for column in columns for listed in column for film in listed}
        assert table.num_rows > 500
    assert not films["train"] & (films["dev"] | films["test"])
