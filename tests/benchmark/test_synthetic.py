from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.benchmark import synthetic
from tests.benchmark.reference import (
    Rules,
    distance_km,
    fixed_examples,
    photo_identity,
    read_google,
)

# Any: rows of JSON lines, whose fields the tests look into.
Rows = list[dict[str, Any]]

REVIEWS, BUSINESSES = 12_000, 1_200


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("google")
    synthetic.write_google(folder, reviews=REVIEWS, businesses=BUSINESSES)
    return folder


@pytest.fixture(scope="module")
def yelp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yelp")
    synthetic.write_yelp(folder, reviews=4_000, businesses=500, photos=40, draw=True, dirt=2)
    return folder


def rows(folder: Path, pattern: str) -> Rows:
    lines: list[str] = []
    for path in sorted(folder.glob(pattern)):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        lines += content.decode().splitlines()
    return [json.loads(line) for line in lines]


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def null_share(found: Rows, field: str) -> float:
    return sum(row[field] is None for row in found) / len(found)


def test_the_same_seed_gives_the_same_bytes(google: Path, yelp: Path, tmp_path: Path) -> None:
    synthetic.write_google(tmp_path / "google", reviews=REVIEWS, businesses=BUSINESSES)
    assert content(tmp_path / "google") == content(google)
    size = {"reviews": 4_000, "businesses": 500, "photos": 40}
    synthetic.write_yelp(tmp_path / "yelp", **size, draw=True, dirt=2)
    assert content(tmp_path / "yelp") == content(yelp)


def test_another_seed_gives_another_dump(google: Path, tmp_path: Path) -> None:
    synthetic.write_google(tmp_path, reviews=REVIEWS, businesses=BUSINESSES, seed=1)
    other, this = content(tmp_path), content(google)
    assert other.keys() == this.keys()
    assert all(other[name] != this[name] for name in this)


def test_google_files_are_named_by_state_and_packed_on_request(
    google: Path, tmp_path: Path
) -> None:
    names = {"meta-Alabama", "meta-Alaska", "review-Alabama", "review-Alaska"}
    assert set(content(google)) == {f"{name}.json.gz" for name in names}
    synthetic.write_google(tmp_path, reviews=50, businesses=9, states=("Ohio",), gzip=False)
    assert set(content(tmp_path)) == {"meta-Ohio.json", "review-Ohio.json"}


def test_google_rows_have_the_genuine_fields(google: Path) -> None:
    reviews, businesses = rows(google, "review-*"), rows(google, "meta-*")
    of_review = ["user_id", "name", "time", "rating", "text", "pics", "resp", "gmap_id"]
    assert {tuple(row) for row in reviews} == {tuple(of_review)}
    assert {tuple(row) for row in businesses} == {
        (
            *("name", "address", "gmap_id", "description", "latitude", "longitude", "category"),
            *("avg_rating", "num_of_reviews", "price", "hours", "MISC", "state"),
            *("relative_results", "url"),
        )
    }
    for row in reviews:
        assert row["time"] is None or 1.3e12 < row["time"] < 1.7e12
        assert row["user_id"] is None or re.fullmatch(r"1\d{20}", row["user_id"])
        assert row["pics"] is None or all(list(entry) == ["url"] for entry in row["pics"])
        assert row["pics"] is None or all(entry["url"] for entry in row["pics"])
        assert re.fullmatch("0x[0-9a-f]+:0x[0-9a-f]+", row["gmap_id"] or "0x0:0x0")
    for row in businesses:
        assert row["category"] is None or all(isinstance(tag, str) for tag in row["category"])


def test_google_dumps_have_the_ordinary_dirt(google: Path) -> None:
    dropped = read_google(google).dropped
    assert dropped.keys() >= {"repeated business", "repeated review", "unknown business"}
    assert "incomplete review" in dropped
    assert dropped.total() < 0.04 * REVIEWS
    businesses, reviews = rows(google, "meta-*"), rows(google, "review-*")
    for field in ("name", "latitude", "longitude", "category", "description", "hours", "MISC"):
        assert 0 < null_share(businesses, field) < 0.9, field
    for field in ("user_id", "name", "time", "rating", "text", "pics", "resp"):
        assert 0 < null_share(reviews, field) < 1, field
    tags = Counter(tag for row in businesses for tag in row["category"] or ())
    assert {"Italian restaurant", "Tourist attraction", "Steak house", "Gift shop"} <= set(tags)
    assert {"SHELL", "Shell", "McDonald's", "MCDONALD'S"} <= {row["name"] for row in businesses}


