"""Do the splits share what their rule keeps apart?"""

from __future__ import annotations

from visuallens.benchmark import schema
from visuallens.benchmark.audit.sample import Sample
from visuallens.benchmark.audit.verdict import Check, decide, not_checked

_KNOWN = ("by_user", "by_category", "by_time")


def overlap(sample: Sample) -> Check:
    """Check that train, dev and test are apart as `settings.split` says, always over all of them.

    Source: §6.1, disjoint users; Table 4.
    """
    rule = sample.benchmark.about.get("settings", {}).get("split", "by_user")
    if rule not in _KNOWN:
        known = ", ".join(_KNOWN)
        return not_checked("split overlap", f"there is no rule {rule!r}; known: {known}")
    if rule == "by_user":
        faults = {"users in two splits": _in_two(sample, "user_id")}
    elif rule == "by_category":
        faults = {
            "categories of a user in two splits": _in_two(sample, "user_id, category"),
            "ground truths of a user in train and in dev or test": _shared_answers(sample),
        }
    else:
        faults = {"examples of dev or test not after those before them": _out_of_time(sample)}
    return decide("split overlap", faults, f"{rule}: nothing is in two splits that must not be")


def business_overlap(sample: Sample) -> Check:
    """Check that no business of train is one of dev or test, where the settings promise it."""
    if not sample.benchmark.about.get("settings", {}).get("business_disjoint"):
        return not_checked("business overlap", "the settings do not keep businesses apart")
    train = _businesses(sample, ("train",))
    held_out = _businesses(sample, ("dev", "test"))
    shared = sample.count(
        f"SELECT count(*) FROM ({train}) SEMI JOIN ({held_out}) USING (business_id)"
    )
    clean = "candidates, ground truth and histories of train share no business with dev and test"
    return decide("business overlap", {"businesses of train in dev or test": shared}, clean)


def _examples(sample: Sample) -> str:
    files = {split: sample.file(schema.examples_file(split)) for split in schema.SPLITS}
    return " UNION ALL ".join(
        f"SELECT '{split}' AS split, user_id, category, asked_at FROM read_parquet({file})"
        for split, file in files.items()
    )


def _in_two(sample: Sample, columns: str) -> int:
    return sample.count(
        f"SELECT count(*) FROM (SELECT {columns} FROM ({_examples(sample)})"
        f" GROUP BY {columns} HAVING count(DISTINCT split) > 1)"
    )


def _shared_answers(sample: Sample) -> int:
    pairs = [
        f"SELECT DISTINCT '{split}' AS split, e.user_id, unnest(g.ground_truth) AS business_id"
        f" FROM read_parquet({sample.file(schema.examples_file(split))}) e"
        f" JOIN read_parquet({sample.file(schema.ground_truth_file(split))}) g USING (example_id)"
        for split in schema.SPLITS
    ]
    return sample.count(
        f"SELECT count(*) FROM (SELECT user_id, business_id FROM ({' UNION ALL '.join(pairs)})"
        " GROUP BY ALL HAVING bool_or(split = 'train') AND bool_or(split != 'train'))"
    )


def _out_of_time(sample: Sample) -> int:
    """Count examples that are not after the last of every split before theirs."""
    return sample.count(
        f"WITH asked AS ({_examples(sample)}), ends AS ("
        " SELECT max(asked_at) FILTER (split = 'train') AS train,"
        " max(asked_at) FILTER (split != 'test') AS dev FROM asked)"
        " SELECT count_if((split = 'dev' AND asked_at <= ends.train)"
        " OR (split = 'test' AND asked_at <= ends.dev)) FROM asked, ends"
    )


def _businesses(sample: Sample, splits: tuple[str, ...]) -> str:
    photos = f"read_parquet({sample.file(schema.PHOTOS)})"
    parts = []
    for split in splits:
        examples = f"read_parquet({sample.file(schema.examples_file(split))})"
        answers = f"read_parquet({sample.file(schema.ground_truth_file(split))})"
        parts += [
            f"SELECT unnest(candidates) AS business_id FROM {examples}",
            f"SELECT unnest(ground_truth) AS business_id FROM {answers}",
            f"SELECT business_id FROM {photos} SEMI JOIN"
            f" (SELECT DISTINCT unnest(history) AS photo_id FROM {examples}) USING (photo_id)",
        ]
    return f"SELECT DISTINCT business_id FROM ({' UNION ALL '.join(parts)})"
