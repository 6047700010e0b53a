from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.audit.planting import (
    Row,
    add_photos,
    change,
    change_examples,
    change_settings,
    checks,
    leaks,
    remember_before,
    rows_of,
)
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark import schema
from visuallens.benchmark.audit import audit
from visuallens.benchmark.folder import Benchmark
from visuallens.types import Candidate, RankingRequest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny", examples=120, users=24, photos=False)


@pytest.fixture
def folder_with_files(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny", examples=60, users=12)


@pytest.mark.parametrize(("visited", "verdict"), [("keep", "shortcut"), ("drop", "leak")])
def test_a_visited_business_that_is_ground_truth_is_found(
    folder: Path, visited: str, verdict: str
) -> None:
    add_photos(folder, "visit", lambda business: business)
    change_examples(folder, lambda row: remember_before(row, [f"visit-{row['anchor']}"]))
    change_settings(folder, visited=visited)
    found = checks(folder)["visited businesses"]
    assert found.verdict.value == verdict
    assert "100.0% of the examples" in found.evidence
    if visited == "keep":
        assert "visited first" in found.evidence


def test_a_photo_of_later_in_the_history_is_found(folder: Path) -> None:
    """History and times look right; only the table of photos knows when it was posted."""
    later = datetime(2100, 1, 1, tzinfo=UTC)
    add_photos(folder, "visit", lambda business: business)
    change(
        folder,
        schema.PHOTOS,
        lambda row: row | {"posted_at": later} if row["photo_id"].startswith("visit") else row,
    )
    change_examples(folder, lambda row: remember_before(row, [f"visit-{row['anchor']}"]))
    found = checks(folder)["timestamps"]
    assert found.verdict.value == "leak"
    assert "120 photos of histories that were posted at or after" in found.evidence


def test_visited_businesses_that_are_never_ground_truth_are_found(folder: Path) -> None:
    def others(row: Row) -> None:
        wrong = [one for one in row["candidates"] if one not in row["ground_truth"]]
        remember_before(row, [f"visit-{one}" for one in wrong[: len(wrong) // 2]])

    add_photos(folder, "visit", lambda business: business)
    change_examples(folder, others)
    found = checks(folder)["visited businesses"]
    assert found.verdict.value == "shortcut"
    assert "visited last" in found.evidence


def test_visited_businesses_at_random_are_no_leak(folder: Path) -> None:
    def some(row: Row) -> None:
        generator = np.random.default_rng((row["seed"], 2))
        seen = generator.choice(row["candidates"], len(row["candidates"]) // 3, replace=False)
        remember_before(row, [f"visit-{one}" for one in seen])

    add_photos(folder, "visit", lambda business: business)
    change_examples(folder, some)
    assert leaks(folder) == set()


def test_a_photo_of_the_history_at_a_candidate_is_found(folder: Path) -> None:
    """One file under two ids."""
    add_photos(folder, "shared", lambda _: "elsewhere")
    add_photos(folder, "alias", lambda _: "elsewhere")
    change(
        folder, schema.PHOTOS, lambda row: {**row, "path": row["path"].replace("alias", "shared")}
    )
    change(
        folder,
        schema.CANDIDATES,
        lambda row: {**row, "photos": [*row["photos"], f"shared-{row['candidate_id']}"]},
    )
    change_examples(folder, lambda row: remember_before(row, [f"alias-{row['anchor']}"]))
    assert leaks(folder) == {"photos of the user"}


class _ShowsOwnPhotos(Benchmark):
    """Forgets to leave out what the user's own camera shows of a candidate."""

    def _candidate(self, candidate_id: str, asked: Row, seen: frozenset[str]) -> Candidate:
        del seen
        return super()._candidate(candidate_id, asked | {"user_id": "nobody"}, frozenset())


def test_own_photos_at_candidates_are_found(folder: Path) -> None:
    _give_users_photos_of_their_ground_truth(folder, photos_each=8)
    found = {one.name for one in audit(_ShowsOwnPhotos(folder)).leaks}
    assert "photos of the user" in found
    assert "photos of the user" not in {one.name for one in audit(Benchmark(folder)).leaks}


def test_photos_that_stand_in_for_own_ones_leave_no_gap(folder: Path) -> None:
    _give_users_photos_of_their_ground_truth(folder, photos_each=8)
    change_settings(folder, candidate_photos=5)
    assert leaks(folder) == set()


def test_a_gap_where_own_photos_were_left_out_is_found(folder: Path) -> None:
    _give_users_photos_of_their_ground_truth(folder, photos_each=8)
    change_settings(folder, candidate_photos=8)
    found = checks(folder)["own photos left out"]
    assert found.verdict.value == "leak"


def _give_users_photos_of_their_ground_truth(folder: Path, photos_each: int) -> None:
    """List as many photos of each candidate; some are of those whose ground truth it is."""
    users: dict[str, set[str]] = defaultdict(set)
    for split in schema.SPLITS:
        asked = rows_of(folder, schema.examples_file(split))
        answers = rows_of(folder, schema.ground_truth_file(split))
        for example, answer in zip(asked, answers, strict=True):
            for one in answer["ground_truth"]:
                users[one].add(example["user_id"])
    taker: dict[str, str | None] = {}
    listed: dict[str, list[str]] = {}
    for number in range(photos_each):
        add_photos(folder, f"guest{number}", lambda business: business)
        for row in rows_of(folder, schema.CANDIDATES):
            business, own = row["candidate_id"], sorted(users[row["candidate_id"]])
            photo = f"guest{number}-{business}"
            taker[photo] = own[number] if number < len(own) else None
            listed.setdefault(business, []).append(photo)
    change(
        folder,
        schema.PHOTOS,
        lambda row: {**row, "user_id": taker.get(row["photo_id"], row["user_id"])},
    )
    change(folder, schema.CANDIDATES, lambda row: {**row, "photos": listed[row["candidate_id"]]})


def _copy_pictures(folder: Path, prefix: str) -> None:
    """Give the added photo of each candidate the picture of its first, encoded anew."""
    photos = folder / "photos"
    paths = {row["photo_id"]: row["path"] for row in rows_of(folder, schema.PHOTOS)}
    (photos / prefix).mkdir()
    for row in rows_of(folder, schema.CANDIDATES):
        with Image.open(photos / paths[row["photos"][0]]) as image:
            image.save(photos / prefix / f"{row['candidate_id']}.jpg", quality=60)


def test_a_picture_of_the_history_at_ground_truth_under_another_id_is_found(
    folder_with_files: Path,
) -> None:
    folder = folder_with_files
    add_photos(folder, "copy", lambda _: "elsewhere")
    _copy_pictures(folder, "copy")
    change_examples(folder, lambda row: remember_before(row, [f"copy-{row['anchor']}"]))
    assert leaks(folder) == {"near-duplicate photos"}


def test_pictures_of_a_visited_business_are_not_counted_twice(folder_with_files: Path) -> None:
    folder = folder_with_files
    add_photos(folder, "copy", lambda business: business)
    _copy_pictures(folder, "copy")
    change_examples(folder, lambda row: remember_before(row, [f"copy-{row['anchor']}"]))
    found = checks(folder)
    assert found["near-duplicate photos"].figures["near-duplicates"] == 0
    assert found["visited businesses"].verdict.value == "shortcut"


def test_category_pictures_that_show_ground_truth_are_found(folder_with_files: Path) -> None:
    def few(row: Row) -> None:
        offered = [one for one in row["candidates"] if one in favourites]
        if len(offered) > 1:
            row["ground_truth"], row["anchor"] = sorted(offered), min(offered)

    folder = folder_with_files
    favourites = {row["candidate_id"] for row in rows_of(folder, schema.CANDIDATES)[::6]}
    add_photos(folder, "copy", lambda _: "elsewhere")
    _copy_pictures(folder, "copy")
    change_examples(folder, few)
    of = {row["candidate_id"]: row["categories"] for row in rows_of(folder, schema.CANDIDATES)}
    change(
        folder,
        schema.CATEGORIES,
        lambda row: {
            **row,
            "photos": [f"copy-{one}" for one in sorted(favourites) if row["category"] in of[one]],
        },
    )
    assert leaks(folder) == {"category pictures"}


class _DrawsWhatIsLater(Benchmark):
    """Forgets when photos of a category were posted."""

    def category_photos(self, request: RankingRequest, count: int) -> tuple[str, ...]:
        del request
        later = f"{self.photos_folder}/later/"
        return tuple(f"{later}{row['candidate_id']}.jpg" for row in self._candidate_rows[:count])

    @cached_property
    def _candidate_rows(self) -> list[Row]:
        return rows_of(self.folder, schema.CANDIDATES)


def test_category_photos_of_later_are_found(folder: Path) -> None:
    later = datetime(2100, 1, 1, tzinfo=UTC)
    add_photos(folder, "later", lambda _: "elsewhere")
    change(
        folder,
        schema.PHOTOS,
        lambda row: row | {"posted_at": later} if row["photo_id"].startswith("later") else row,
    )
    found = {one.name: one for one in audit(_DrawsWhatIsLater(folder)).checks}
    assert found["category embedding"].verdict.value == "leak"
    assert "posted at or after the question" in found["category embedding"].evidence
    assert audit(Benchmark(folder)).leaks[0].name == "checksums"


def test_requests_are_looked_at_without_holding_all_photos(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = audit(Benchmark(folder), requests=5)
    for name in ("examples", "requests"):
        monkeypatch.setattr(Benchmark, name, lambda *_: pytest.fail("all photos are held"))
    assert audit(Benchmark(folder), requests=5) == expected


class _DrawsFromCandidates(Benchmark):
    """Draws category photos from the candidates of the request."""

    def category_photos(self, request: RankingRequest, count: int) -> tuple[str, ...]:
        return tuple(path for one in request.candidates for path in one.photos)[:count]


def test_category_photos_of_candidates_are_found(folder: Path) -> None:
    found = {one.name: one for one in audit(_DrawsFromCandidates(folder)).leaks}
    assert found.keys() == {"category embedding"}
    assert "photos of a candidate's business" in found["category embedding"].evidence
