"""The bundled cities are complete, sane and free of figures that nobody measured."""

from __future__ import annotations

import pytest

from visuallens.errors import UnknownNameError
from visuallens.places import (
    bundled_cities,
    bundled_city,
    category_counts,
    distance_km,
    in_category,
)
from visuallens.types import Candidate, GeoPoint

CENTRE = GeoPoint(51.5074, -0.1278)


@pytest.fixture(scope="module")
def london() -> tuple[Candidate, ...]:
    return bundled_city("london")


def test_cities_are_listed() -> None:
    assert bundled_cities() == ("london",)


def test_city_name_ignores_letter_case(london: tuple[Candidate, ...]) -> None:
    assert bundled_city(" London ") == london


@pytest.mark.parametrize("name", ["atlantis", "", "../cities/london"])
def test_unknown_city_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownNameError, match="Known: london") as caught:
        bundled_city(name)
    assert caught.value.name == name


def test_london_has_enough_places_and_categories(london: tuple[Candidate, ...]) -> None:
    assert len(london) >= 84
    first = category_counts([Candidate(one.id, one.name, "", one.categories[:1]) for one in london])
    assert len(first) >= 8
    for category in ("museum", "café", "garden", "park", "restaurant", "market"):
        assert len(in_category(london, category)) >= 8, category
    for category in ("theatre", "church", "library", "viewpoint"):
        assert len(in_category(london, category)) >= 6, category


def test_london_ids_and_names_are_unique(london: tuple[Candidate, ...]) -> None:
    assert len({one.id for one in london}) == len(london)
    assert len({one.name.casefold() for one in london}) == len(london)


def test_london_places_lie_in_london(london: tuple[Candidate, ...]) -> None:
    for one in london:
        assert one.location is not None
        assert distance_km(CENTRE, one.location) <= 30, one.name


def test_london_descriptions_are_one_short_sentence(london: tuple[Candidate, ...]) -> None:
    for one in london:
        assert 4 <= len(one.description.split()) <= 30, one.name
        assert one.description.endswith("."), one.name


def test_london_has_no_invented_figures(london: tuple[Candidate, ...]) -> None:
    assert all(one.rating is None and one.rating_count is None for one in london)
    assert not any(one.photos for one in london)
