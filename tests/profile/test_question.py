from __future__ import annotations

import pytest

from visuallens.errors import RequestError
from visuallens.models.embedded import EmbeddedModel
from visuallens.profile.question import understand

CITY = {
    "museum": 25, "garden": 14, "café": 10, "coffee shop": 5, "art gallery": 7, "zoo": 2,
    "fish and chips": 1, "restaurant": 15,
}  # fmt: skip
YELP = {"Restaurants": 900, "Italian": 80, "Coffee & Tea": 50, "Fish & Chips": 9, "Museums": 3}


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        ("Recommend a nearby museum", ("museum",)),
        ("MUSEUMS please!", ("museum",)),
        ("best fish & chips near me?", ("fish and chips",)),
        ("a coffee shop", ("coffee shop",)),
        ("Where is a good cafe?", ("café",)),
    ],
)
def test_words_name_the_category(model: EmbeddedModel, text: str, matched: tuple[str, ...]) -> None:
    understood = understand(text, CITY, model.sentences.encode_texts)
    assert understood.matched == matched
    assert understood.how == "words"
    assert matched[0] in understood.message


def test_several_names_narrow_the_choice(model: EmbeddedModel) -> None:
    understood = understand("an Italian restaurant", YELP, model.sentences.encode_texts)
    assert understood.matched == ("Italian", "Restaurants")
    assert understood.match == "all"
    assert understood.question.category == "Italian Restaurants"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("somewhere to drink coffee", "coffee shop"),
        ("I want to see paintings", "art gallery"),
        ("I want to see animals", "zoo"),
    ],
)
def test_meaning_finds_what_words_do_not(model: EmbeddedModel, text: str, first: str) -> None:
    understood = understand(text, CITY, model.sentences.encode_texts)
    assert understood.how == "meaning"
    assert understood.matched[0] == first
    assert understood.match == "any"


def test_what_no_place_offers_is_said(model: EmbeddedModel) -> None:
    understood = understand("income tax advice", CITY, model.sentences.encode_texts)
    assert (understood.how, understood.matched) == ("none", ())
    assert "No category" in understood.message


def test_places_without_categories_are_all_looked_at(model: EmbeddedModel) -> None:
    understood = understand("please show me a nice garden", {}, model.sentences.encode_texts)
    assert (understood.question.category, understood.matched) == ("garden", ())


def test_a_given_category_decides(model: EmbeddedModel) -> None:
    embed = model.sentences.encode_texts
    understood = understand("something nice", CITY, embed, category="Museums")
    assert understood.matched == ("museum",)
    assert understood.how == "given"
    with pytest.raises(RequestError, match=r"Did you mean: museum"):
        understand("something nice", CITY, embed, category="musuem")


@pytest.mark.parametrize("text", ["", "   ", "please", "?!", "recommend me something nearby"])
def test_a_question_without_content_is_refused(model: EmbeddedModel, text: str) -> None:
    with pytest.raises(RequestError, match="empty"):
        understand(text, CITY, model.sentences.encode_texts)


@pytest.mark.parametrize(
    "text",
    ["museum " * 5000, "a museum\x00\x1b[31m", "'; DROP TABLE photos; -- museum", "博物館 museum"],
)
def test_any_text_is_only_data(model: EmbeddedModel, text: str) -> None:
    assert understand(text, CITY, model.sentences.encode_texts).matched == ("museum",)
