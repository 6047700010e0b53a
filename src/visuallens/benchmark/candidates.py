"""Algorithm 1: the candidates and the ground truth of a user's questions (appendix A.1, §6.1)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from visuallens.benchmark.base import Rules
from visuallens.benchmark.neighbours import IntArray, Neighbours
from visuallens.benchmark.splits import Part
from visuallens.benchmark.world import World

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Timeline:
    """All reviews and photos of one user.

    Attributes:
        businesses: by review, in order of time, then of business.
        at_ms: when each review was written.
        photo_businesses: by photo, where it was taken; each photo once.
        photos_at_ms: (photos,) when each was posted, ascending.
    """

    businesses: Sequence[int]
    at_ms: Sequence[int]
    photo_businesses: Sequence[int]
    photos_at_ms: IntArray


@dataclass(frozen=True, slots=True)
class Found:
    """One example, in numbers.

    Attributes:
        history: how many of the user's photos came before the question.
        anchor: the business whose review asks.
        candidates: nearest to the anchor first; it is the first.
        ground_truth: those of them that the user reviews at the time of asking or later.
    """

    category: str
    asked_at_ms: int
    history: int
    anchor: int
    candidates: tuple[int, ...]
    ground_truth: tuple[int, ...]


def find_examples(
    timeline: Timeline,
    part: Part,
    world: World,
    rules: Rules,
    generator: np.random.Generator,
    dropped: Counter[str],
) -> Iterator[Found]:
    """Make the examples of one user, category by category, in order of time.

    Args:
        timeline: of the user.
        part: the reviews that may ask and answer.
        world: all businesses.
        rules: of the benchmark.
        generator: draws the number of candidates, and between equally far ones.
        dropped: counts the reviews that give no example, by reason.

    Yields:
        The examples.

    Source: §6.1, questions and visual history; Algorithm 1.
    Choice: every category of a reviewed business is asked for on its own, so `claimed` is kept by
        category.
    """
    for category in sorted({one for b in timeline.businesses for one in world.categories[b]}):
        neighbours = world.neighbours.get((part.half, category))
        if neighbours is not None:
            visits = _Visits(timeline, category, part, world)
            yield from _of_category(visits, neighbours, world, rules, generator, dropped)


class _Visits:
    """What a user did in one category.

    Args:
        timeline: of the user.
        category: which.
        part: the reviews that may ask and answer.
        world: all businesses.

    Attributes:
        asking: (time, business) of the reviews that may ask, in order of time.
        first: business → time of its first review.
        last: business → time of its last review that may answer.
        shown_from_ms: when the first photo of the category was posted; None where there is none.
    """

    def __init__(self, timeline: Timeline, category: str, part: Part, world: World) -> None:
        self.category = category
        self.photos_at_ms = timeline.photos_at_ms
        visits = [
            (at, business)
            for at, business in zip(timeline.at_ms, timeline.businesses, strict=True)
            if at < part.end_ms and category in world.categories[business]
        ]
        self.asking = [visit for visit in visits if visit[0] >= part.start_ms]
        self.first = {business: at for at, business in reversed(visits)}
        self.last = {business: at for at, business in self.asking}
        self._last = sorted(self.last.values())
        of_category = (
            int(at)
            for at, business in zip(timeline.photos_at_ms, timeline.photo_businesses, strict=True)
            if category in world.categories[business]
        )
        self.shown_from_ms = next(of_category, None)

    def businesses_from(self, at_ms: int) -> int:
        """Count the businesses that may answer a question at a time."""
        return len(self._last) - bisect_left(self._last, at_ms)

    def history_before(self, at_ms: int) -> int:
        """Count the photos posted before a time."""
        return int(np.searchsorted(self.photos_at_ms, at_ms, side="left"))


def _of_category(
    visits: _Visits,
    neighbours: Neighbours,
    world: World,
    rules: Rules,
    generator: np.random.Generator,
    dropped: Counter[str],
) -> Iterator[Found]:
    claimed: set[int] = set()
    for at_ms, anchor in visits.asking:
        reason = _unfit(visits, neighbours, rules, at_ms, anchor, claimed)
        if reason is not None:
            dropped[reason] += 1
            continue
        drawn = int(generator.integers(rules.min_drawn, rules.max_drawn, endpoint=True))
        left_out = {
            business
            for business, first in visits.first.items()
            if rules.visited == "drop" and first < at_ms
        }
        nearest = neighbours.nearest(anchor, drawn, generator, left_out)
        candidates = unique_names(nearest, world)
        ground_truth = tuple(b for b in candidates if visits.last.get(b, at_ms - 1) >= at_ms)
        if len(candidates) < rules.min_candidates:
            dropped["too_few_candidates"] += 1
        elif len(ground_truth) < rules.min_ground_truth:
            dropped["too_few_ground_truth"] += 1
        else:
            claimed.update(ground_truth)
            history = visits.history_before(history_end(at_ms, rules))
            yield Found(visits.category, at_ms, history, anchor, candidates, ground_truth)


def _unfit(
    visits: _Visits,
    neighbours: Neighbours,
    rules: Rules,
    at_ms: int,
    anchor: int,
    claimed: Collection[int],
) -> str | None:
    """Say why a review cannot ask, as far as that is known before candidates are searched for."""
    if anchor in claimed:
        return "claimed"
    if anchor not in neighbours:
        return "cannot_be_recommended"
    if rules.visited == "drop" and visits.first[anchor] < at_ms:
        return "visited_before"
    if visits.businesses_from(at_ms) < rules.min_ground_truth:
        return "too_few_ground_truth"
    return _unfit_history(visits, rules, history_end(at_ms, rules))


def _unfit_history(visits: _Visits, rules: Rules, end_ms: int) -> str | None:
    if visits.history_before(end_ms) < rules.min_history:
        return "history_too_short"
    if visits.shown_from_ms is None or visits.shown_from_ms >= end_ms:
        return "category_not_in_history"
    return None


def history_end(at_ms: int, rules: Rules) -> int:
    """Return the time before which photos belong to the history of a question.

    Source: §6.1, "all (and only) photos in the reviews before r".
    Choice: strictly before; with a gap, a photo exactly that much older still belongs to it.
    """
    gap_ms = round(rules.history_gap_days * DAY_MS)
    return at_ms - gap_ms + 1 if gap_ms else at_ms


def unique_names(businesses: Sequence[int], world: World) -> tuple[int, ...]:
    """Keep the first business of each name.

    Source: Algorithm 1, unique_name(S).
    Choice: "redundant" leaves one of a name, the nearest; letter case makes no difference.
    """
    first: dict[int, int] = {}
    for business in businesses:
        first.setdefault(int(world.names[business]), business)
    return tuple(first.values())
