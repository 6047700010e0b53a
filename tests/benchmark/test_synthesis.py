from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from visuallens.benchmark.build import build
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.synthesis import (
    NAMES,
    WORLD,
    SyntheticPlan,
    fit,
    photo_url,
    synthesize,
    vocabulary,
)
from visuallens.cli.main import visuallens
from visuallens.config import load_settings
from visuallens.drawn import KINDS, read_mood, read_thing
from visuallens.errors import RawDataError

SMALL = SyntheticPlan(users=12, seed=3)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dump") / "world"
    synthesize(folder, SMALL)
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_others(dump: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", SMALL)
    synthesize(tmp_path / "other", SyntheticPlan(users=12, seed=4))
    assert content(tmp_path / "again") == content(dump)
    assert not set(content(tmp_path / "other").values()) & set(content(dump).values())


def test_a_fit_by_hand() -> None:
    # Weights 4.4, 3.9 and 3.9: all three agree, the colour alone, thing and mood, none.
    places = np.array([[0, 1, 2], [0, 0, 0], [3, 1, 2], [1, 2, 3]])
    assert fit(places, np.array([0, 1, 2])) == pytest.approx([12.2, 4.4, 7.8, 0.0])


def test_people_go_where_their_taste_is(dump: Path) -> None:
    (world,) = rows(dump / WORLD)
    about = {row["gmap_id"]: row for row in rows(dump / "meta-Synthetic.json")}
    agreeing = Counter[int]()
    for review in rows(dump / "review-Synthetic.json"):
        business = about[review["gmap_id"]]
        taste = world["tastes"][int(review["user_id"].rpartition("-")[2])]
        own = taste[business["category"][0].lower()]
        agreeing.update(
            at for at, word in enumerate(business["description"].split()) if word == own[at]
        )
    visits = len(rows(dump / "review-Synthetic.json"))
    # A quarter would by chance.
    assert all(agreeing[at] > 0.6 * visits for at in range(3))


def test_photos_show_what_is_at_their_place(dump: Path) -> None:
    about = {
        row["gmap_id"]: row["description"].split() for row in rows(dump / "meta-Synthetic.json")
    }
    right = Counter[str]()
    for number, review in enumerate(rows(dump / "review-Synthetic.json")):
        url = review["pics"][0]["url"][0]
        assert url == photo_url(SMALL.seed, number)
        name = hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()[:16]
        with Image.open(dump / "photos" / name[:2] / f"{name}.jpg") as image:
            pixels = np.asarray(image.convert("RGB"))
        _, thing, mood = about[review["gmap_id"]]
        for word, own in ((read_thing(pixels), thing), (read_mood(pixels), mood)):
            if word is not None:
                right[str(word == own)] += 1
    assert right["True"] > 15 * right["False"] > 0


def test_names_and_ratings_say_nothing_of_the_attributes(dump: Path) -> None:
    about = rows(dump / "meta-Synthetic.json")
    assert len(about) == len(KINDS) * SMALL.places
    for kind in KINDS:
        own = [row["name"] for row in about if row["category"] == [kind.capitalize()]]
        assert len(set(own)) == len(own)
        assert set(own) <= set(NAMES)
    words = {word for row in about for word in row["description"].split()}
    assert words <= set(vocabulary())
    assert not words & {*NAMES, *KINDS}


def test_the_dump_is_built_with_its_photos(dump: Path, tmp_path: Path) -> None:
    settings = load_settings(
        None, ["benchmark.min_drawn=10", "benchmark.max_drawn=10", "benchmark.dev_examples=5"]
    )
    about = build("synthetic-google", dump, tmp_path / "built", settings.benchmark, seed=0)
    assert about["name"] == "synthetic-google"
    assert "synthetic" in about["card"]["note"]
    benchmark = Benchmark(tmp_path / "built")
    requests = list(benchmark.requests("train"))
    assert len(requests) > 10
    assert all(Path(photo.path).is_file() for one in requests for photo in one.history.photos)


def test_a_full_folder_is_left_alone(dump: Path) -> None:
    before = content(dump)
    with pytest.raises(RawDataError, match="something here already"):
        synthesize(dump, SMALL)
    assert content(dump) == before


def test_more_places_than_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="40 names"):
        synthesize(tmp_path / "many", SyntheticPlan(places=41))


def test_the_command_writes_a_dump_and_a_backbone(tmp_path: Path) -> None:
    out, small = tmp_path / "world", tmp_path / "small"
    arguments = ["benchmark", "synthesize", str(out), "--users", "2", "--backbone", str(small)]
    result = CliRunner().invoke(visuallens, [*arguments, "--json"], catch_exceptions=False)
    record = json.loads(result.stdout)
    assert record["synthetic"] is True
    assert (record["users"], record["photos"]) == (2, 72)
    assert (small / "config.json").is_file()
    said = CliRunner().invoke(visuallens, [*arguments[:2], str(tmp_path / "more"), "--users", "1"])
    assert "synthetic world" in said.output