def test_photos_of_google_repeat_in_other_sizes(google: Path) -> None:
    taken = [row["pics"] for row in rows(google, "review-*") if row["pics"]]
    urls = [[entry["url"][0] for entry in pics] for pics in taken]
    assert all(
        url.startswith("https://lh5.googleusercontent.com/p/") for one in urls for url in one
    )
    assert any(len({photo_identity(url) for url in one}) < len(set(one)) for one in urls)
    assert any(len(entry["url"]) > 1 for pics in taken for entry in pics)


def test_people_live_in_towns_and_few_write_much(google: Path) -> None:
    world = read_google(google)
    amounts = sorted(map(len, world.reviews.values()), reverse=True)
    assert sum(amounts[: len(amounts) // 100]) > 0.1 * sum(amounts)
    assert amounts[len(amounts) // 2] < 10
    first, *others = [one.place for one in world.businesses.values() if one.place][:5]
    assert all(distance_km(first, other) < 50 for other in others)
    states = [
        {row["user_id"] for row in rows(google, f"review-{state}*")} - {None}
        for state in ("Alabama", "Alaska")
    ]
    assert len(states[0] & states[1]) > 50
    crowded = [
        max(Counter(review.time_ms for review in reviews).values())
        for reviews in world.reviews.values()
    ]
    assert max(crowded) >= 10


def test_a_dump_gives_plenty_of_examples_by_the_rules_of_the_paper(google: Path) -> None:
    world = read_google(google)
    for drawn in (30, 100):
        rules = Rules(min_category_reviews=300, min_drawn=drawn, max_drawn=drawn)
        examples = fixed_examples(world, rules)
        assert len(examples) > 100
        assert len({one.user_id for one in examples}) > 20
        assert len({one.category for one in examples}) > 5


def test_a_clean_dump_has_no_dirt(tmp_path: Path) -> None:
    synthetic.write_google(tmp_path, reviews=2_000, businesses=300, dirt=0)
    businesses, reviews = rows(tmp_path, "meta-*"), rows(tmp_path, "review-*")
    assert (len(businesses), len(reviews)) == (300, 2_000)
    # Only somebody who writes everything in one second can still repeat a review.
    assert read_google(tmp_path).dropped.keys() <= {"repeated review"}
    for field in ("name", "latitude", "category", "gmap_id", "avg_rating"):
        assert null_share(businesses, field) == 0
    for field in ("user_id", "time", "gmap_id", "rating"):
        assert null_share(reviews, field) == 0


def test_yelp_rows_have_the_genuine_fields(yelp: Path) -> None:
    businesses = rows(yelp, "*business.json")
    reviews, photos = rows(yelp, "*review.json"), rows(yelp, "photos.json")
    assert {tuple(row) for row in businesses} == {
        (
            *("business_id", "name", "address", "city", "state", "postal_code", "latitude"),
            *("longitude", "stars", "review_count", "is_open", "attributes", "categories", "hours"),
        )
    }
    assert {tuple(row) for row in photos} == {("photo_id", "business_id", "caption", "label")}
    counted = {"useful", "funny", "cool"}
    for row in reviews:
        assert (
            set(row) == {"review_id", "user_id", "business_id", "stars", "text", "date"} | counted
        )
        assert datetime.fromisoformat(row["date"]).isoformat(" ") == row["date"]
        assert {len(row[key]) for key in ("review_id", "user_id", "business_id")} == {22}
    assert any(", " in (row["categories"] or "") for row in businesses)


def test_yelp_dumps_have_the_ordinary_dirt(yelp: Path) -> None:
    businesses, reviews = rows(yelp, "*business.json"), rows(yelp, "*review.json")
    known = {row["business_id"] for row in businesses}
    assert len(known) < len(businesses)
    assert len({row["review_id"] for row in reviews}) < len(reviews)
    assert any(row["business_id"] not in known for row in reviews)
    for field in ("categories", "latitude", "hours", "attributes"):
        assert 0 < null_share(businesses, field) < 0.5, field


def test_yelp_photos_are_drawn_on_request(yelp: Path, tmp_path: Path) -> None:
    photos = rows(yelp, "photos.json")
    paths = sorted((yelp / "photos").iterdir())
    assert sorted(f"{row['photo_id']}.jpg" for row in photos) == [path.name for path in paths]
    assert len({path.read_bytes() for path in paths}) == 40
    with Image.open(paths[0]) as image:
        assert (image.format, image.size) == ("JPEG", (64, 48))
    synthetic.write_yelp(tmp_path, reviews=20, businesses=5)
    assert not (tmp_path / "photos").exists()


def test_it_runs_as_a_script(tmp_path: Path) -> None:
    script = [sys.executable, str(Path(synthetic.__file__)), "google", str(tmp_path / "out")]
    size = ["--reviews", "200", "--businesses", "40"]
    subprocess.run([*script, *size], check=True, cwd=tmp_path)
    assert len(rows(tmp_path / "out", "review-*")) >= 200
