from __future__ import annotations

import pytest

from visuallens.evaluation.studies import paper
from visuallens.evaluation.systems import SYSTEMS


def test_numbers_are_those_of_the_paper() -> None:
    assert paper.SYSTEMS["visuallens-8b"]["google-review-v"]["hit@3"] == 0.389
    assert paper.SYSTEMS["gpt-4o"]["yelp-v"] == {
        "hit@1": 0.261, "hit@3": 0.545, "hit@10": 0.905, "mrr": 0.417,
    }  # fmt: skip
    assert paper.SYSTEMS["human"]["yelp-v"] == {"hit@1": 0.36, "hit@3": 0.66}
    # §7.2: without retrieval Hit@3 falls by 7% and 12% (#7 against #3).
    for name, fall in (("google-review-v", 0.07), ("yelp-v", 0.12)):
        with_, without = (paper.ABLATIONS[row][name]["hit@3"] for row in (3, 7))
        assert with_ - without == pytest.approx(fall, abs=0.005)


def test_row_one_of_table_3_is_the_method_of_tables_2_and_4() -> None:
    assert paper.ABLATIONS[1] == paper.SYSTEMS["visuallens"]
    for name, mrr in paper.TRANSFER["by_user"].items():
        assert paper.SYSTEMS["visuallens"][name]["mrr"] == mrr


def test_the_columns_are_those_of_the_same_benchmark() -> None:
    assert paper.columns("yelp-v") == (
        "yelp-v hit@1", "yelp-v hit@3", "yelp-v hit@10", "yelp-v mrr",
    )  # fmt: skip
    assert paper.columns("movielens-v") == (
        "google-review-v hit@3", "google-review-v mrr", "yelp-v hit@3", "yelp-v mrr",
    )  # fmt: skip
    row = paper.beside(paper.SYSTEMS["human"], paper.columns("movielens-v"))
    assert row == {"google-review-v hit@3": 0.45, "yelp-v hit@3": 0.66}


def test_every_row_that_a_system_stands_for_is_printed() -> None:
    named = {one.paper for one in SYSTEMS.values() if one.paper is not None}
    assert named <= set(paper.SYSTEMS)
    # Of the paper's rows, only chance, people and the larger backbone have no system.
    assert set(paper.SYSTEMS) - named == {"random", "human", "visuallens-8b"}
