from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from visuallens.models.describe import MAX_CAPTION_WORDS, Describer, compose
from visuallens.models.labels import Label, imagenet_labels
from visuallens.types import DateSource, PhotoMetadata

LABELS = (
    Label("border collie", "border collie", ("dog", "animal")),
    Label("poodle", "poodle", ("dog", "animal")),
    Label("tabby cat", "tabby cat", ("cat", "animal")),
    Label("espresso", "espresso", ("coffee",)),
)


@pytest.fixture
def describer() -> Describer:
    return Describer(LABELS, label_confidence=0.5, group_confidence=0.6)


def words(describer: Describer, *probabilities: float) -> tuple[str, ...]:
    return describer.aspect_words(np.array(probabilities, np.float32))


def test_a_sure_class_is_said_with_its_hypernyms(describer: Describer) -> None:
    # espresso 0.9 > coffee 0.9 * log(1/4)/log(1/4) = 0.9: equal, so in alphabetical order.
    assert words(describer, 0.05, 0.03, 0.02, 0.9) == ("coffee", "espresso")


def test_some_dog_of_no_sure_breed_is_a_dog(describer: Describer) -> None:
    # dog: 0.45 + 0.45 = 0.9, specificity log(2/4)/log(1/4) = 0.5, score 0.45;
    # animal: 0.95, specificity log(3/4)/log(1/4) = 0.2075, score 0.197.
    assert words(describer, 0.45, 0.45, 0.05, 0.05) == ("dog", "animal")


def test_nothing_certain_is_nothing_said(describer: Describer) -> None:
    assert words(describer, 0.25, 0.05, 0.25, 0.45) == ()


def test_every_imagenet_word_has_one_or_two_words() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert all(1 <= len(label.word.split()) <= 2 for label in labels)
    assert all(len(word.split()) <= 2 for label in labels for word in label.hypernyms)
    assert labels[963].word == "pizza"
    assert "coffee" in labels[967].hypernyms


def test_caption_says_words_date_and_place() -> None:
    taken = PhotoMetadata(datetime(2023, 6, 3), DateSource.EXIF)  # noqa: DTZ001 - as in EXIF
    description = compose(("espresso", "coffee", "drink", "food"), taken, "Lisbon, Portugal")
    assert description.caption == "Espresso, coffee and drink, June 2023, Lisbon, Portugal"
    assert description.aspect_words == ("espresso", "coffee", "drink", "food")


def test_caption_does_not_say_the_date_of_the_file() -> None:
    copied = PhotoMetadata(datetime(2023, 6, 3), DateSource.FILE)  # noqa: DTZ001 - as in EXIF
    assert compose((), copied, None).caption == ""


def test_caption_never_exceeds_its_words() -> None:
    place = " ".join(["long"] * 50)
    assert len(compose(("dog",), PhotoMetadata(), place).caption.split()) == MAX_CAPTION_WORDS
