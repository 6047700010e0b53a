from __future__ import annotations

import pytest

from visuallens.categories import category_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cafés", "cafe"),
        ("Coffee & Tea", "coffee and tea"),
        ("Libraries", "library"),
        ("  Art   Galleries ", "art gallery"),
        ("CHURCHES", "church"),
    ],
)
def test_spellings_of_one_category_are_equal(one: str, other: str) -> None:
    assert category_key(one) == category_key(other)


def test_different_categories_differ() -> None:
    assert category_key("art museum") != category_key("museum")
    assert category_key("") == ""
