from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.benchmark.audit.planting import (
    Row,
    change,
    change_examples,
    change_settings,
    checks,
    draw_around_the_anchor,
    leaks,
    rows_of,
    seal,
)
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark import schema
from visuallens.benchmark.audit import audit
from visuallens.benchmark.folder import Benchmark


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny", examples=120, users=24, photos=False)


@pytest.fixture
def large_folder(tmp_path: Path) -> Path:
    """Anchors are not always in the exact middle, so fewer examples prove nothing."""
    return write_tiny(tmp_path / "large", examples=600, users=60, photos=False)


def test_changed_bytes_are_found_by_their_checksum(folder: Path) -> None:
    with (folder / schema.qrels_file("dev")).open("a", encoding="utf-8") as file:
        file.write("\n")
    found = {one.name: one for one in audit(Benchmark(folder)).leaks}
    assert "qrels-dev.txt" in found["checksums"].evidence


@pytest.mark.parametrize("name", [schema.examples_file("train"), schema.CANDIDATES])
def test_a_column_beyond_the_schema_is_a_leak(folder: Path, name: str) -> None:
    table = pq.read_table(folder / name)
    table = table.append_column("distance_km", pa.array(np.zeros(table.num_rows)))
    pq.write_table(table, folder / name)
    assert "columns" in leaks(folder)


def test_a_column_that_lacks_stops_the_other_checks(folder: Path) -> None:
    name = schema.examples_file("train")
    pq.write_table(pq.read_table(folder / name).drop_columns(["seed"]), folder / name)
    found = checks(folder)
    assert found["columns"].verdict.value == "leak"
    assert found["candidate order"].verdict.value == "not checked"


def test_ground_truth_in_another_order_is_found(folder: Path) -> None:
    name = schema.ground_truth_file("train")
    table = pq.read_table(folder / name)
    pq.write_table(table.take(pa.array(range(table.num_rows))[::-1]), folder / name)
    found = checks(folder)
    assert found["pairs"].verdict.value == "leak"
    assert "different order" in found["photos of the user"].evidence


def test_a_photo_that_is_in_no_table_is_found(folder: Path) -> None:
    gone = rows_of(folder, schema.CANDIDATES)[0]["photos"][0]
    change(folder, schema.PHOTOS, lambda row: None if row["photo_id"] == gone else row)
    found = checks(folder)
    assert found["references"].verdict.value == "leak"
    assert found["category embedding"].verdict.value == "not checked"


