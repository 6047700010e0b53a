from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuallens.prompts import MAX_ASPECT_WORDS, as_data, aspect_prompt, parse_aspect_words

THREE = ("dome", "stone arch", "plants")


def test_the_prompt() -> None:
    assert aspect_prompt() == (
        "List the aspect words of this photo: things, materials, styles, activities and moods that "
        "tell what kind of place it is. One or two words each, the most telling first, separated "
        "by commas. Write nothing else."
    )


@pytest.mark.parametrize(
    "answer",
    [
        "dome, stone arch, plants",
        "Dome, Stone Arch, PLANTS.",
        "dome; stone arch; plants",
        "dome,stone arch,,plants,",
        "dome, dome, stone arch, DOME, plants",
        "dome, stone arch, and plants",
        "dome\nstone arch\nplants",
        "1. dome\n2. stone arch\n3. plants",
        "1) Dome\n2) Stone arch\n3) Plants",
        "- dome\n- stone arch\n- plants",
        "* **Dome**\n* **Stone arch**\n* **Plants**",
        "• dome • stone arch • plants",
        "Aspect words: dome, stone arch, plants",
        "Sure! Here are the aspect words: dome, stone arch, plants",
        "Sure! Here are some aspect words for this photo:\n\n- dome\n- stone arch\n- plants",
        "**Aspect words:** dome, stone arch, plants",
        '["dome", "stone arch", "plants"]',
        '```json\n["Dome", "Stone arch", "Plants"]\n```',
        '{"aspect_words": ["dome", "stone arch", "plants"]}',
        '"dome", "stone arch", "plants"',
        "#dome, #stone arch, #plants",
        "- Dome: a large round roof over the hall\n- Stone arch - old\n- Plants: green ones here",
        "dome (large), stone arch (old), plants",
        "a dome, the stone arch, some plants",
        "<think>maybe a church, a mosque</think>dome, stone arch, plants",
        "a church?</think>dome, stone arch, plants",
        "<ul><li>dome</li><li>stone arch</li><li>plants</li></ul>",
        "<I7>, dome, <loc0001>, stone arch, <|im_end|>, plants",
        "dome, stone arch, plants, this is a very calm and quiet sort of place",
        "dome, stone arch, plants, 42, ..., none",
        "The image shows a dome, a stone arch and plants.",
        "dome | stone arch | plants",
        "dome、stone arch\uff0cplants。",
    ],
)
def test_the_words_are_found(answer: str) -> None:
    assert parse_aspect_words(answer) == THREE


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        ".,;!?",
        "123, 456",
        "None",
        "N/A",
        "<think>dome, arch",
        "I'm sorry, I can't see the image.",
        "I cannot help with that.",
        "It is a wonderfully peaceful old place that many people visit every year.",
        "<I7>",
        "[]",
        "{}",
        "[INST]",
        "a" * 5000,
        "Aspect words:",
    ],
)
def test_nothing_is_found(answer: str) -> None:
    assert parse_aspect_words(answer) == ()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Kuppel, Säule, Pflanzen", ("kuppel", "säule", "pflanzen")),
        ("穹顶\uff0c拱门、植物", ("穹顶", "拱门", "植物")),
        ("купол, арка", ("купол", "арка")),
        ("cat, cats", ("cat", "cats")),
        ("black and white, rock and roll", ("black and white", "rock and roll")),
        ("mid-century chair, 1950s", ("mid-century chair", "1950s")),
        ("Colours: red, blue\nMood: calm, quiet", ("red", "blue", "calm", "quiet")),
        ("dog [INST] obey", ("dog", "obey")),
        ("dog\u200b, d\u200bog", ("dog",)),
    ],
)
def test_odd_words(answer: str, expected: tuple[str, ...]) -> None:
    assert parse_aspect_words(answer) == expected


def test_there_are_at_most_twenty() -> None:
    answer = ", ".join(f"word{number}" for number in range(100))
    assert parse_aspect_words(answer) == tuple(f"word{n}" for n in range(MAX_ASPECT_WORDS))


PIECES = st.sampled_from(["dome", "a", "and", ",", "\n", "\ufdfa", "-", ":", "İ"])


@given(st.one_of(st.text(), st.lists(PIECES).map(" ".join)))
@settings(max_examples=300, deadline=None)
def test_any_answer_gives_short_harmless_words(answer: str) -> None:
    words = parse_aspect_words(answer)
    assert len(words) <= MAX_ASPECT_WORDS
    assert len(set(words)) == len(words)
    for word in words:
        assert 1 <= len(word.split()) <= 3
        assert "," not in word
        assert as_data(word) == word


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("most telling first, dome, separated by commas, stone arch, aspect words", THREE[:2]),
        ("One or two words each, the most telling first, dome", ("dome",)),
        ("things, materials, styles, activities and moods", ()),
        ("Most telling first: dome, stone arch. Write nothing else.", THREE[:2]),
        (aspect_prompt(), ()),
        ("wooden things, art styles, first floor", ("wooden things", "art styles", "first floor")),
    ],
)
def test_the_question_is_no_answer(answer: str, expected: tuple[str, ...]) -> None:
    assert parse_aspect_words(answer) == expected
