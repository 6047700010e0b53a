"""Whole builds: from small raw dumps to finished, audited benchmarks."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from tests.benchmark.films import write_films
from tests.benchmark.synthetic import write_google, write_yelp

from visuallens.benchmark import schema
from visuallens.benchmark.build import build
from visuallens.benchmark.datasets.google import opaque
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.steps import Crew
from visuallens.cli.main import visuallens
from visuallens.config import BenchmarkSettings
from visuallens.errors import BenchmarkError, BenchmarkFolderError, RawDataError, UnknownNameError

SMALL = BenchmarkSettings(min_category_reviews=150)


@pytest.fixture(scope="session")
def google(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("google-dump")
    write_google(folder, reviews=12_000, businesses=700)
    return folder


@pytest.fixture(scope="session")
def yelp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yelp-dump")
    write_yelp(folder, reviews=12_000, businesses=700)
    return folder


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session")
def built(google: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    out = tmp_path_factory.mktemp("built") / "google"
    build("google-review-v", google, out, SMALL)
    return Benchmark(out)


def rows(benchmark: Benchmark, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(benchmark.path(name)).to_pylist()
    return found


def all_rows(benchmark: Benchmark) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for split in schema.SPLITS:
        examples = rows(benchmark, schema.examples_file(split))
        answers = rows(benchmark, schema.ground_truth_file(split))
        for example, answer in zip(examples, answers, strict=True):
            yield split, example, answer


def same_bytes(one: Path, other: Path) -> bool:
    names = {path.name for path in one.iterdir()} - {schema.LOCAL}
    assert names == {path.name for path in other.iterdir()} - {schema.LOCAL}
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(visuallens, ["benchmark", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("name", ["google-review-v", "yelp-v", "movielens-v"])
def test_a_small_dump_is_built_described_and_audited(
    name: str, google: Path, yelp: Path, films: Path, tmp_path: Path
) -> None:
    raw = {"google-review-v": google, "yelp-v": yelp, "movielens-v": films}[name]
    out = str(tmp_path / "out")
    settings = [] if name == "movielens-v" else ["--set", "benchmark.min_category_reviews=150"]
    built = run("build", name, "--raw", str(raw), "--out", out, "--workers", "1", *settings)
    assert built.exit_code == 0, built.output
    stats = json.loads(run("stats", out, "--json").output)
    assert stats["splits"]["all"]["examples"] >= 100
    audited = run("audit", out)
    assert audited.exit_code == 0, audited.output
    assert not list(tmp_path.glob("*.building"))


def test_ground_truth_is_what_the_user_reviews_from_the_question_on(
    built: Benchmark, google: Path
) -> None:
    reviews: dict[tuple[str, str], list[int]] = {}
    for path in google.glob("review-*.json.gz"):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            row = json.loads(line)
            if row["user_id"] and row["gmap_id"] and row["time"]:
                key = (row["user_id"], opaque(row["gmap_id"]))
                reviews.setdefault(key, []).append(row["time"])
    count = 0
    for _, example, answer in all_rows(built):
        asked = round(example["asked_at"].timestamp() * 1000)
        for one in example["candidates"]:
            later = any(at >= asked for at in reviews.get((example["user_id"], one), []))
            assert later == (one in answer["ground_truth"])
            count += 1
        assert asked in reviews[example["user_id"], answer["anchor"]]
    assert count > 1000


def test_every_example_keeps_the_rules_of_the_paper(built: Benchmark) -> None:
    categories = {row["photo_id"]: row["categories"] for row in rows(built, schema.PHOTOS)}
    known = {row["candidate_id"]: row for row in rows(built, schema.CANDIDATES)}
    for _, example, answer in all_rows(built):
        assert len(example["history"]) == len(set(example["history"])) >= 10
        assert max(example["history_at"]) < example["asked_at"]
        assert example["history_at"] == sorted(example["history_at"])
        assert any(example["category"] in categories[one] for one in example["history"])
        assert 10 <= len(example["candidates"]) <= 100
        assert len(answer["ground_truth"]) >= 2
        assert set(answer["ground_truth"]) <= set(example["candidates"])
        assert all(example["category"] in known[one]["categories"] for one in example["candidates"])
        names = [known[one]["name"].casefold() for one in example["candidates"]]
        assert len(names) == len(set(names))


def test_nobody_is_in_two_splits_and_ids_are_unique(built: Benchmark) -> None:
    splits: dict[str, set[str]] = {}
    ids = []
    for split, example, _ in all_rows(built):
        splits.setdefault(example["user_id"], set()).add(split)
        ids.append(example["example_id"])
    assert all(len(one) == 1 for one in splits.values())
    assert len(ids) == len(set(ids))
    assert {one for found in splits.values() for one in found} == set(schema.SPLITS)


@pytest.mark.parametrize("name", ["google-review-v", "yelp-v", "movielens-v"])
def test_the_same_dump_settings_and_seed_give_the_same_bytes(
    name: str, google: Path, yelp: Path, films: Path, tmp_path: Path
) -> None:
    raw = {"google-review-v": google, "yelp-v": yelp, "movielens-v": films}[name]
    settings = BenchmarkSettings() if name == "movielens-v" else SMALL
    abouts = [build(name, raw, tmp_path / out, settings) for out in ("one", "two")]
    assert same_bytes(tmp_path / "one", tmp_path / "two")
    other = build(name, raw, tmp_path / "other", settings, seed=1)
    assert other["checksum"] != abouts[0]["checksum"]


def test_buckets_and_workers_make_no_difference(
    built: Benchmark, google: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visuallens.benchmark.build._BUCKET_BYTES", 2 << 20)
    build("google-review-v", google, tmp_path / "two", SMALL, crew=Crew(workers=2))
    assert same_bytes(built.folder, tmp_path / "two")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
def test_ray_builds_the_same_on_two_workers(
    built: Benchmark, google: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr("visuallens.benchmark.build._BUCKET_BYTES", 2 << 20)
    build("google-review-v", google, tmp_path / "ray", SMALL, crew=Crew("ray", workers=2))
    assert same_bytes(built.folder, tmp_path / "ray")


WAITS_TO_BE_KILLED = """
import sys, time
from pathlib import Path
from visuallens.benchmark.build import build
from visuallens.benchmark.steps import Crew
from visuallens.config import BenchmarkSettings

