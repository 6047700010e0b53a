from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluation.test_evaluate import write
from tests.evaluation.toy import Ask, write_toy

from visuallens.evaluation.evaluate import RANDOM, Drawing, evaluate
from visuallens.evaluation.train_data import correlate

KNOWN = {"a": 1, "b": 10, "c": 100, "d": 1000, "e": 10_000}


def test_a_correlation_by_hand() -> None:
    # Ranks 1 2 3 4 5 of the train examples and 2 1 4 3 5 of MRR: d² adds up to 4, so
    # 1 - 6 · 4 / (5 · 24).
    reached = {"a": 0.2, "b": 0.1, "c": 0.4, "d": 0.3, "e": 0.5}
    found = correlate("any", reached, KNOWN, resamples=20_000)
    assert found is not None
    assert (found.run, found.categories) == ("any", 5)
    assert found.spearman == pytest.approx(0.8)
    # Of the 120 orders, 1 has d² = 0, 4 have 2 and 3 have 4, and as many are turned: 16 / 120.
    assert found.p_value == pytest.approx(16 / 120, abs=0.01)


def test_few_categories_say_nothing() -> None:
    assert correlate("any", {"a": 0.2, "b": 0.1, "c": 0.4, "d": 0.3}, KNOWN) is None


def test_categories_come_with_their_train_examples(tmp_path: Path) -> None:
    # Category cN has N train examples; its question is answered at rank 6 - N.
    train = [Ask("z", [9], [1, 2], [1], f"c{n}") for n in range(1, 5) for _ in range(n)]
    test = [Ask(f"u{n}", [9], range(1, 7), [1], f"c{n}") for n in range(5)]
    toy = write_toy(tmp_path / "toy", {"train": train, "test": test})
    orders = {f"test-{n}": [*range(2, 7 - n), 1, *range(7 - n, 7)] for n in range(5)}
    run = write(tmp_path / "a.run", orders)
    found = evaluate(toy, [run], by="category", drawing=Drawing(500))
    assert found.by == "category"
    assert found.train_examples == {"c0": 0, "c1": 1, "c2": 2, "c3": 3, "c4": 4}
    random, own = found.correlations
    assert (own.run, own.categories) == ("a", 5)
    assert own.spearman == pytest.approx(1)
    # Chance gives every category the same.
    assert random.run == RANDOM
    assert random.spearman != random.spearman
    assert evaluate(toy, [run], by="category", metrics=["hit@1"]).correlations == ()
    other = evaluate(toy, [run], by="candidates")
    assert (other.train_examples, other.correlations) == ({}, ())
