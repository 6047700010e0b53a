"""The questions of a run that answered best and worst, with what the ranker was shown.

Source: the paper shows none; ours, to see what the numbers of §7 are about.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from visuallens.benchmark.folder import Benchmark, FoundExample
from visuallens.benchmark.lists import Ints, read_lists
from visuallens.benchmark.run_file import RunFile, align, read_run, split_of
from visuallens.errors import EvaluationError
from visuallens.evaluation.metrics import Ordered, ordered, reciprocal_rank
from visuallens.evaluation.shuffled import ShuffledHistories
from visuallens.evaluation.studies.results import ExamplePage, Shown
from visuallens.evaluation.truncated import truncated
from visuallens.types import Profile, RankingRequest

COUNT = 10
"""Questions that are shown: five of each kind."""

GRID_PX = 768
"""Longest side of a grid in a page; the photos of 8 x 8 stay 96 pixels wide."""

_QUALITY = 80

Show = Callable[[RankingRequest], Profile]
"""Builds the profile of a request, with its grid image."""


def example_pages(
    benchmark: Benchmark, run_path: Path, show: Show, count: int = COUNT
) -> tuple[ExamplePage, ...]:
    """Choose the best and the worst answered questions of a run, and show them.

    Args:
        benchmark: that the run answers.
        run_path: the run file.
        show: builds the profile of a request with its grid image; called once for each page.
        count: how many pages, best and worst together; where it is odd, one more of the best.

    Returns:
        The best cases, then the worst; fewer where few users ask. No question is both.

    Raises:
        RunFileError: the run is broken, or of another benchmark or split.
        EvaluationError: it answers no question.

    Choice: the best are those with the first ground truth at the first rank, or as early as there
        are. Among equal ones, those with most candidates come first, for there it is hardest by
        chance. The worst have it at the latest rank.
    Choice: at most one question of each user among the best and one among the worst, for questions
        of one user are alike. What is still equal is drawn with the seed of the benchmark.
    Choice: where the run was asked with other histories, the page shows those, for they are what
        the ranker saw.
    """
    run = read_run(run_path)
    answers = _answers(benchmark, run)
    best = _best(answers, -(-count // 2), benchmark.seed)
    worst = _worst(answers, count // 2, benchmark.seed, besides=best)
    seen = _as_asked(benchmark, run)

    def profile_of(request: RankingRequest) -> Profile:
        return show(seen(request))

    return (
        *(_page(benchmark, answers, row, profile_of, "best") for row in best),
        *(_page(benchmark, answers, row, profile_of, "worst") for row in worst),
    )


def _answers(benchmark: Benchmark, run: RunFile) -> Ordered:
    """Order the candidates of the questions that a run answers."""
    lists = read_lists(benchmark, split_of(run))
    scores = align(run, lists, benchmark)
    answered = ~np.isnan(scores[lists.starts])
    if not answered.any():
        raise EvaluationError(f"{run.path} answers no question", "Name another run.")
    inside = np.repeat(answered, lists.lengths)
    return ordered(lists.taken(answered), scores[inside])


def _best(answers: Ordered, count: int, seed: int) -> list[int]:
    """Choose the questions with the highest reciprocal rank, those of most candidates first."""
    lists = answers.lists
    order = np.lexsort((_drawn(len(lists), seed), -lists.lengths, -reciprocal_rank(answers)))
    return _one_of_each_user(order, lists.users, count)


def _worst(answers: Ordered, count: int, seed: int, besides: Iterable[int]) -> list[int]:
    """Choose the questions with the lowest reciprocal rank, `besides` left out."""
    lists = answers.lists
    order = np.lexsort((_drawn(len(lists), seed), reciprocal_rank(answers)))
    others = order[~np.isin(order, list(besides))]
    return _one_of_each_user(others, lists.users, count)


def _drawn(count: int, seed: int) -> Ints:
    return np.random.default_rng((seed, 15)).permutation(count).astype(np.int64)


def _one_of_each_user(order: Ints, users: Ints, count: int) -> list[int]:
    firsts = np.sort(np.unique(users[order], return_index=True)[1])
    chosen: list[int] = order[firsts][:count].tolist()
    return chosen


def _as_asked(benchmark: Benchmark, run: RunFile) -> Callable[[RankingRequest], RankingRequest]:
    """Give requests the histories with which the run was asked."""
    manifest = run.manifest or {}
    photos = manifest.get("history_photos")
    strangers = None
    if manifest.get("shuffled_history"):
        strangers = ShuffledHistories(benchmark, split_of(run), manifest.get("seed", 0))

    def asked(request: RankingRequest) -> RankingRequest:
        given = request if strangers is None else strangers(request)
        return given if photos is None else truncated(given, photos)

    return asked


def _page(
    benchmark: Benchmark,
    answers: Ordered,
    row: int,
    profile_of: Show,
    case: Literal["best", "worst"],
) -> ExamplePage:
    lists = answers.lists
    found = benchmark.find(lists.split, lists.example_ids[row])
    request = found.example.request
    profile = profile_of(request)
    return ExamplePage(
        example_id=request.id,
        question=request.question.text,
        category=request.question.category,
        reciprocal_rank=float(reciprocal_rank(answers)[row]),
        grid=_jpeg(profile.image) if profile.cells else None,
        aspect_words=profile.aspect_words,
        captions=tuple(cell.caption for cell in profile.cells),
        ranking=tuple(_ranking(answers, row, found)),
        case=case,
    )


def _ranking(answers: Ordered, row: int, found: FoundExample) -> Iterator[Shown]:
    """Name the candidates of a question, best first."""
    lists = answers.lists
    names = {one.id: one.name for one in found.example.request.candidates}
    start = int(lists.starts[row])
    places = answers.order[start : start + int(lists.lengths[row])].tolist()
    for rank, place in enumerate(places, start=1):
        candidate_id = lists.candidate_ids[lists.candidates[place]]
        relevant = candidate_id in found.example.ground_truth
        yield Shown(rank, names[candidate_id], float(answers.scores[place]), relevant)


def _jpeg(grid: Image.Image | None) -> bytes | None:
    """Write a grid as a small JPEG without metadata."""
    if grid is None:
        return None
    small = grid.convert("RGB")
    small.info.clear()
    small.thumbnail((GRID_PX, GRID_PX), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=_QUALITY)
    return jpeg.getvalue()