raw, out, waits_at, sign = sys.argv[1:]

def progress(step, done, total):
    if step == waits_at and done:
        Path(sign).touch()
        time.sleep(600)

settings = BenchmarkSettings(min_category_reviews=150)
build("google-review-v", Path(raw), Path(out), settings, crew=Crew(progress=progress))
"""


def test_only_some_categories_are_asked_about(
    built: Benchmark, google: Path, tmp_path: Path
) -> None:
    asked = {one["category"] for one in rows(built, schema.CATEGORIES)}
    one_category = min(asked)
    only = SMALL.model_copy(update={"categories": (one_category,)})
    build("google-review-v", google, tmp_path / "out", only)
    few = Benchmark(tmp_path / "out")
    found = [example for split in schema.SPLITS for example in few.examples(split)]
    assert {example.request.question.category for example in found} == {one_category}
    # The same examples as among all.
    before = {
        one["example_id"]: one["candidates"]
        for split in schema.SPLITS
        for one in rows(built, schema.examples_file(split))
        if one["category"] == one_category
    }
    assert {one.request.id for one in found} <= before.keys()
    for example in found:
        assert [one.id for one in example.request.candidates] == before[example.request.id]


def test_an_unknown_category_is_answered_with_the_known_ones(google: Path, tmp_path: Path) -> None:
    unknown = SMALL.model_copy(update={"categories": ("volcano",)})
    with pytest.raises(RawDataError, match=r"volcano.*There are: "):
        build("google-review-v", google, tmp_path / "out", unknown)


def test_a_killed_build_leaves_no_benchmark_and_is_continued(
    built: Benchmark, google: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for step in ("read", "timelines", "search", "assemble"):
        sign = tmp_path / step
        process = subprocess.Popen(
            [sys.executable, "-c", WAITS_TO_BE_KILLED, str(google), str(out), step, str(sign)]
        )
        while not sign.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert not out.exists()
    seen: list[tuple[str, int]] = []
    crew = Crew(progress=lambda step, done, _total: seen.append((step, done)))
    build("google-review-v", google, out, SMALL, crew=crew)
    assert ("read", 0) not in seen
    assert ("read", 4) in seen
    assert same_bytes(built.folder, out)


def test_a_changed_dump_is_built_anew(google: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(google, raw)
    with pytest.raises(RawDataError):
        build("google-review-v", raw, tmp_path / "out", BenchmarkSettings())
    assert (tmp_path / "out.building").is_dir()
    for path in (*raw.glob("*-Alaska.json.gz"),):
        path.unlink()
    about = build("google-review-v", raw, tmp_path / "out", SMALL)
    assert [one["file"] for one in about["sources"]] == [
        "meta-Alabama.json.gz",
        "review-Alabama.json.gz",
    ]


class TestBadInput:
    def test_an_unknown_dataset_names_the_known_ones(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownNameError, match="movielens-v"):
            build("nothing", tmp_path, tmp_path / "out", SMALL)

    @pytest.mark.parametrize("name", ["google-review-v", "yelp-v", "movielens-v"])
    def test_a_folder_that_is_missing_or_empty_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(RawDataError, match="no such folder"):
            build(name, tmp_path / "none", tmp_path / "out", SMALL)
        (tmp_path / "empty").mkdir()
        with pytest.raises(RawDataError, match=r"there is no review|missing"):
            build(name, tmp_path / "empty", tmp_path / "out", SMALL)

    def test_an_empty_dump_gives_no_benchmark(self, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        raw.mkdir()
        for kind in ("review", "meta"):
            (raw / f"{kind}-Nowhere.json").touch()
        with pytest.raises(RawDataError, match="it holds no row"):
            build("google-review-v", raw, tmp_path / "out", SMALL)
        assert not (tmp_path / "out").exists()

    def test_a_broken_gzip_tail_is_refused(self, google: Path, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        shutil.copytree(google, raw)
        path = raw / "review-Alabama.json.gz"
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(RawDataError, match=r"review-Alabama.json.gz, line \d+: its gzip"):
            build("google-review-v", raw, tmp_path / "out", SMALL)

    def test_too_little_memory_says_which_setting_to_raise(
        self, google: Path, tmp_path: Path
    ) -> None:
        settings = SMALL.model_copy(update={"memory_gb": 0.001})
        with pytest.raises(BenchmarkError, match=r"Raise benchmark\.memory_gb"):
            build("google-review-v", google, tmp_path / "out", settings)

    def test_a_file_in_the_way_is_named(self, google: Path, tmp_path: Path) -> None:
        (tmp_path / "out.building").write_text("mine")
        with pytest.raises(BenchmarkFolderError, match=r"out\.building: .*the same command"):
            build("google-review-v", google, tmp_path / "out", SMALL)

    def test_a_folder_that_is_not_empty_is_not_touched(self, google: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "mine.txt").write_text("precious")
        with pytest.raises(BenchmarkFolderError, match="something here already"):
            build("google-review-v", google, out, SMALL)
        assert (out / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["a[1]", "it's", "with space", "star*?", "."])
def test_odd_folders_are_written(
    name: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    build("movielens-v", films, Path(name), BenchmarkSettings())
    assert Benchmark(Path(name)).count("train")


def test_a_link_to_an_empty_folder_is_filled(films: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    build("movielens-v", films, tmp_path / "link", BenchmarkSettings())
    assert Benchmark(tmp_path / "empty").count("train")


def _google_dump(folder: Path, reviews: list[dict[str, Any]], count: int = 14) -> Path:
    """A museum on every degree of a meridian, and the reviews of one user."""
    folder.mkdir()
    places = [
        {"gmap_id": f"m{n}", "name": f"Museum {n}", "category": ["Art museum"],
         "latitude": float(n), "longitude": 0.0}
        for n in range(count)
    ]  # fmt: skip
    for name, listed in (("meta", places), ("review", reviews)):
        text = "".join(json.dumps(row) + "\n" for row in listed)
        (folder / f"{name}-X.json").write_text(text)
    return folder


def _review(business: int | str, time_ms: int, photos: int = 0) -> dict[str, Any]:
    urls = [{"url": [f"https://x.test/p/{business}-{time_ms}-{n}=w1"]} for n in range(photos)]
    business_id = business if isinstance(business, str) else f"m{business}"
    return {"user_id": "u", "gmap_id": business_id, "time": time_ms, "pics": urls or None}


ONE = BenchmarkSettings(min_category_reviews=1, min_drawn=12, max_drawn=12)


def test_a_review_of_an_unknown_business_is_counted(tmp_path: Path) -> None:
    reviews = [_review(0, 1, 10), _review("nowhere", 2, 3), _review(1, 3), _review(2, 4)]
    about = build("google-review-v", _google_dump(tmp_path / "raw", reviews), tmp_path / "o", ONE)
    assert about["counts"]["reviews_of_unknown_businesses"] == 1
    (example,) = [example for _, example, _ in all_rows(Benchmark(tmp_path / "o"))]
    assert len(example["history"]) == 10


def test_a_user_with_everything_in_one_second_has_no_history(tmp_path: Path) -> None:
    reviews = [_review(n, 5, 4) for n in range(12)]
    with pytest.raises(RawDataError, match="12 x history_too_short"):
        build("google-review-v", _google_dump(tmp_path / "raw", reviews), tmp_path / "out", ONE)


def test_a_category_with_two_businesses_asks_nothing(tmp_path: Path) -> None:
    reviews = [_review(0, 1, 10), _review(1, 3), _review(0, 4)]
    raw = _google_dump(tmp_path / "raw", reviews, count=2)
    with pytest.raises(RawDataError, match="too_few_candidates"):
        build("google-review-v", raw, tmp_path / "out", ONE)


def test_photos_of_businesses_without_position_or_category_are_history(tmp_path: Path) -> None:
    reviews = [_review(0, 1, 1), _review("lost", 2, 5), _review("odd", 3, 4)]
    raw = _google_dump(tmp_path / "raw", [*reviews, _review(1, 5), _review(2, 6)])
    with (raw / "meta-X.json").open("a") as file:
        file.write(json.dumps({"gmap_id": "lost", "name": "L", "category": ["Art museum"]}) + "\n")
        file.write(json.dumps({"gmap_id": "odd", "name": "O", "category": ["Gift shop"]}) + "\n")
    build("google-review-v", raw, tmp_path / "out", ONE)
    (example,) = [example for _, example, _ in all_rows(Benchmark(tmp_path / "out"))]
    assert len(example["history"]) == 10
    assert not {opaque("lost"), opaque("odd")} & set(example["candidates"])


def test_repeated_reviews_count_once(tmp_path: Path) -> None:
    reviews = [_review(0, 1, 10), _review(0, 1, 10), _review(1, 3), _review(2, 4), _review(2, 4)]
    about = build("google-review-v", _google_dump(tmp_path / "raw", reviews), tmp_path / "o", ONE)
    assert about["counts"]["reviews_repeated"] == 2
    assert about["counts"]["reviews"] == 3
