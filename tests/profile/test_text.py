from __future__ import annotations

from visuallens.profile.text import profile_text, telling_words
from visuallens.types import Photo, ProfileCell


def cell(number: int, caption: str, *words: str) -> ProfileCell:
    return ProfileCell(number, Photo(str(number), ""), 0.5, caption, words)


def test_text_follows_figure_7_and_keeps_numbers() -> None:
    cells = [cell(1, "A rusted structure"), cell(2, ""), cell(3, "A blue sky")]
    assert profile_text(cells, ("industrial", "metal")) == (
        "Aspect words:\nindustrial, metal\n\n"
        "Captions:\nImage 1: A rusted structure\nImage 3: A blue sky"
    )


def test_empty_blocks_are_left_out() -> None:
    assert profile_text([], ()) == ""
    assert profile_text([cell(1, "A dog")], ()) == "Captions:\nImage 1: A dog"


def test_telling_words_by_hand() -> None:
    cells = [cell(1, "", "dog", "lawn"), cell(2, "", "dog"), cell(3, "", "sky"), cell(4, "", "sky")]
    # dog:  p 0.50, b 0.10: 0.50 log(0.51/0.11) = 0.767
    # lawn: p 0.25, b 0.05: 0.25 log(0.26/0.06) = 0.367
    # sky:  p 0.50, b 0.80: 0.50 log(0.51/0.81) = -0.231
    background = {"dog": 0.1, "lawn": 0.05, "sky": 0.8}
    assert telling_words(cells, background) == ("dog", "lawn", "sky")


def test_each_word_once_and_at_most_thirty() -> None:
    words = [f"word {number:02}" for number in range(40)]
    found = telling_words([cell(1, "", *words, *words)], {})
    assert list(found) == words[:30]
    assert telling_words([], {}) == ()
