from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny
from tests.evaluation.slow_ranker import SlowRanker
from tests.evaluation.toy import Ask, write_toy
from tests.indexed import index_photos, open_profiles, small_settings
from tests.models.matcher import draw_matcher

from visuallens import registry
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import read_lists
from visuallens.benchmark.run_file import read_run
from visuallens.config import load_settings
from visuallens.errors import RunFileError
from visuallens.evaluation.controls import ControlSettings
from visuallens.evaluation.metrics import ordered
from visuallens.evaluation.orders import reordered, shown_order
from visuallens.evaluation.runs import Asked, write_run
from visuallens.rankers.base import Ranker, to_ranking
from visuallens.types import Candidate, Question, Ranking, RankingRequest, VisualHistory

Opened = tuple[Benchmark, dict[str, Callable[[], Ranker]]]

CONTROLS = [one for one in registry.names("controls") if one != "random"]
"""The scores of `random` belong to places in the list, by definition."""


def request(count: int = 9, seed: int = 3) -> RankingRequest:
    candidates = tuple(Candidate(f"id{n}", f"Place {n}") for n in range(count))
    history = VisualHistory("me", ())
    return RankingRequest("r", Question("q", "c"), history, candidates, seed=seed)


def ids(ranking: Ranking) -> list[str]:
    return [one.candidate.id for one in ranking.candidates]


def test_an_order_is_drawn_by_the_seed_and_its_number() -> None:
    assert shown_order(3, 4, 0).tolist() == [0, 1, 2, 3]
    drawn = {tuple(shown_order(seed, 9, order)) for seed in (3, 4) for order in range(1, 5)}
    assert len(drawn) == 8
    assert all(sorted(one) == list(range(9)) for one in drawn)
    assert shown_order(3, 9, 2).tolist() == shown_order(3, 9, 2).tolist()
    assert shown_order(3, 0, 2).tolist() == []


def test_only_the_order_of_the_candidates_is_another_one() -> None:
    asked = request()
    assert reordered(asked, 0) is asked
    shown = reordered(asked, 1)
    assert [one.id for one in shown.candidates] == [f"id{n}" for n in shown.places]
    assert shown.places == tuple(shown_order(3, 9, 1).tolist())
    assert replace(shown, candidates=asked.candidates, places=()) == asked


def test_equal_scores_are_not_ordered_by_place() -> None:
    # Three candidates tie in each of three scores, whatever the order in which they are shown.
    asked = request()
    scores = {candidate.id: n % 3 for n, candidate in enumerate(asked.candidates)}

    def ranked(shown: RankingRequest) -> list[str]:
        return ids(to_ranking(shown, "any", [scores[one.id] for one in shown.candidates]))

    assert all(ranked(reordered(asked, order)) == ranked(asked) for order in range(1, 20))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A benchmark, and what makes each ranker that answers it fast."""
    folder = tmp_path_factory.mktemp("orders")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registry.BUILT_IN["models"], "colours", "tests.indexed:ColourModel")
        path = write_tiny(folder / "tiny", examples=24, users=8)
        index_photos(folder / "library.sqlite", path / "photos")
        profiles = open_profiles(path, folder / "library.sqlite", small_settings())
    benchmark, resources = (
        Benchmark(path),
        profiles.resources(None, None, lambda: draw_matcher(192, 192)),
    )
    makers: dict[str, Callable[[], Ranker]] = {
        name: partial(registry.load("controls", name), benchmark, ControlSettings())
        for name in CONTROLS
    }
    for name in ("similarity", "attention"):
        makers[name] = partial(registry.load("rankers", name), resources)
    return benchmark, makers


@pytest.mark.parametrize("name", [*CONTROLS, "similarity", "attention"])
def test_the_order_decides_nothing_for_rankers_that_look_at_each_candidate(
    opened: Opened, name: str
) -> None:
    benchmark, makers = opened
    ranker = makers[name]()
    compared = 0
    for asked in benchmark.requests("train"):
        expected = ids(ranker.rank(asked))
        for order in (1, 2, 3):
            assert ids(ranker.rank(reordered(asked, order))) == expected
            compared += len(expected) > 1
    assert compared > 20


class FirstShown:
    """Prefers what is shown first."""

    name = "first-shown"

    def rank(self, request: RankingRequest) -> Ranking:
        return to_ranking(request, self.name, [-at for at in range(len(request.candidates))])


def test_a_run_has_its_order_and_the_ranks_that_it_is_scored_with(tmp_path: Path) -> None:
    tiny = Benchmark(write_tiny(tmp_path / "tiny", photos=False))
    asked, out = Asked("train", load_settings(), candidate_order=2), tmp_path / "a.run"
    manifest = write_run(FirstShown(), tiny, out, asked)
    assert manifest["candidate_order"] == 2
    run = read_run(out, tiny, "train")
    for one in tiny.requests("train"):
        places = shown_order(one.seed, len(one.candidates), 2).tolist()
        assert list(run.scores_of(one.id)) == [one.candidates[at].id for at in places]


def test_ties_are_written_as_they_are_scored(tmp_path: Path) -> None:
    tiny = Benchmark(write_tiny(tmp_path / "tiny", photos=False))
    lists = read_lists(tiny, "train")

    class Indifferent:
        name = "indifferent"

        def rank(self, request: RankingRequest) -> Ranking:
            return to_ranking(request, self.name, [0.0] * len(request.candidates))

    scored = ordered(lists, np.zeros(len(lists.candidates)))
    best = [lists.candidate_ids[one] for one in lists.candidates[scored.order]]
    for order in (0, 1, 7):
        out = tmp_path / f"{order}.run"
        write_run(Indifferent(), tiny, out, Asked("train", load_settings(), candidate_order=order))
        assert [line.split()[2] for line in out.read_text().splitlines()] == best


def test_another_order_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"train": [Ask("a", [1], [2, 3, 4], [2])]})
    out = tmp_path / "a.run"

    def answered(order: int) -> dict[str, object]:
        asked = Asked("train", load_settings(), candidate_order=order)
        return write_run(SlowRanker(), toy, out, asked)

    first = answered(0)
    # A run of the benchmark's own order is as it always was.
    assert "candidate_order" not in first
    assert answered(0) == first
    with pytest.raises(RunFileError, match="candidate_order: there null, here 1"):
        answered(1)
    for path in tmp_path.glob("a.run*"):
        path.unlink()
    answered(1)
    for order, said in ((0, "null"), (2, "2")):
        with pytest.raises(RunFileError, match=f"candidate_order: there 1, here {said}"):
            answered(order)
