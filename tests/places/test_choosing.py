from __future__ import annotations

from pathlib import Path

import pytest

from visuallens.errors import PlacesError, RequestError
from visuallens.places import candidates_named
from visuallens.places.filter import around, in_categories
from visuallens.types import Candidate, GeoPoint


def at(name: str, longitude: float, *categories: str) -> Candidate:
    return Candidate(name, name, categories=categories, location=GeoPoint(0, longitude))


HERE = GeoPoint(0, 0)
PLACES = (at("far", 3, "museum"), at("near", 1, "Museums", "shop"), Candidate("nowhere", "n"))


def test_around_keeps_the_nearest_or_says_that_nothing_is_left() -> None:
    assert [place.id for place in around(PLACES, HERE, None, 1)] == ["near"]
    assert [place.id for place in around(PLACES, HERE, 200, 9)] == ["near"]
    assert len(around(PLACES, None, None, 1)) == 3
    with pytest.raises(RequestError, match="--near"):
        around(PLACES, None, 3, 1)
    with pytest.raises(RequestError, match="No place is left"):
        around(PLACES, HERE, 0.1, 1)


def test_all_categories_if_one_place_has_them_else_any() -> None:
    assert [place.id for place in in_categories(PLACES, ["museum", "shop"], "all")] == ["near"]
    apart = (at("m", 1, "museum"), at("g", 2, "garden"), at("x", 3, "bar"))
    both = in_categories(apart, ["museum", "garden"], "all")
    assert [place.id for place in both] == ["m", "g"]
    assert len(in_categories(PLACES, [], "any")) == 3


def test_a_name_is_a_city_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(candidates_named("London")) > 60
    Path("london").write_text("a file of that name wins, and is no places file")
    with pytest.raises(PlacesError):
        candidates_named("London".lower())
    with pytest.raises(PlacesError):
        candidates_named("nowhere.csv")
