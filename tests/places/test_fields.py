"""What columns mean, what values are accepted, and what the refusals say."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from visuallens.errors import PlacesError
from visuallens.places import read_places
from visuallens.places.fields import clean_text, to_candidates
from visuallens.types import Candidate, GeoPoint

FILE = Path("/places/city.csv")


def _one(record: dict[str, object]) -> Candidate:
    (candidate,) = to_candidates([(1, {"name": "A"} | record)], FILE)
    return candidate


def _refused(*records: dict[str, object]) -> PlacesError:
    with pytest.raises(PlacesError) as caught:
        to_candidates(enumerate(records, start=1), FILE)
    return caught.value


def test_no_records_give_no_candidates() -> None:
    assert to_candidates([], FILE) == ()


def test_record_of_yelp_is_understood() -> None:
    record: dict[str, object] = {
        "business_id": "x1",
        "name": "Puckett's",
        "latitude": 36.16,
        "longitude": -86.78,
        "stars": 4.0,
        "review_count": 2746,
        "is_open": 0,
        "categories": "Southern, Grocery, southern, Restaurants",
    }
    assert to_candidates([(1, record)], FILE) == (
        Candidate(
            id="x1",
            name="Puckett's",
            categories=("Southern", "Grocery", "Restaurants"),
            location=GeoPoint(36.16, -86.78),
            rating=4.0,
            rating_count=2746,
        ),
    )


def test_record_of_google_local_is_understood() -> None:
    candidate = _one(
        {
            "gmap_id": "0x1:0x2",
            "description": None,
            "category": ["Book store", "Café"],
            "avg_rating": 4.7,
            "num_of_reviews": 9,
        }
    )
    assert candidate == Candidate(
        id="0x1:0x2", name="A", categories=("Book store", "Café"), rating=4.7, rating_count=9
    )


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [("lat", "lng"), ("LAT", "Lon"), ("Latitude", "long"), ("y", "x"), (" latitude ", "LONGITUDE")],
)
def test_other_names_of_the_position_are_understood(latitude: str, longitude: str) -> None:
    assert _one({latitude: "51.5", longitude: "-0.12"}).location == GeoPoint(51.5, -0.12)


def test_first_name_with_a_value_counts() -> None:
    assert _one({"amenity": "", "tourism": "museum", "type": "node"}).categories == ("museum",)
    assert _one({"name": None, "title": "B", "Rating Count": "3", "reviewCount": 4}).name == "B"
    assert _one({"Rating Count": "3", "reviewCount": 4}).rating_count == 3


@pytest.mark.parametrize(
    "written", ["Bar; Wine bar ;BAR", "Bar|Wine bar|bar", "Bar,Wine bar,", ["Bar", " Wine bar "]]
)
def test_categories_are_split_in_order_without_repeats(written: object) -> None:
    assert _one({"category": written}).categories == ("Bar", "Wine bar")


def test_categories_may_be_objects_with_a_title() -> None:
    assert _one({"categories": [{"alias": "tea", "title": "Tea rooms"}]}).categories == (
        "Tea rooms",
    )


def test_images_are_resolved_against_the_folder_of_the_file() -> None:
    photos = _one({"photos": "a.jpg; b/c.jpg|/x/d.jpg|https://example.org/e.jpg"}).photos
    assert photos == (
        "/places/a.jpg",
        "/places/b/c.jpg",
        "/x/d.jpg",
        "https://example.org/e.jpg",
    )
    assert _one({"image": ["a.jpg", {"url": "https://example.org/e.jpg"}, None]}).photos == (
        "/places/a.jpg",
        "https://example.org/e.jpg",
    )


def test_number_of_images_is_not_a_path() -> None:
    error = _refused({"name": "A", "photos": 12})
    assert (error.row, error.column) == (1, "photos")


@pytest.mark.parametrize("nothing", [None, "", "  ", math.nan, [], "nan", "N/A"])
def test_missing_numbers_are_none(nothing: object) -> None:
    record = dict.fromkeys(("latitude", "longitude", "rating", "rating_count"), nothing)
    assert _one({"id": "1", **record}) == Candidate(id="1", name="A")


@pytest.mark.parametrize("nothing", [None, "", "  ", math.nan, []])
def test_missing_texts_stay_empty(nothing: object) -> None:
    record = dict.fromkeys(("description", "category", "images"), nothing)
    assert _one({"id": "1", **record}) == Candidate(id="1", name="A")


def test_decimal_comma_and_exact_decimals_are_numbers() -> None:
    candidate = _one({"lat": "51,5074", "lon": "-0,1278", "rating": Decimal("4.5")})
    assert candidate.location == GeoPoint(51.5074, -0.1278)
    assert candidate.rating == 4.5


def test_whole_number_ids_lose_the_point_that_table_tools_add() -> None:
    assert _one({"id": 123.0}).id == _one({"id": 123}).id == "123"


def test_texts_are_cleaned_and_cut() -> None:
    candidate = _one(
        {"name": " Tea\x00\n\u202eroom\ud800 ", "description": ["one", "two", "x" * 3000]}
    )
    assert candidate.name == "Tea room"
    assert candidate.description.startswith("one two xxx")
    assert len(candidate.description) == 2000
    assert len(_one({"name": "y" * 500}).name) == 200


def test_clean_text_keeps_letters_of_every_script() -> None:
    assert clean_text("\tCafé  東京\r\n") == "Café 東京"
    assert clean_text("") == ""


def test_made_id_is_the_same_wherever_the_row_stands() -> None:
    tea: dict[str, object] = {"name": "Tea", "lat": 51.5, "lon": -0.1}
    cake: dict[str, object] = {"name": "Cake", "lat": 51.5, "lon": -0.1}
    forward = to_candidates(enumerate([tea, cake], start=1), FILE)
    backward = to_candidates(enumerate([cake, tea | {"lat": "51.50"}], start=1), FILE)
    assert {one.name: one.id for one in forward} == {one.name: one.id for one in backward}
    assert forward[0].id != forward[1].id


def test_namesakes_without_ids_get_different_ids() -> None:
    first, second, third = to_candidates([(row, {"name": "Tea"}) for row in (1, 2, 3)], FILE)
    assert (second.id, third.id) == (f"{first.id}-2", f"{first.id}-3")


def test_repeated_id_names_both_rows() -> None:
    error = _refused({"ID": "a", "name": "A"}, {"ID": "b", "name": "B"}, {"ID": "a", "name": "C"})
    assert (error.row, error.column) == (3, "ID")
    assert "already that of row 1" in str(error)


def test_file_without_a_name_column_lists_what_it_found_and_accepts() -> None:
    error = _refused({"label": "A", "lat": 1})
    assert (error.row, error.column) == (1, "name")
    assert "Call one column name or title" in str(error)
    assert "Columns found: 'label', 'lat'" in str(error)


@pytest.mark.parametrize("name", ["", None, "\u200b\x01"])
def test_missing_name_names_row_and_column(name: object) -> None:
    error = _refused({"Title": "A"}, {"Title": name})
    assert (error.row, error.column) == (2, "Title")
    assert "/places/city.csv, row 2, column 'Title': the name is missing" in str(error)


@pytest.mark.parametrize(
    ("record", "column", "problem"),
    [
        ({"lat": "north", "lon": 1}, "lat", "'north' is not a number"),
        ({"lat": 1, "lon": True}, "lon", "True is not a number"),
        ({"lat": 1, "lon": "1.2.3"}, "lon", "not a number"),
        ({"lat": 139.69, "lon": 35.68}, "lat", "these look swapped"),
        ({"lat": 95, "lon": 120}, "lat", "95 is outside -90 to 90"),
        ({"y": 1, "x": -13_000}, "x", "-13000 is outside -180 to 180"),
        ({"lat": 1, "lon": ""}, "lon", "a latitude but no longitude"),
        ({"lon": 1}, "latitude", "a longitude but no latitude"),
        ({"stars": "good"}, "stars", "'good' is not a number"),
        ({"stars": -1}, "stars", "negative"),
        ({"stars": "inf"}, "stars", "not a number"),
        ({"stars": [4]}, "stars", "not a number"),
        ({"reviews": "1,024"}, "reviews", "not a whole number"),
        ({"reviews": 2.5}, "reviews", "2.5 is not a number of ratings"),
        ({"reviews": -2}, "reviews", "-2 is not a number of ratings"),
        ({"description": {"en": "x"}}, "description", "is a dict, not text"),
        ({"category": [{"en": "x"}]}, "category", "is a dict, not text"),
        ({"id": True}, "id", "is a bool, not text"),
    ],
)
def test_bad_value_names_row_column_and_problem(
    record: dict[str, object], column: str, problem: str
) -> None:
    error = _refused({"name": "fine"}, {"name": "B"} | record)
    assert (error.row, error.column) == (2, column)
    assert problem in str(error)


def _data_folder() -> Path:
    beside_repository = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("VISUALLENS_DATA", beside_repository))


@pytest.mark.data
def test_real_businesses_of_yelp_are_read_in_the_time_of_a_dozen_plain_parses() -> None:
    """A dozen are two seconds where the whole file is parsed in 0.17: machines differ, this not."""
    path = _data_folder() / "yelp" / "business.json"
    if not path.exists():
        pytest.skip(f"no Yelp businesses at {path}; set VISUALLENS_DATA to the real data")
    candidates = read_places(path)
    assert len(candidates) == 36_680
    assert candidates[0].name == "Seither's Seafood"
    assert candidates[0].categories == ("Seafood", "Restaurants")
    assert all(one.location and one.rating and one.rating_count for one in candidates)
    lines = path.read_text("utf-8").splitlines()
    parsing = _quickest(lambda: [json.loads(line) for line in lines])
    assert _quickest(lambda: read_places(path)) <= 12 * parsing


def _quickest(work: Callable[[], object]) -> float:
    """Time work three times, in seconds of the processor."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)
