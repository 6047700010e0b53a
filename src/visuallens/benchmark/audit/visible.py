"""Does anything that a ranker sees point at the place that candidates were drawn around?

Algorithm 1 takes the places nearest to one of the ground truth, the anchor. So the anchor lies in
the middle of its candidates, in whatever number *nearest* was measured by.
"""

from __future__ import annotations

import numpy as np

from visuallens.benchmark.audit.controls import Score, Tally, describe, judge
from visuallens.benchmark.audit.ranks import Counts, Floats, medians
from visuallens.benchmark.audit.sample import Sample
from visuallens.benchmark.audit.verdict import Check, Verdict, not_checked

BLATANT = 0.1
"""A centre control this far above chance is a leak, whoever stands out by it."""

POINTED = 0.5
"""A number that puts the anchor first in half of the examples, by being large or small."""

ENOUGH = 30
"""Examples: in fewer, half of the anchors can be first by luck."""

NUMBERS = (
    "rating", "rating_count", "photos", "letters", "id_order", "name_order", "first_decimal",
)  # fmt: skip
"""What a ranker sees of a candidate as a number; `letters` are those of the description, decimals
those written into its name, description or id, as coordinates would be."""


def anchor_geography(sample: Sample) -> Check:
    """Measure what whoever saw positions would score: information, since no ranker sees them.

    Choice: two controls: nearest to the mean (on a line: the median) of the candidates, and the
        candidate whose farthest candidate is nearest, since they lie in a circle around the anchor.
    """
    name, tally = "anchor geography", Tally(sample.seed)
    for choices in sample.batches("x", "y"):
        points = _points(choices.values["x"], choices.values["y"])
        tally.add(
            choices,
            {
                "centre": _centrality(points, choices.starts),
                "least far": -_farthest(points, choices.starts),
            },
        )
    scores = tally.scores()
    if not scores:
        return judge(name, scores, [])
    check = judge(name, scores, [])
    centre = next(one for one in scores if one.control == "centre")
    evidence = (
        f"positions would tell: {describe(centre)}, the anchor is first in "
        f"{centre.anchor_first:.0%} (chance {centre.anchor_chance:.0%}); no request holds them"
    )
    return Check(name, Verdict.OK, evidence, check.figures)


def visible_numbers(sample: Sample) -> Check:
    """Check that no number that a ranker sees gives the anchor away.

    Choice: closest to the median of the candidates must not beat chance by a number in which the
        anchor stands out from the other ground truth as well: what all of it shares, such as
        ratings near the mean, is popularity and no leak. The largest and the smallest are
        popularity too, unless they put the anchor first in half of the examples.
    """
    name, middle, extreme = "visible numbers", Tally(sample.seed), Tally(sample.seed)
    for choices in sample.batches(*NUMBERS, "second_decimal"):
        middles: dict[str, Floats] = {}
        extremes: dict[str, Floats] = {}
        for number in NUMBERS:
            values = choices.values[number]
            middles[f"{number}: middle"] = -np.abs(values - medians(values, choices.starts))
            extremes |= {f"{number}: largest": values, f"{number}: smallest": -values}
        written = _points(choices.values["first_decimal"], choices.values["second_decimal"])
        middles["coordinates: middle"] = _centrality(written, choices.starts)
        middle.add(choices, middles)
        extreme.add(choices, extremes)
    scores, others = middle.scores(), extreme.scores()
    leaks = [one for one in scores if one.beats_chance and _is_the_anchor(one)]
    leaks += [one for one in (*scores, *others) if one not in leaks and _points_at_the_anchor(one)]
    check = judge(name, scores, leaks)
    figures = {**judge(name, others, leaks).figures, **check.figures}
    return Check(name, check.verdict, check.evidence, figures)


def order(sample: Sample) -> Check:
    """Check that the first, last or middle of the list of candidates is no better than another."""
    tally = Tally(sample.seed)
    for choices in sample.batches("place"):
        place = choices.values["place"]
        middle = -np.abs(place - medians(place, choices.starts))
        tally.add(choices, {"first": -place, "last": place, "middle": middle})
    scores = tally.scores()
    return judge("candidate order", scores, [one for one in scores if one.beats_chance])


