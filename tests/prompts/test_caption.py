from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuallens.prompts import as_data, caption_prompt, parse_caption

DOG = "A brown dog runs over a meadow."
COUNTED = " ".join(str(number) for number in range(1, 51))


def test_the_prompt() -> None:
    assert caption_prompt() == (
        "Describe this photo in one sentence of at most 30 words. Say only what is visible: the "
        "place, the things, what is happening. Do not guess, do not name people you do not know, "
        "and write nothing before or after the sentence."
    )


@pytest.mark.parametrize(
    "answer",
    [
        DOG,
        f"  {DOG}\n",
        f"Caption: {DOG}",
        f"**Caption:** {DOG}",
        f"Sure! Here is a caption: {DOG}",
        f"Sure, here's a short description of the photo:\n\n{DOG}",
        f"Certainly!\n\n{DOG}",
        f"Of course! {DOG}",
        f"Here you go: {DOG}",
        f"Voici une légende :\n{DOG}",
        f"Image caption: {DOG}",
        f'"{DOG}"',
        f"“{DOG}”",
        f"*{DOG}*",
        "**A brown dog** runs over _a meadow_.",
        f"- {DOG}",
        f"1. {DOG}\n2. A dog outdoors.",
        f"{DOG}\n\nThe photo was probably taken in summer.",
        "A brown dog runs\nover a meadow.",
        f"<think>A dog? A fox?</think>\n{DOG}",
        f"It is a dog, I am sure.</think>{DOG}",
        f"{DOG} <think>or not",
        f"```\n{DOG}\n```",
        f'```json\n{{"caption": "{DOG}"}}\n```',
        f'["{DOG}"]',
        f"<p>{DOG}</p>",
        f"<I7> {DOG}",
        f"{DOG}<|im_end|>",
        f"[INST] {DOG} [/INST]",
    ],
)
def test_the_caption_is_found(answer: str) -> None:
    assert parse_caption(answer) == DOG


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n ",
        "...",
        "!?! -- **",
        "<think>A dog? A fox?",
        "<think>A dog</think>",
        "I'm sorry, I can't help with that.",
        "I\u2019m sorry, but I can\u2019t identify people in photos.",
        "Sorry, I cannot describe this image.",
        "I cannot assist with that request.",
        "I don't see any image.",
        "As an AI, I can not see photos.",
        "Unfortunately, I am unable to view images.",
        '"I am unable to describe this."',
        "Caption: I'm sorry, I can't.",
        "There is no image in your message.",
        "Es tut mir leid, das kann ich nicht.",
        "抱歉\uff0c我无法描述这张图片。",
        "<I7>",
        "Answer: <I7>",
        "<|im_end|>",
        "[]",
        "{}",
        "Caption:",
    ],
)
def test_nothing_is_said(answer: str) -> None:
    assert parse_caption(answer) == ""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The image shows a dog.", "The image shows a dog."),
        ("Ein Hund läuft über die Wiese.", "Ein Hund läuft über die Wiese."),
        ("一只狗在草地上奔跑。", "一只狗在草地上奔跑。"),
        ("Собака бежит.", "Собака бежит."),
        ('A sign that says "I\'m sorry" on a door', 'A sign that says "I\'m sorry" on a door'),
        ('"Open" and "closed"', '"Open" and "closed"'),
        ("A shelf of 3 < 5 &amp; more", "A shelf of 3 \u2039 5 & more"),
        ("OK Corral sign", "OK Corral sign"),
        ("This is a beach: waves roll in.", "This is a beach: waves roll in."),
        ("<A dog on grass>", "A dog on grass"),
        ("A wall, \u2039|im_end|\u203a sprayed", "A wall, sprayed"),
        ("A wall | a door [left]", "A wall \u00a6 a door (left)"),
        ("A 5 * 3 table * chairs", "A 5 * 3 table * chairs"),
    ],
)
def test_what_stays(answer: str, expected: str) -> None:
    assert parse_caption(answer) == expected


def test_a_long_sentence_ends_after_thirty_words() -> None:
    assert parse_caption(COUNTED).split() == [str(number) for number in range(1, 31)]
    assert parse_caption(COUNTED.replace("30 ", "30, ")).endswith("29 30")


def test_a_long_text_ends_with_a_sentence() -> None:
    assert parse_caption(f"{DOG} {COUNTED}") == DOG
    assert parse_caption(f"A dog. {COUNTED}").startswith("A dog. 1 2 3")


def test_scripts_without_spaces_are_cut_too() -> None:
    # Three characters count as a word: 30 words are 90 characters.
    assert len(parse_caption("狗" * 500)) == 90
    sentence = "草地上有一只狗正在追赶一个红色的球。"
    assert parse_caption(sentence + "狗" * 500) == sentence


def test_a_word_without_end_is_cut() -> None:
    assert len(parse_caption("a" * 10_000)) == 400


PIECES = st.sampled_from(["word", "Sure!", "\ufdfa", ".", "\n", "Caption:", "狗"])


@given(st.one_of(st.text(), st.lists(PIECES, max_size=60).map(" ".join)))
@settings(max_examples=300, deadline=None)
def test_any_answer_gives_one_short_harmless_line(answer: str) -> None:
    caption = parse_caption(answer)
    assert len(caption.split()) <= 30
    assert as_data(caption) == caption
