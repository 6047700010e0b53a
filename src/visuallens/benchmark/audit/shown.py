"""Requests as rankers receive them: which photos stand for history, candidates and category.

Choice: drawn from the first requests of each split, since they lie in few parts of a file of
    millions. Only what these requests need is held in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from visuallens.benchmark import schema
from visuallens.benchmark.audit.controls import Choices, Tally, judge
from visuallens.benchmark.audit.ranks import Flags, Floats
from visuallens.benchmark.audit.sample import Sample, drawn_rows
from visuallens.benchmark.audit.verdict import Check, Verdict, not_checked
from visuallens.errors import RequestError
from visuallens.types import Example

_FROM_FIRST = 10_000
_CATEGORY_PHOTOS = 64


class PhotoFacts(NamedTuple):
    """Whose photo it is, of what and of when, as the table of photos says."""

    photo_id: str
    user_id: str | None
    business_id: str
    posted_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Shown:
    """One request with the photos that a ranker is given; paths of files.

    Attributes:
        user: a number for the user.
        category: photos drawn for the category embedding; None if the benchmark has none.
    """

    split: str
    user: int
    example: Example
    asked_at: datetime
    anchor: str
    category: tuple[str, ...] | None


def look(sample: Sample, size: int) -> tuple[Shown, ...]:
    """Draw requests of each split, as `Benchmark` yields them.

    Args:
        sample: says which splits.
        size: requests of each split, at most.

    Returns:
        Requests in a seeded order.
    """
    users: dict[str, int] = {}
    found: list[Shown] = []
    for at, split in enumerate(sample.splits):
        count = min(sample.benchmark.count(split), _FROM_FIRST)
        rows = drawn_rows(count, size, (sample.seed, 8, at))
        chosen = list(sample.benchmark.some(split, rows.tolist()))
        anchors = _anchors(sample, split, [one.example.request.id for one in chosen])
        for example, asked_at in chosen:
            user = users.setdefault(example.request.history.user_id, len(users))
            anchor = anchors.get(example.request.id, "")
            category = _category(sample, example)
            found.append(Shown(split, user, example, asked_at, anchor, category))
    shuffled = np.random.default_rng((sample.seed, 9)).permutation(len(found))
    return tuple(found[at] for at in shuffled)


def facts_of(sample: Sample, shown: Sequence[Shown]) -> dict[str, PhotoFacts]:
    """Look up the photos of requests in the table of photos.

    Args:
        sample: of the benchmark.
        shown: requests.

    Returns:
        Path of the file → facts; a path that is in no row is left out.
    """
    above = f"{sample.benchmark.photos_folder}{os.sep}"
    paths = sorted({path for one in shown for path in photos_of(one)})
    below = [path.removeprefix(above) for path in paths]
    sample.connection.register("wanted", pa.table({"path": below, "file": paths}))
    rows = sample.connection.execute(
        "SELECT w.file, p.photo_id, p.user_id, p.business_id, epoch_ms(p.posted_at)"
        f" FROM read_parquet({sample.file(schema.PHOTOS)}) p JOIN wanted w USING (path)"
    ).fetchall()
    sample.connection.unregister("wanted")
    return {file: PhotoFacts(*facts) for file, *facts in rows}


def photos_of(shown: Shown) -> Iterable[str]:
    """Yield the paths of all photos of a request; some more than once."""
    request = shown.example.request
    yield from (photo.path for photo in request.history.photos)
    for candidate in request.candidates:
        yield from candidate.photos
    yield from shown.category or ()


def choices_of(shown: Sequence[Shown], flags: Sequence[Flags | Floats]) -> Choices | None:
    """Lay out requests for controls.

    Args:
        shown: requests.
        flags: for each, (candidates,) what its candidates are scored by.

    Returns:
        The batch, with the value `flag`; None without requests.
    """
    if not shown:
        return None
    ids = [[one.id for one in each.example.request.candidates] for each in shown]
    lengths = np.array([len(one) for one in ids], dtype=np.int64)
    truths = zip(shown, ids, strict=True)
    return Choices(
        splits=np.array([each.split for each in shown]),
        users=np.array([each.user for each in shown], dtype=np.int64),
        starts=np.cumsum(lengths) - lengths,
        relevant=np.array(
            [one in each.example.ground_truth for each, own in truths for one in own], np.bool_
        ),
        anchors=np.array(
            [one == each.anchor for each, own in zip(shown, ids, strict=True) for one in own],
            np.bool_,
        ),
        values={"flag": np.concatenate(flags).astype(np.float64)},
    )


def own_images(sample: Sample, shown: Sequence[Shown], facts: Mapping[str, PhotoFacts]) -> Check:
    """Check that no candidate is shown by a photo of the user or of the history."""
    name, flags = "photos of the user", [_shows_own(one, facts) for one in shown]
    choices = choices_of(shown, flags)
    if choices is None:
        return not_checked(name, "there are no examples")
    tally = Tally(sample.seed)
    own: Floats = choices.values["flag"]
    tally.add(choices, {"shown by an own photo first": own, "shown by an own photo last": -own})
    scores = tally.scores()
    note = f"{int(own.sum()):,} of {len(own):,} candidates of {len(shown):,} requests"
    check = judge(name, scores, [one for one in scores if one.beats_chance], note)
    return Check(name, check.verdict, check.evidence, {**check.figures, "shown": float(own.sum())})


def left_out(sample: Sample, shown: Sequence[Shown]) -> Check:
    """Check that the number of photos shown does not tell that some were left out.

    Choice: few photos, or one less than the most, may not lead to the answer. Many may: that is how
        well known a place is.
    """
    name, counts = "own photos left out", [_photo_counts(one) for one in shown]
    choices = choices_of(shown, counts)
    if choices is None:
        return not_checked(name, "there are no examples")
    seen: Floats = choices.values["flag"]
    most = int(sample.benchmark.about["settings"]["candidate_photos"])
    one_less = (seen == most - 1).astype(np.float64)
    tally = Tally(sample.seed)
    tally.add(choices, {"fewest photos": -seen, "one photo less than the most": one_less})
    scores = tally.scores()
    return judge(name, scores, [one for one in scores if one.beats_chance])


def category_embedding(shown: Sequence[Shown], facts: Mapping[str, PhotoFacts]) -> Check:
    """Check that photos drawn for a category show no candidate of the request, and nothing later.

    Source: §4.2, v_c.
    """
    name, drawn = "category embedding", [one for one in shown if one.category is not None]
    if not drawn:
        return not_checked(name, "no request has photos to draw a category embedding from")
    faults = {
        "photos of a candidate's business": 0,
        "photos of a candidate": 0,
        "own photos": 0,
        "photos posted at or after the question": 0,
    }
    for one in drawn:
        request = one.example.request
        businesses = {candidate.id for candidate in request.candidates}
        files = {path for candidate in request.candidates for path in candidate.photos}
        ids = {facts[path].photo_id for path in files if path in facts}
        for path in one.category or ():
            fact = facts.get(path)
            faults["photos of a candidate"] += path in files or bool(fact and fact.photo_id in ids)
            if fact:
                faults["photos of a candidate's business"] += fact.business_id in businesses
                faults["own photos"] += fact.user_id == request.history.user_id
                is_late = (fact.posted_at_ms or 0) >= one.asked_at.timestamp() * 1000
                faults["photos posted at or after the question"] += is_late
    missing = len(shown) - len(drawn)
    found = [f"{count:,} {fault}" for fault, count in faults.items() if count]
    evidence = "; ".join(found) or f"no overlap in {len(drawn):,} requests"
    if missing:
        evidence += f"; {missing:,} more ask for a category without photos"
    figures = {
        **{fault: float(count) for fault, count in faults.items()},
        "without": float(missing),
    }
    return Check(name, Verdict.LEAK if found else Verdict.OK, evidence, figures)


def _category(sample: Sample, example: Example) -> tuple[str, ...] | None:
    try:
        return sample.benchmark.category_photos(example.request, _CATEGORY_PHOTOS)
    except RequestError:
        return None


def _anchors(sample: Sample, split: str, ids: Sequence[str]) -> dict[str, str]:
    sample.connection.register("wanted", pa.table({"example_id": pa.array(ids, pa.string())}))
    answers = sample.file(schema.ground_truth_file(split))
    rows = sample.connection.execute(
        f"SELECT example_id, anchor FROM read_parquet({answers})"
        " SEMI JOIN wanted USING (example_id)"
    ).fetchall()
    sample.connection.unregister("wanted")
    return dict(rows)


def _photo_counts(shown: Shown) -> Floats:
    counts = [len(one.photos) for one in shown.example.request.candidates]
    return np.array(counts, dtype=np.float64)


def _shows_own(shown: Shown, facts: Mapping[str, PhotoFacts]) -> Flags:
    history = {photo.path for photo in shown.example.request.history.photos}
    ids = {photo.id for photo in shown.example.request.history.photos}
    user_id = shown.example.request.history.user_id

    def is_own(path: str) -> bool:
        fact = facts.get(path)
        known = fact is not None and (fact.user_id == user_id or fact.photo_id in ids)
        return path in history or known

    candidates = shown.example.request.candidates
    return np.array([any(is_own(path) for path in one.photos) for one in candidates], np.bool_)