def balance(sample: Sample) -> Check:
    """Check that ground truth and anchors lie evenly over ten parts of the list.

    Choice: a place in a list of n becomes a draw from its n-th part of the unit interval, so that
        short lists fill ten bins evenly. A leak has p < 1e-4 and an effect size (Cohen's w) above
        0.05: about one ground truth in fifty lies elsewhere than it should.
    """
    from scipy.stats import chisquare

    counts: dict[tuple[str, str], Counts] = {}
    for batch, choices in enumerate(sample.batches("place")):
        lengths = np.diff(choices.starts, append=len(choices.relevant))
        jitter = np.random.default_rng((sample.seed, 6, batch)).random(len(choices.relevant))
        where = (choices.values["place"] - 1 + jitter) / np.repeat(lengths, lengths)
        bins = np.minimum((where * 10).astype(np.int64), 9)
        splits = np.repeat(choices.splits, lengths)
        for group in ("all", *sample.counts):
            of_group = (splits == group) | (group == "all")
            for kind, chosen in (("ground truth", choices.relevant), ("anchor", choices.anchors)):
                found = np.bincount(bins[of_group & chosen], minlength=10)
                counts[kind, group] = counts.get((kind, group), 0) + found
    if not counts:
        return not_checked("position balance", "there are no examples")
    figures: dict[str, float] = {}
    results = []
    for (kind, group), found in counts.items():
        if not found.sum():
            continue
        result = chisquare(found)
        effect = float(np.sqrt(result.statistic / found.sum()))
        figures |= {f"{kind}, {group}: p": float(result.pvalue), f"{kind}, {group}: w": effect}
        results.append((float(result.pvalue), effect, kind, group, int(found.sum())))
    if not results:
        return not_checked("position balance", "there is no ground truth")
    leaks = [one for one in results if one[0] < 1e-4 and one[1] > 0.05]
    p, effect, kind, group, count = min(leaks or results)
    evidence = f"{count:,} places of {kind} ({group}): chi-square p = {p:.2g}, w = {effect:.3f}"
    verdict = Verdict.LEAK if leaks else Verdict.OK
    return Check("position balance", verdict, evidence, figures)


def _is_the_anchor(score: Score) -> bool:
    """Say whether the anchor stands out from the rest of the ground truth, or there is no rest."""
    return score.above > BLATANT or np.isnan(score.stands_out) or score.stands_out_low > 0


def _points_at_the_anchor(score: Score) -> bool:
    return score.anchor_first >= POINTED and score.examples >= ENOUGH


def _points(x: Floats, y: Floats) -> Floats:
    """Make (candidates, 3) unit vectors of degrees, or (candidates, 1) of log popularity."""
    if np.all(np.isnan(y)):
        return x[:, None]
    latitude, longitude = np.radians(x), np.radians(y)
    flat = np.cos(latitude)
    return np.stack((flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)), axis=1)


def _centrality(points: Floats, starts: Counts) -> Floats:
    if points.shape[1] == 1:
        values = points[:, 0]
        return np.asarray(-np.abs(values - medians(values, starts)), dtype=np.float64)
    sums = np.add.reduceat(np.nan_to_num(points), starts, axis=0)
    middles = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    lengths = np.diff(starts, append=len(points))
    return _nearness(points, np.repeat(middles, lengths, axis=0))


def _nearness(points: Floats, others: Floats) -> Floats:
    """Negate the chord between unit vectors, which grows with the great-circle distance."""
    return np.asarray(-np.linalg.norm(points - others, axis=-1), dtype=np.float64)


def _farthest(points: Floats, starts: Counts) -> Floats:
    """Compute how far the farthest candidate of the same list is from each; NaN if unknown."""
    found = np.full(len(points), np.nan)
    for start, end in zip(starts, [*starts[1:], len(points)], strict=True):
        known = start + np.flatnonzero(~np.isnan(points[start:end, 0]))
        own = points[known]
        if len(own):
            found[known] = np.linalg.norm(own[:, None] - own[None], axis=-1).max(axis=1)
    return found
