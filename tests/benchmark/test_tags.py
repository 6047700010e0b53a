from __future__ import annotations

import re

import pytest

from visuallens import registry
from visuallens.benchmark.tags import KEPT_PHRASES, categories_of, category_of
from visuallens.config import BenchmarkSettings

GOOGLE_REMOVED = """
“shop”, “store”, “complex”, “service”, “company”, “supplier”, “caterer”, “agency”, “center”,
“organization”, “attraction”, “house”, “mall”, “landmark”, “wash”, “course”, “preserve”, “alley”,
“groomer”, “field”, “peak”, “venue”, “delivery”, “dealer”, “lounge”, “office”, “arcade”, “court”,
“spot”, “stop”, “maintenance”, “trainer”, “wholesaler”, “planner”, “place”, “facility”, “school”,
“stand”, “range”, “consultant”, “designer”, “veterinarian”, “ground”, “contractor”,
“manufacturer”, “studio”, “point”, “lot”.
"""
"""As appendix A.2 prints it."""

YELP_REMOVED = """
“planning”, “nightlife”, “services”, “wings”, “arts”, “dogs”, “tacos”, “caribbean”, “beer”,
“spirits”, “wine”, “venues”, “fusion”, “entertainment”, “southern”, “spaces”, “lounges”,
“breweries”, “shopping”, “smoothies”, “flavor”, “plates”, “eastern”, “tex-mex”, “shop”, “noodles”,
“markets”, “market”, “donuts”, “gelato”, “sum”, “veggies”, “fruits”, “trucks”, “bagels”,
“cheesesteaks”, “clubs”, “cuban”, “ramen”, “life”, “roasteries”, “stands”, “brewpubs”,
“gluten-free”, “gardens”, “travel”.
"""
"""As appendix A.2 prints it."""

KEPT = "“tourist attraction”, “steak house”, “historical landmark”, “nature preserve”, etc."
"""As appendix A.2 prints it."""


def printed(text: str) -> list[str]:
    return re.findall("“([^”]+)”", text)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [("google-review-v", GOOGLE_REMOVED, 48), ("yelp-v", YELP_REMOVED, 46)],
)
def test_the_removed_categories_are_those_of_the_paper(name: str, text: str, count: int) -> None:
    words = printed(text)
    assert len(words) == count
    assert registry.load("datasets", name).removed == frozenset(words)


def test_the_kept_phrases_are_those_of_the_paper() -> None:
    assert list(KEPT_PHRASES) == printed(KEPT)


@pytest.mark.parametrize(
    ("tag", "category"),
    [
        ("Italian restaurant", "restaurant"),
        ("Restaurant", "restaurant"),
        ("Tourist attraction", "tourist attraction"),
        ("STEAK HOUSE", "steak house"),
        ("  steak \t house ", "steak house"),
        ("Brazilian steak house", "steak house"),
        ("steakhouse", "steakhouse"),
        ("Bed & breakfast", "breakfast"),
        ("Gluten-Free", "gluten-free"),
        ("Delis/Bodegas", "delis/bodegas"),
        ("Café", "café"),
        ("American (Traditional)", "(traditional)"),
        ("", ""),
        (" \t\n", ""),
        ("\u3000", ""),
    ],
)
def test_a_category_is_the_last_word_or_a_kept_phrase(tag: str, category: str) -> None:
    assert category_of(tag, KEPT_PHRASES) == category


def test_kept_phrases_may_be_written_in_capitals() -> None:
    settings = BenchmarkSettings(kept_phrases=("Golf  Course",))
    assert settings.kept_phrases == ("golf course",)


def test_without_kept_phrases_the_last_word_always_counts() -> None:
    assert category_of("Steak house", ()) == "house"


def test_a_business_carries_every_category_once_in_the_order_of_its_tags() -> None:
    tags = ["Sushi bar", "Italian restaurant", "BAR", "Gift shop", "", "Steak house", "Restaurant"]
    removed = frozenset({"shop", "house"})
    assert categories_of(tags, KEPT_PHRASES, removed) == ("bar", "restaurant", "steak house")


def test_a_phrase_is_kept_although_its_last_word_is_removed() -> None:
    removed = frozenset(printed(GOOGLE_REMOVED))
    tags = ["Attraction", "Tourist attraction", "Nature preserve", "Preserve"]
    assert categories_of(tags, KEPT_PHRASES, removed) == ("tourist attraction", "nature preserve")


def test_no_tags_give_no_categories() -> None:
    assert categories_of([], KEPT_PHRASES, frozenset()) == ()
    assert categories_of(["", "  "], KEPT_PHRASES, frozenset()) == ()
