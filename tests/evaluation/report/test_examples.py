from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.tiny import write_tiny
from tests.evaluation.slow_ranker import SlowRanker
from tests.evaluation.toy import Ask, write_toy
from tests.indexed import index_photos, open_profiles, small_settings

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.run_file import read_run, run_lines
from visuallens.config import load_settings
from visuallens.errors import RunFileError
from visuallens.evaluation.report.examples import GRID_PX, _jpeg, example_pages
from visuallens.evaluation.runs import Asked, write_run
from visuallens.evaluation.shuffled import ShuffledHistories
from visuallens.images import open_pixels
from visuallens.profile.builder import draw
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.similarity import SimilarityRanker
from visuallens.types import Profile, RankingRequest


class Shown:
    """Gives empty profiles, and remembers what was asked for."""

    def __init__(self) -> None:
        self.requests: list[RankingRequest] = []

    def __call__(self, request: RankingRequest) -> Profile:
        self.requests.append(request)
        nothing = np.zeros((0, 1), np.float32)
        return Profile("u", request.question, (), (), "", 2, 64, nothing)


def write_ranked(path: Path, rankings: dict[str, list[int]]) -> Path:
    """Write a run that ranks these items of these examples, best first."""
    with path.open("w") as file:
        for example_id, items in rankings.items():
            scored = [(f"{item}", -float(rank)) for rank, item in enumerate(items)]
            file.writelines(run_lines(example_id, scored, "hand"))
    return path


def test_best_and_worst_worked_by_hand(tmp_path: Path) -> None:
    # user, candidates, rank of the right one, item 1: the reciprocal rank is 1 / rank.
    asked = [("a", 3, 1), ("a", 5, 1), ("b", 4, 1), ("b", 4, 4), ("c", 4, 2), ("c", 4, 3)]
    asked.append(("d", 3, 2))
    asks = [Ask(user, [9], list(range(1, size + 1)), [1]) for user, size, _ in asked]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    rankings = {}
    for number, (_, size, rank) in enumerate(asked):
        others = list(range(2, size + 1))
        rankings[f"test-{number}"] = [*others[: rank - 1], 1, *others[rank - 1 :]]
    run = write_ranked(tmp_path / "hand.run", rankings)

    def chosen(count: int) -> list[tuple[str, str, float]]:
        pages = example_pages(toy, run, Shown(), count)
        return [(page.case, page.example_id, page.reciprocal_rank) for page in pages]

    # 0, 1 and 2 are right at once; 1 has most candidates, and 0 is of the same user.
    assert chosen(4) == [
        ("best", "test-1", 1.0),
        ("best", "test-2", 1.0),
        ("worst", "test-3", 1 / 4),
        ("worst", "test-5", 1 / 3),
    ]
    assert [case for case, _, _ in chosen(3)] == ["best", "best", "worst"]
    # All users: 4 and 6 come second, and 4 has more candidates. Then nobody is shown twice.
    assert [example_id for _, example_id, _ in chosen(10)] == [
        *("test-1", "test-2", "test-4", "test-6"),
        *("test-3", "test-5", "test-0"),
    ]


