"""Does the history tell what is asked for: by time, by what was visited, by whose photos?"""

from __future__ import annotations

import numpy as np

from visuallens.benchmark import schema
from visuallens.benchmark.audit.controls import Tally, judge
from visuallens.benchmark.audit.sample import Sample
from visuallens.benchmark.audit.verdict import Check, Verdict, decide

_DAY_S = 86_400


def timestamps(sample: Sample) -> Check:
    """Check that all of a history is older than its question, by the gap that the settings ask.

    Source: §6.1, all (and only) photos in the reviews before r.
    """
    gap_days = float(sample.benchmark.about.get("settings", {}).get("history_gap_days") or 0)
    faults = {
        "histories with a photo at or after the question": 0,
        f"histories with a photo less than {gap_days:g} days before the question": 0,
        "histories that are not oldest first": 0,
        "histories with a photo that has no time": 0,
        "photos of histories that were posted at or after the question": 0,
    }
    together = 0
    for split in sample.splits:
        examples = f"read_parquet({sample.file(schema.examples_file(split))})"
        counts = sample.counts_of(
            f"SELECT count_if(list_max(history_at) >= asked_at),"
            f" count_if(date_diff('millisecond', list_max(history_at), asked_at) / 1000.0"
            f" < {gap_days * _DAY_S}),"
            f" count_if(history_at != list_sort(history_at)),"
            f" count_if(len(history) != len(list_filter(history_at, lambda one: one IS NOT NULL)))"
            f" FROM {examples}"
        )
        counts.append(_posted_later(sample, examples))
        for fault, count in zip(faults, counts, strict=True):
            faults[fault] += count
        together += sample.count(
            f"SELECT sum(n) FROM (SELECT count(*) AS n FROM {examples}"
            " GROUP BY user_id, asked_at HAVING count(*) > 1)"
        )
    clean = f"every history is older; {together:,} examples ask at the time of another of the user"
    check = decide("timestamps", faults, clean)
    figures = {**check.figures, "asked together": float(together)}
    return Check(check.name, check.verdict, check.evidence, figures)


def visited(sample: Sample) -> Check:
    """Check what it tells that the user has been at a candidate before.

    Choice: Algorithm 1 offers what the user knows, and where people have been is theirs to be asked
        about; but to cross it out, or to go back, is no taste. So it is a shortcut, unless the
        settings drop such candidates: then one that is there is a leak.
    """
    tally = Tally(sample.seed)
    touched = examples = 0
    for choices in sample.batches("visited"):
        before = choices.values["visited"]
        touched += int(np.count_nonzero(np.add.reduceat(before, choices.starts)))
        examples += len(choices.starts)
        tally.add(choices, {"visited first": before, "visited last": -before})
    scores = tally.scores()
    share = touched / max(examples, 1)
    note = f"{share:.1%} of the examples offer a business of the history"
    telling = [one for one in scores if one.beats_chance]
    check = judge("visited businesses", scores, telling, note)
    figures = {**check.figures, "share": share}
    if sample.benchmark.about["settings"].get("visited") == "drop":
        verdict = Verdict.LEAK if touched else Verdict.OK
        return Check(check.name, verdict, f"{touched:,} examples: {note}", figures)
    if check.verdict is not Verdict.LEAK:
        return Check(check.name, check.verdict, check.evidence, figures)
    advice = f"{check.evidence}; benchmark.visited=drop builds without them"
    return Check(check.name, Verdict.SHORTCUT, advice, figures)


def _posted_later(sample: Sample, examples: str) -> int:
    """Count photos of the examples looked at that are younger than their question."""
    return sample.count(
        "SELECT count(*) FROM ("
        f" SELECT asked_at, unnest(history) AS photo_id FROM {examples}"
        " SEMI JOIN looked USING (example_id)"
        f") JOIN read_parquet({sample.file(schema.PHOTOS)}) USING (photo_id)"
        " WHERE posted_at >= asked_at"
    )
