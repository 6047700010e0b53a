from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image
from tests.benchmark.films import AT_ONCE, write_films

from visuallens.benchmark.build import build
from visuallens.benchmark.folder import Benchmark
from visuallens.config import BenchmarkSettings

USERS, FILMS = 60, 400


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))


def ratings(folder: Path) -> dict[str, list[int]]:
    """User → when they rated, in seconds."""
    found: dict[str, list[int]] = {}
    for line in (folder / "ratings.csv").read_text("utf-8").splitlines()[1:]:
        user_id, _, _, at_s = line.split(",")
        found.setdefault(user_id, []).append(int(at_s))
    return found


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_others(tmp_path: Path) -> None:
    size = {"users": 12, "films": 100}
    one, again = (content(write_films(tmp_path / name, **size)) for name in ("one", "again"))
    other = content(write_films(tmp_path / "other", **size, seed=1))
    assert one == again
    assert all(other.get(name) != digest for name, digest in one.items())


def test_posters_are_all_different_and_a_few_are_missing(films: Path) -> None:
    posters = {name: one for name, one in content(films).items() if name.endswith(".jpg")}
    assert len(posters) == len(set(posters.values())) == FILMS - FILMS // 50
    with Image.open(films / min(posters)) as poster:
        assert poster.format == "JPEG"


def test_most_users_rate_over_many_days_and_some_within_a_second(films: Path) -> None:
    spans = [max(times) - min(times) for times in ratings(films).values()]
    assert len(spans) == USERS
    assert spans.count(0) == USERS // AT_ONCE
    assert sum(span > 30 * 86_400 for span in spans) == USERS - USERS // AT_ONCE


def test_a_small_dump_can_have_fewer_films_than_ratings(tmp_path: Path) -> None:
    write_films(tmp_path, users=2, films=20)
    assert [len(times) for times in ratings(tmp_path).values()] == [20, 20]


def test_the_default_size_gives_enough_examples_in_every_split(films: Path, tmp_path: Path) -> None:
    about = build("movielens-v", films, tmp_path / "out", BenchmarkSettings())
    examples = {split: one["examples"] for split, one in about["counts"]["splits"].items()}
    assert all(count >= 150 for count in examples.values()), examples
    assert all(not source["rejected"] for source in about["sources"])
    assert about["counts"]["reviews_of_unknown_businesses"] == 0
    # Who types everything in one second has no history, so is never asked.
    asked = {
        request.history.user_id
        for split in examples
        for request in Benchmark(tmp_path / "out").requests(split)
    }
    assert asked
    assert all(max(times) > min(times) for user, times in ratings(films).items() if user in asked)


@pytest.mark.data
def test_the_schema_is_the_genuine_one(films: Path, data: Path) -> None:
    for name in ("ratings.csv", "movies.jsonl"):
        drawn, genuine = (
            (folder / name).read_text("utf-8").splitlines()
            for folder in (films, data / "movielens")
        )
        if name == "ratings.csv":
            assert drawn[0] == genuine[0]
            assert [len(line.split(",")) for line in (drawn[1], genuine[1])] == [4, 4]
            continue
        row, real = json.loads(drawn[0]), json.loads(genuine[0])
        assert list(row) == list(real)
        assert [type(value) for value in row.values()] == [type(one) for one in real.values()]