@pytest.mark.parametrize(
    "change_text", [lambda text: text[: len(text) // 2], lambda text: text * 2]
)
def test_qrels_that_are_not_the_ground_truth_are_found(
    folder: Path, change_text: Callable[[str], str]
) -> None:
    qrels = folder / schema.qrels_file("test")
    qrels.write_text(change_text(qrels.read_text()))
    assert leaks(folder) == {"pairs"}


def test_ground_truth_that_is_no_candidate_is_found(folder: Path) -> None:
    def drop_one(row: Row) -> None:
        row["candidates"].remove(row["ground_truth"][0])

    change_examples(folder, drop_one)
    assert "ground truth" in leaks(folder)


def test_names_that_differ_by_letter_case_only_are_found(folder: Path) -> None:
    change(folder, schema.CANDIDATES, lambda row: {**row, "name": f"Caf\u00c9 {row['name'][-3:]}"})
    assert "names" in leaks(folder)


def test_a_history_without_the_category_is_found(folder: Path) -> None:
    change(folder, schema.PHOTOS, lambda row: {**row, "categories": ["zoo"]})
    assert leaks(folder) == {"history category"}


@pytest.mark.parametrize("place", ["first", "last", "middle"])
def test_ground_truth_at_one_place_of_the_list_is_found(folder: Path, place: str) -> None:
    def to_its_place(row: Row) -> None:
        truth = set(row["ground_truth"])
        others = [one for one in row["candidates"] if one not in truth]
        at = {"first": 0, "last": len(others), "middle": len(others) // 2}[place]
        row["candidates"] = [*others[:at], *sorted(truth), *others[at:]]

    change_examples(folder, to_its_place)
    found = checks(folder)
    assert found["candidate order"].verdict.value == "leak"
    assert repr(place) in found["candidate order"].evidence


def test_one_split_alone_is_found(folder: Path) -> None:
    def only_test(row: Row) -> None:
        if row["example_id"] in of_test:
            row["candidates"].sort(key=lambda one: one not in row["ground_truth"])

    of_test = {row["example_id"] for row in rows_of(folder, schema.examples_file("test"))}
    change_examples(folder, only_test)
    assert "candidate order" in leaks(folder)


def test_ground_truth_that_avoids_a_part_of_the_list_is_found(folder: Path) -> None:
    def third_quarter(row: Row) -> None:
        generator = np.random.default_rng(row["seed"])
        truth = list(row["ground_truth"])
        others = [one for one in row["candidates"] if one not in truth]
        for one in truth:
            at = generator.integers(len(others) // 2, 3 * len(others) // 4 + 1)
            others.insert(int(at), one)
        row["candidates"] = others

    change_examples(folder, third_quarter)
    assert "position balance" in leaks(folder)


def test_positions_tell_the_anchor_but_no_request_holds_them(large_folder: Path) -> None:
    folder = large_folder
    places = rows_of(folder, schema.POSITIONS)
    draw_around_the_anchor(folder, {row["candidate_id"]: tuple(row["position"]) for row in places})
    found = checks(folder)["anchor geography"]
    assert found.verdict.value == "ok"
    assert found.figures["centre, all: above"] > 0.1
    assert found.figures["least far, all: anchor first"] > 0.2


def test_coordinates_in_a_description_are_found(large_folder: Path) -> None:
    folder = large_folder
    positions = {row["candidate_id"]: row["position"] for row in rows_of(folder, schema.POSITIONS)}
    draw_around_the_anchor(folder, {key: tuple(one) for key, one in positions.items()})
    change(
        folder,
        schema.CANDIDATES,
        lambda row: {
            **row,
            "description": "At {:.5f}, {:.5f}".format(*positions[row["candidate_id"]]),
        },
    )
    assert leaks(folder) == {"visible numbers"}


@pytest.mark.parametrize("kind", ["rating", "rating_count"])
def test_a_number_that_candidates_were_drawn_by_is_found(large_folder: Path, kind: str) -> None:
    folder = large_folder
    generator = np.random.default_rng(1)
    ids = [row["candidate_id"] for row in rows_of(folder, schema.CANDIDATES)]
    numbers = {one: int(generator.integers(1, 10_000)) for one in ids}
    change(folder, schema.CANDIDATES, lambda row: {**row, kind: numbers[row["candidate_id"]]})
    draw_around_the_anchor(folder, {key: (float(one),) for key, one in numbers.items()})
    found = checks(folder)["visible numbers"]
    assert found.verdict.value == "leak"
    assert f"{kind}: middle" in found.evidence


def test_popularity_is_no_leak(folder: Path) -> None:
    """The best known places have middling ratings and are ground truth more often: not a leak."""

    def known_first(row: Row) -> None:
        weights = np.array([3.0 if one in known else 1.0 for one in row["candidates"]])
        generator = np.random.default_rng(row["seed"])
        truth = generator.choice(row["candidates"], 4, replace=False, p=weights / weights.sum())
        row["ground_truth"] = sorted(str(one) for one in truth)
        row["anchor"] = str(truth[0])

    generator = np.random.default_rng(2)
    known = {r["candidate_id"] for r in rows_of(folder, schema.CANDIDATES)[::2]}
    change_examples(folder, known_first)
    change(
        folder,
        schema.CANDIDATES,
        lambda row: {
            **row,
            "rating": 4
            + (0.1 if row["candidate_id"] in known else 1) * generator.standard_normal(),
            "rating_count": 500 if row["candidate_id"] in known else 5,
        },
    )
    assert leaks(folder) == set()


def test_a_number_that_is_largest_for_the_anchor_is_found(folder: Path) -> None:
    def anchored(row: Row) -> None:
        row["anchor"] = row["ground_truth"][0] = best[row["category"]]
        row["candidates"] = [one for one in row["candidates"] if one not in best.values()]
        row["ground_truth"] = sorted(set(row["ground_truth"]) - set(best.values()))
        row["ground_truth"] = sorted([*row["ground_truth"], row["anchor"]])
        row["candidates"].insert(row["seed"] % len(row["candidates"]), row["anchor"])

    best: dict[str, str] = {}
    for row in rows_of(folder, schema.CANDIDATES):
        best.setdefault(row["categories"][0], row["candidate_id"])
    change_examples(folder, anchored)
    change(
        folder,
        schema.CANDIDATES,
        lambda row: {**row, "rating": 9.0 if row["candidate_id"] in best.values() else 3.0},
    )
    found = checks(folder)["visible numbers"]
    assert found.verdict.value == "leak"
    assert "rating: largest" in found.evidence


def test_a_history_that_reaches_the_question_is_found(folder: Path) -> None:
    def late(row: Row) -> Row:
        return {**row, "asked_at": row["history_at"][-1]}

    change(folder, schema.examples_file("test"), late)
    assert leaks(folder) == {"timestamps"}


def test_a_history_younger_than_the_gap_is_found(folder: Path) -> None:
    change_settings(folder, history_gap_days=1.0)
    assert leaks(folder) == set()
    change_settings(folder, history_gap_days=2.0)
    assert leaks(folder) == {"timestamps"}


def test_a_user_in_two_splits_is_found(folder: Path) -> None:
    user = rows_of(folder, schema.examples_file("train"))[0]["user_id"]
    name = schema.examples_file("test")
    rows = rows_of(folder, name)
    change(
        folder,
        name,
        lambda row: {**row, "user_id": user} if row["example_id"] == rows[0]["example_id"] else row,
    )
    assert "split overlap" in leaks(folder)


def test_by_category_a_category_of_a_user_or_an_answer_in_two_splits_is_found(
    folder: Path,
) -> None:
    change_settings(folder, split="by_category")
    assert leaks(folder) == set()

    def same(row: Row) -> None:
        row["user_id"] = "user-00"

    # All categories are now of one user, in all splits.
    change_examples(folder, same)
    found = checks(folder)["split overlap"]
    assert "categories of a user in two splits" in found.evidence
    assert "ground truths of a user in train and in dev or test" in found.evidence


def test_by_time_a_test_question_before_the_end_of_train_is_found(folder: Path) -> None:
    change_settings(folder, split="by_time")
    assert "split overlap" in leaks(folder)
    years = {"train": 0, "dev": 5, "test": 10}
    for split, later in years.items():

        def shift(row: Row, days: int = 365 * later) -> Row:
            moved = [one + timedelta(days=days) for one in row["history_at"]]
            asked = row["asked_at"] + timedelta(days=days)
            return {**row, "asked_at": asked, "history_at": moved}

        change(folder, schema.examples_file(split), shift)
    assert leaks(folder) == set()


def test_businesses_that_the_settings_keep_apart_must_be(folder: Path) -> None:
    change_settings(folder, business_disjoint=True)
    assert leaks(folder) == {"business overlap"}

    for split in ("dev", "test"):
        for name in (schema.examples_file(split), schema.ground_truth_file(split)):
            pq.write_table(pq.read_table(folder / name).slice(0, 0), folder / name)
        (folder / schema.qrels_file(split)).write_text("")
    assert checks(folder)["business overlap"].verdict.value == "ok"


def test_seal_alone_raises_no_alarm(folder: Path) -> None:
    seal(folder)
    assert leaks(folder) == set()
