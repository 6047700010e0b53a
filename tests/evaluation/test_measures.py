from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark.chance import hit_by_chance, map_by_chance, mrr_by_chance, ndcg_by_chance
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import CandidateLists, read_lists
from visuallens.errors import MissingPackageError, UnknownNameError
from visuallens.evaluation.measures import DEFAULT, measure
from visuallens.evaluation.metrics import ordered


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> CandidateLists:
    folder = write_tiny(tmp_path_factory.mktemp("measures") / "tiny", photos=False)
    return read_lists(Benchmark(folder), "train")


def test_what_chance_gives_is_exact_for_every_question(lists: CandidateLists) -> None:
    exact: dict[str, Callable[[int, int], float]] = {
        "hit@3": lambda n, g: hit_by_chance(n, g, 3),
        "mrr": mrr_by_chance,
        "ndcg": ndcg_by_chance,
        "ndcg@10": lambda n, g: ndcg_by_chance(n, g, 10),
        "map": map_by_chance,
    }
    for name, function in exact.items():
        found = measure(name).by_chance(lists)
        assert found is not None
        for at, value in enumerate(found.tolist()):
            own = slice(lists.starts[at], lists.starts[at] + lists.lengths[at])
            assert value == function(int(lists.lengths[at]), int(lists.relevant[own].sum()))


@pytest.mark.parametrize("name", DEFAULT)
def test_chance_is_what_random_orders_reach(lists: CandidateLists, name: str) -> None:
    one = measure(name)
    expected = one.by_chance(lists)
    if expected is None:
        return
    generator = np.random.default_rng(0)
    values = [
        np.mean(one.compute(ordered(lists, generator.random(len(lists.candidates)))))
        for _ in range(200)
    ]
    assert np.mean(values) == pytest.approx(expected.mean(), abs=4 * np.std(values) / 200**0.5)


def test_others_come_from_ir_measures(lists: CandidateLists) -> None:
    pytest.importorskip("ir_measures")
    answers = ordered(lists, np.zeros(len(lists.candidates)))
    found = measure("P@5").compute(answers)
    assert isinstance(found, np.ndarray)
    first = np.minimum(answers.ranks, 6) < 6
    assert found == pytest.approx(answers.added((answers.relevant & first).astype(float)) / 5)
    assert measure("P@5").by_chance(lists) is None
    # Our names for theirs.
    for ours, theirs in (("mrr", "RR"), ("hit@3", "Success@3"), ("map", "AP")):
        assert measure(theirs).compute(answers) == pytest.approx(measure(ours).compute(answers))


@pytest.mark.parametrize("name", ["magic", "hit@0", "magic@3", "hit@x", ""])
def test_a_wrong_name_answers_with_the_known_ones(name: str) -> None:
    pytest.importorskip("ir_measures")
    with pytest.raises(UnknownNameError, match="coverage, ece, gini, hit, map, mrr, ndcg"):
        measure(name)


def test_without_ir_measures_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingPackageError, match=r"visuallens\[evaluation\]"):
        measure("P@5")
    assert measure("mrr").name == "mrr"