def test_equal_questions_are_drawn_and_always_the_same(tmp_path: Path) -> None:
    asks = [Ask(f"user{number}", [9], [1, 2], [1]) for number in range(20)]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    run = write_ranked(tmp_path / "hand.run", {f"test-{n}": [1, 2] for n in range(20)})
    first = [page.example_id for page in example_pages(toy, run, Shown())]
    assert first == [page.example_id for page in example_pages(toy, run, Shown())]
    assert len(set(first)) == 10
    assert set(first) != {f"test-{number}" for number in range(10)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", examples=24, users=8)


@pytest.fixture(scope="module")
def profiles(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchmarkProfiles:
    library = tmp_path_factory.mktemp("library") / "library.sqlite"
    index_photos(library, tiny / "photos")
    return open_profiles(tiny, library, small_settings())


def test_a_page_is_what_the_ranker_was_shown_and_answered(
    tiny: Path, profiles: BenchmarkProfiles, tmp_path: Path
) -> None:
    benchmark, out = Benchmark(tiny), tmp_path / "similarity.run"
    write_run(
        SimilarityRanker(profiles.resources()), benchmark, out, Asked("train", small_settings())
    )

    def show(request: RankingRequest) -> Profile:
        return draw(profiles.profile(request), lambda photo: open_pixels(photo.path, 32, 10**9))

    pages = example_pages(benchmark, out, show, 4)
    assert [page.case for page in pages] == ["best", "best", "worst", "worst"]
    run = read_run(out)
    for page in pages:
        example = benchmark.find("train", page.example_id).example
        request, profile = example.request, profiles.profile(example.request)
        assert (page.question, page.category) == (request.question.text, request.question.category)
        assert page.aspect_words == profile.aspect_words
        assert page.captions == tuple(cell.caption for cell in profile.cells)
        assert all(page.captions)
        scores = run.scores_of(page.example_id)
        names = {one.id: one.name for one in request.candidates}
        assert [one.name for one in page.ranking] == [names[one] for one in scores]
        assert [one.score for one in page.ranking] == list(scores.values())
        assert [one.rank for one in page.ranking] == list(range(1, len(scores) + 1))
        right = [one.rank for one in page.ranking if one.relevant]
        assert {page.ranking[rank - 1].name for rank in right} == {
            names[one] for one in example.ground_truth
        }
        assert page.reciprocal_rank == 1 / right[0]
        assert page.grid is not None
        grid, drawn = Image.open(io.BytesIO(page.grid)).convert("RGB"), show(request).image
        assert drawn is not None
        assert grid.size == drawn.size
        assert np.abs(np.asarray(grid, float) - np.asarray(drawn, float)).mean() < 12
    best, worst = pages[:2], pages[2:]
    assert min(one.reciprocal_rank for one in best) > max(one.reciprocal_rank for one in worst)


def test_only_answered_questions_are_shown(tiny: Path, tmp_path: Path) -> None:
    benchmark, out = Benchmark(tiny), tmp_path / "sample.run"
    write_run(SlowRanker(), benchmark, out, Asked("train", load_settings(), sample=3))
    answered = set(read_run(out).example_ids)
    pages = example_pages(benchmark, out, Shown())
    assert pages
    assert {page.example_id for page in pages} <= answered


def test_histories_are_those_that_the_run_was_asked_with(tiny: Path, tmp_path: Path) -> None:
    benchmark, settings = Benchmark(tiny), load_settings()
    own = {one.id: one.history for one in benchmark.requests("train")}
    plain, few, strange = Shown(), Shown(), Shown()
    for shown, asked in (
        (plain, Asked("train", settings)),
        (few, Asked("train", settings, history_photos=3)),
        (strange, Asked("train", settings, shuffled_history=True)),
    ):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.run"
        write_run(SlowRanker(), benchmark, out, asked)
        assert example_pages(benchmark, out, shown)
    assert all(one.history == own[one.id] for one in plain.requests)
    assert all(one.history.photos == own[one.id].photos[-3:] for one in few.requests)
    shuffled = ShuffledHistories(benchmark, "train", settings.seed)
    for one in strange.requests:
        assert one.history == shuffled(replace(one, history=own[one.id])).history
        assert one.history != own[one.id]


def test_without_photos_there_is_no_grid(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "slow.run"
    write_run(SlowRanker(), Benchmark(tiny), out, Asked("train", load_settings()))
    assert all(page.grid is None for page in example_pages(Benchmark(tiny), out, Shown()))


def test_a_large_grid_is_made_small_and_holds_no_metadata() -> None:
    image = Image.new("RGB", (2000, 2000), "teal")
    image.info["comment"] = b"secret"
    jpeg = _jpeg(image)
    assert jpeg is not None
    assert Image.open(io.BytesIO(jpeg)).size == (GRID_PX, GRID_PX)
    assert b"secret" not in jpeg


def test_a_run_of_another_benchmark_is_refused(tiny: Path, tmp_path: Path) -> None:
    run = write_ranked(tmp_path / "hand.run", {"elsewhere": [1, 2]})
    with pytest.raises(RunFileError, match="no example"):
        example_pages(Benchmark(tiny), run, Shown())
