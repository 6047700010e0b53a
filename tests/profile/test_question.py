from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from visuallens.errors import RequestError
from visuallens.models.embedded import EmbeddedModel
from visuallens.profile.question import understand
from visuallens.types import FloatArray

CITY = {
    "museum": 25, "garden": 14, "café": 10, "coffee shop": 5, "art gallery": 7, "zoo": 2,
    "fish and chips": 1, "restaurant": 15,
}  # fmt: skip
YELP = {"Restaurants": 900, "Italian": 80, "Coffee & Tea": 50, "Fish & Chips": 9, "Museums": 3}


def no_embedding(texts: Sequence[str]) -> FloatArray:
    raise AssertionError(texts)


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        ("Recommend a nearby museum", ("museum",)),
        ("MUSEUMS please!", ("museum",)),
        ("best fish & chips near me?", ("fish and chips",)),
        ("a coffee shop", ("coffee shop",)),
        ("Where is a good cafe?", ("café",)),
        ("museum, please", ("museum",)),
        ("the zoo's animals", ("zoo",)),
        ("the zoo\u2019s animals", ("zoo",)),
        ("a coffee-shop", ("coffee shop",)),
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
    "text", ["American (New)", "new american (new), please", "AMERICAN NEW", "american - new"]
)
def test_punctuation_in_a_category_does_not_hide_it(model: EmbeddedModel, text: str) -> None:
    names = {"American (New)": 3, "American (Traditional)": 4, "Women's Clothing": 2}
    embed = model.sentences.encode_texts
    assert understand(text, names, embed).matched == ("American (New)",)
    assert understand("womens clothing", names, embed).matched == ("Women's Clothing",)
    assert understand("women's clothing", names, embed).matched == ("Women's Clothing",)


def test_contractions_are_not_part_of_the_phrase(model: EmbeddedModel) -> None:
    embed = model.sentences.encode_texts
    assert understand("I'd like a nice garden", {}, embed).question.category == "garden"
    assert understand("where\u2019s a zoo", {}, embed).question.category == "zoo"
    with pytest.raises(RequestError, match="empty"):
        understand("I'm", {}, embed)


def test_a_single_place_is_said_as_one(model: EmbeddedModel) -> None:
    message = understand("fish and chips", CITY, model.sentences.encode_texts).message
    assert message == "I read this as: fish and chips (1 place)."


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


@example(text="\ud800 \x9b31m \u202e", given_category=True)
@example(text="x" * 10_000, given_category=False)
@given(text=st.text(st.characters(), max_size=700), given_category=st.booleans())
def test_what_comes_out_can_be_shown_and_saved(text: str, *, given_category: bool) -> None:
    category = text if given_category else None
    try:
        understood = understand(f"garden {text}", {}, no_embedding, category=category)
    except RequestError:
        return
    for shown in (understood.question.text, understood.question.category, understood.message):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", shown)
        shown.encode("utf-8")
        assert len(shown) <= 600


def test_a_blank_category_counts_as_not_given(model: EmbeddedModel) -> None:
    embed = model.sentences.encode_texts
    assert understand("a museum", CITY, embed, category=" \n").how == "words"
    with pytest.raises(RequestError, match="empty"):
        understand("", CITY, embed, category="")
