"""Is the folder what it says: bytes, columns, ground truth beside its examples, histories."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import pyarrow.parquet as pq

from visuallens.benchmark import schema
from visuallens.benchmark.audit.sample import Sample
from visuallens.benchmark.audit.verdict import Check, decide
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.writing import checksum, file_checksum

_BATCH_ROWS = 8192

_COLUMNS: dict[str, Any] = {  # Any: pyarrow schemas
    schema.CANDIDATES: schema.CANDIDATES_SCHEMA,
    schema.POSITIONS: schema.POSITIONS_SCHEMA,
    schema.PHOTOS: schema.PHOTOS_SCHEMA,
    schema.CATEGORIES: schema.CATEGORIES_SCHEMA,
    **{schema.examples_file(split): schema.EXAMPLES_SCHEMA for split in schema.SPLITS},
    **{schema.ground_truth_file(split): schema.GROUND_TRUTH_SCHEMA for split in schema.SPLITS},
}


def columns(benchmark: Benchmark) -> Check:
    """Check that every table has the columns of the schema, and no other.

    Choice: a column too many is a leak, because it may tell a ranker the answer or a position.
    """
    extra: list[str] = []
    wrong: list[str] = []
    for name, expected in _COLUMNS.items():
        found = pq.read_schema(benchmark.path(name))
        extra += [f"{name}: {one}" for one in found.names if one not in expected.names]
        wrong += [
            f"{name}: {field.name}"
            for field in expected
            if field.name not in found.names or found.field(field.name).type != field.type
        ]
    faults = {
        f"columns beyond the schema ({', '.join(extra)})": len(extra),
        f"columns that lack or are of another type ({', '.join(wrong)})": len(wrong),
    }
    check = decide("columns", faults, f"{len(_COLUMNS)} tables have the columns of the schema")
    figures = {"beyond the schema": float(len(extra)), "wrong": float(len(wrong))}
    return Check(check.name, check.verdict, check.evidence, figures)


def checksums(benchmark: Benchmark) -> Check:
    """Check that the files are those that benchmark.json gives the checksums of."""
    stated = dict(benchmark.about.get("files", {}))
    changed = [
        name
        for name in schema.content_files()
        if file_checksum(benchmark.path(name)) != stated.get(name)
    ]
    of_all = checksum(stated) != benchmark.about.get("checksum")
    faults = {
        f"files are not those of benchmark.json ({', '.join(changed)})": len(changed),
        "checksum of the whole does not fit those of the files": int(of_all),
    }
    check = decide("checksums", faults, f"{len(stated)} files have the checksums of benchmark.json")
    return Check(check.name, check.verdict, check.evidence, {"changed": float(len(changed))})


def pairs(sample: Sample) -> Check:
    """Check that ground truth stands beside its examples, in the qrels too, each example once."""
    faults = {"examples beside the ground truth of another": 0, "qrels that differ": 0}
    examples = 0
    for split in sample.splits:
        answers = _rows(sample.benchmark, schema.ground_truth_file(split), True)
        asked = _rows(sample.benchmark, schema.examples_file(split), False)
        path = sample.benchmark.path(schema.qrels_file(split))
        with path.open(encoding="utf-8") as qrels:
            for example, answer in zip_longest(asked, answers):
                examples += 1
                if not example or not answer or example["example_id"] != answer["example_id"]:
                    faults["examples beside the ground truth of another"] += 1
                if answer and not _same(qrels, answer):
                    faults["qrels that differ"] += 1
            faults["qrels that differ"] += sum(1 for _ in qrels)
    faults["example ids that occur twice"] = sample.count(
        f"SELECT count(example_id) - count(DISTINCT example_id) FROM read_parquet({_all(sample)})"
    )
    return decide("pairs", faults, f"{examples:,} examples have their ground truth, in qrels too")


def ground_truth(sample: Sample) -> Check:
    """Check that ground truth is among the candidates, the anchor is part of it, all are known."""
    faults = {
        "examples with ground truth that is no candidate": 0,
        "examples whose anchor is no ground truth": 0,
        "examples with a candidate twice": 0,
        "candidates that are in no table": 0,
    }
    for split in sample.splits:
        examples = f"read_parquet({sample.file(schema.examples_file(split))})"
        answers = f"read_parquet({sample.file(schema.ground_truth_file(split))})"
        both = f"{examples} e JOIN {answers} g USING (example_id)"
        counts = sample.counts_of(
            f"SELECT count_if(len(ground_truth) = 0 OR NOT list_has_all(candidates, ground_truth)),"
            f" count_if(NOT coalesce(list_contains(ground_truth, anchor), false)),"
            f" count_if(len(candidates) != len(list_distinct(candidates))) FROM {both}"
        )
        unknown = sample.count(
            f"SELECT count(*) FROM (SELECT DISTINCT unnest(candidates) AS candidate_id"
            f" FROM {examples}) ANTI JOIN read_parquet({sample.file(schema.CANDIDATES)})"
            " USING (candidate_id)"
        )
        for fault, count in zip(faults, (*counts, unknown), strict=True):
            faults[fault] += count
    return decide("ground truth", faults, "all of it is among the candidates, the anchor too")


def references(sample: Sample) -> Check:
    """Check that the photos of candidates and of categories are in the table of photos."""
    photos = f"read_parquet({sample.file(schema.PHOTOS)})"
    faults = {}
    for kind, name in (("candidates", schema.CANDIDATES), ("categories", schema.CATEGORIES)):
        faults[f"photos of {kind} that are in no table"] = sample.count(
            "SELECT count(*) FROM (SELECT DISTINCT unnest(photos) AS photo_id"
            f" FROM read_parquet({sample.file(name)})) ANTI JOIN {photos} USING (photo_id)"
        )
    faults["photo ids that occur twice"] = sample.count(
        f"SELECT count(photo_id) - count(DISTINCT photo_id) FROM {photos}"
    )
    return decide("references", faults, "every photo of a candidate or category is in the table")


def names(sample: Sample) -> Check:
    """Check that no two candidates of an example have one name, letter case ignored.

    Source: Algorithm 1, unique_name.
    """
    twice = sample.count(
        "SELECT count(DISTINCT no) FROM (SELECT no FROM choice WHERE name IS NOT NULL"
        " GROUP BY no, name HAVING count(*) > 1)"
    )
    faults = {"examples with a name twice": twice}
    return decide("names", faults, f"unique in each of {sum(sample.counts.values()):,} examples")


def history_category(sample: Sample) -> Check:
    """Check that every history shows the category asked for, by photos that are in the table.

    Source: §6.1, we filter instances where the history does not contain the questioned category.
    """
    photos = sample.file(schema.PHOTOS)
    shown = (
        f"SELECT l.no, bool_or(coalesce(list_contains(p.categories, l.category), false)) AS has,"
        f" count_if(p.photo_id IS NULL) AS unknown"
        f" FROM (SELECT no, category, unnest(history) AS photo_id FROM looked) l"
        f" LEFT JOIN read_parquet({photos}) p USING (photo_id) GROUP BY l.no"
    )
    lacking = sample.count(
        f"SELECT count_if(NOT coalesce(s.has, false)) FROM looked LEFT JOIN ({shown}) s USING (no)"
    )
    unknown = sample.count(f"SELECT sum(unknown) FROM ({shown})")
    faults = {
        "histories without the category": lacking,
        "photos of histories that are in no table": unknown,
    }
    total = sum(sample.counts.values())
    return decide("history category", faults, f"shown by each of {total:,} histories")


def _rows(benchmark: Benchmark, name: str, answers: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split one by one; Any: of a Parquet file."""
    wanted = ["example_id", "ground_truth"] if answers else ["example_id"]
    with pq.ParquetFile(benchmark.path(name)) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
            yield from batch.to_pylist()


def _same(qrels: Iterator[str], answer: dict[str, Any]) -> bool:
    """Compare the next lines of the qrels with one example's ground truth."""
    expected = [f"{answer['example_id']} 0 {one} 1" for one in sorted(answer["ground_truth"] or ())]
    found = [next(qrels, "").rstrip("\n") for _ in expected]
    return found == expected


def _all(sample: Sample) -> str:
    return f"[{', '.join(sample.file(schema.examples_file(one)) for one in sample.splits)}]"
