from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.opening import refuse_outside
from visuallens.errors import BenchmarkFolderError, RequestError
from visuallens.types import Candidate, PhotoMetadata, RankingRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", photos=False)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """One that a test may break."""
    return write_tiny(tmp_path / "tiny", examples=12, photos=False)


# Any: rows of a Parquet file.
def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / name).to_pylist()
    return found


def test_photos_tell_controls_what_they_show_and_who_took_them(folder: Path) -> None:
    benchmark = Benchmark(folder)
    for row in rows(folder, schema.PHOTOS):
        assert benchmark.shown_in(row["photo_id"]) == row["business_id"]
        assert benchmark.taken_by(row["photo_id"]) == row["user_id"]
    assert benchmark.shown_in("nothing") is benchmark.taken_by("nothing") is None


@pytest.mark.parametrize("split", schema.SPLITS)
def test_examples_are_what_was_written(folder: Path, split: str) -> None:
    benchmark = Benchmark(folder)
    written = rows(folder, schema.examples_file(split))
    answers = rows(folder, schema.ground_truth_file(split))
    examples = list(benchmark.examples(split))
    assert len(examples) == benchmark.count(split) == len(written) > 0
    for example, row, answer in zip(examples, written, answers, strict=True):
        request = example.request
        assert (request.id, request.seed) == (row["example_id"], row["seed"])
        assert (request.question.text, request.question.category) == (
            row["question"],
            row["category"],
        )
        assert request.history.user_id == row["user_id"]
        assert [photo.id for photo in request.history.photos] == row["history"]
        taken = [photo.metadata.taken_at for photo in request.history.photos]
        assert taken == row["history_at"]
        assert [candidate.id for candidate in request.candidates] == row["candidates"]
        assert example.ground_truth == set(answer["ground_truth"])


def test_requests_are_the_examples_without_answers(folder: Path) -> None:
    benchmark = Benchmark(folder)
    requests = list(benchmark.requests("test"))
    assert requests == [example.request for example in benchmark.examples("test")]
    assert not any("ground" in field.name for field in dataclasses.fields(RankingRequest))


def test_a_candidate_carries_its_facts(folder: Path) -> None:
    by_id = {row["candidate_id"]: row for row in rows(folder, schema.CANDIDATES)}
    for candidate in next(Benchmark(folder).requests("test")).candidates:
        row = by_id[candidate.id]
        assert candidate.name == row["name"]
        assert candidate.description == row["description"]
        assert list(candidate.categories) == row["categories"]
        assert (candidate.rating, candidate.rating_count) == (row["rating"], row["rating_count"])


def test_no_request_tells_a_place(folder: Path) -> None:
    for split in schema.SPLITS:
        for request in Benchmark(folder).requests(split):
            assert request.near is None
            assert all(candidate.location is None for candidate in request.candidates)
            assert all(photo.metadata.location is None for photo in request.history.photos)


def test_what_the_user_took_of_a_candidate_stays_out(folder: Path) -> None:
    taken_by = {row["path"]: row["user_id"] for row in rows(folder, schema.PHOTOS)}
    offered = {row["candidate_id"]: row["photos"] for row in rows(folder, schema.CANDIDATES)}
    left_out = 0
    for split in schema.SPLITS:
        for request in Benchmark(folder).requests(split):
            for candidate in request.candidates:
                left_out += len(offered[candidate.id]) - len(candidate.photos)
                assert request.history.user_id not in _takers(folder, candidate, taken_by)
    assert left_out > 0


def _takers(folder: Path, candidate: Candidate, taken_by: dict[str, str | None]) -> set[str | None]:
    below = folder / "photos"
    return {taken_by[str(Path(path).relative_to(below))] for path in candidate.photos}


def test_category_photos_show_the_category_but_no_candidate_and_nothing_of_the_user(
    folder: Path,
) -> None:
    benchmark = Benchmark(folder)
    facts = {str(folder / "photos" / row["path"]): row for row in rows(folder, schema.PHOTOS)}
    for request in benchmark.requests("test"):
        drawn = benchmark.category_photos(request, 8)
        assert len(drawn) == len(set(drawn)) == 8
        assert drawn == benchmark.category_photos(request, 8)
        shown = {candidate.id for candidate in request.candidates}
        for path in drawn:
            assert request.question.category in facts[path]["categories"]
            assert facts[path]["business_id"] not in shown
            assert facts[path]["user_id"] != request.history.user_id


def test_category_photos_are_older_than_the_newest_of_the_history(own_folder: Path) -> None:
    """A user with an early question has not seen what strangers posted years later."""
    benchmark = Benchmark(own_folder)
    request = next(benchmark.requests("test"))
    before = {Path(path) for path in benchmark.category_photos(request, 1000)}
    assert before
    newest = max(
        photo.metadata.taken_at or datetime.min.replace(tzinfo=UTC)
        for photo in request.history.photos
    )
    table = rows(own_folder, schema.PHOTOS)
    drawable = [row for row in table if own_folder / "photos" / row["path"] in before]
    for at, row in enumerate(drawable):
        row["posted_at"] = (newest - timedelta(milliseconds=1), newest, None)[at % 3]
    pq.write_table(
        pa.Table.from_pylist(table, schema=schema.PHOTOS_SCHEMA), own_folder / schema.PHOTOS
    )
    after = {Path(path) for path in Benchmark(own_folder).category_photos(request, 1000)}
    assert after == {
        own_folder / "photos" / row["path"] for at, row in enumerate(drawable) if at % 3 != 1
    }


def test_without_a_dated_history_only_photos_without_a_time_are_drawn(folder: Path) -> None:
    benchmark = Benchmark(folder)
    request = next(benchmark.requests("test"))
    photos = tuple(
        dataclasses.replace(one, metadata=PhotoMetadata()) for one in request.history.photos
    )
    undated = dataclasses.replace(
        request, history=dataclasses.replace(request.history, photos=photos)
    )
    times = {
        str(folder / "photos" / row["path"]): row["posted_at"]
        for row in rows(folder, schema.PHOTOS)
    }
    drawn = benchmark.category_photos(undated, 1000)
    assert drawn
    assert {times[path] for path in drawn} == {None}


@pytest.mark.parametrize(
    "path",
    ["../a.jpg", "a/../../b.jpg", "a/..", "/etc/passwd", "C:a.jpg", "c:/a.jpg", "..\\a.jpg",
     "a\\b.jpg", "a\0.jpg", "", ".", "./", None],
)  # fmt: skip
def test_a_photo_path_that_leaves_the_folder_is_refused(own_folder: Path, path: str | None) -> None:
    benchmark = Benchmark(own_folder)
    first = next(benchmark.requests("test"))
    pools = {photo for row in rows(own_folder, schema.CATEGORIES) for photo in row["photos"]}
    victim = next(photo.id for photo in first.history.photos if photo.id in pools)
    table = rows(own_folder, schema.PHOTOS)
    for row in table:
        row["path"] = path if row["photo_id"] == victim else row["path"]
    pq.write_table(
        pa.Table.from_pylist(table, schema=schema.PHOTOS_SCHEMA), own_folder / schema.PHOTOS
    )
    for read in (
        lambda: list(Benchmark(own_folder).requests("test")),
        lambda: list(Benchmark(own_folder).examples("test")),
        lambda: list(Benchmark(own_folder).some("test", [0])),
        lambda: Benchmark(own_folder).find("test"),
        lambda: Benchmark(own_folder).category_photos(first, 4),
    ):
        with pytest.raises(
            BenchmarkFolderError, match=r"photos\.parquet: the photo path .* leads out"
        ):
            read()


@pytest.mark.parametrize("path", ["a/b.jpg", "a..b/c.jpg", "...a.jpg", "ab:c.jpg", "\u00e4/./b"])
def test_odd_photo_paths_that_stay_inside_are_read(own_folder: Path, path: str) -> None:
    refuse_outside(path, own_folder / schema.PHOTOS)


def test_some_examples_are_those_of_all(folder: Path) -> None:
    benchmark = Benchmark(folder)
    everything = list(benchmark.examples("train"))
    asked_at = [row["asked_at"] for row in rows(folder, schema.examples_file("train"))]
    found = list(Benchmark(folder).some("train", [5, 0, 5, 17, 10_000]))
    assert [one.example for one in found] == [everything[at] for at in (0, 5, 17)]
    assert [one.asked_at for one in found] == [asked_at[at] for at in (0, 5, 17)]
    assert list(benchmark.some("train", [])) == []


def test_some_examples_are_found_across_row_groups(own_folder: Path) -> None:
    everything = list(Benchmark(own_folder).examples("train"))
    for name, rows_each in (
        (schema.examples_file("train"), 2),
        (schema.ground_truth_file("train"), 3),
    ):
        pq.write_table(
            pq.read_table(own_folder / name), own_folder / name, row_group_size=rows_each
        )
    found = Benchmark(own_folder).some("train", range(1, 6))
    assert [one.example for one in found] == everything[1:6]
    assert Benchmark(own_folder).find("train", everything[5].request.id).example == everything[5]


def test_some_examples_load_only_what_they_need(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither they nor photos of a category read the whole table of photos into memory."""
    expected = Benchmark(folder)
    wanted = next(expected.examples("test"))
    drawn = expected.category_photos(wanted.request, 4)

    def few(self: Benchmark, name: str, _: object = None) -> Iterator[dict[str, Any]]:
        assert name == schema.CATEGORIES
        return iter(rows(self.folder, name))

    monkeypatch.setattr(Benchmark, "_rows", few)
    benchmark = Benchmark(folder)
    (found,) = benchmark.some("test", [0])
    assert found.example == wanted
    assert benchmark.category_photos(wanted.request, 4) == drawn


def test_an_unknown_category_is_named_with_the_known_ones(folder: Path) -> None:
    benchmark = Benchmark(folder)
    request = next(benchmark.requests("test"))
    asked = dataclasses.replace(request.question, category="moon base")
    with pytest.raises(RequestError, match=r"moon base.*museum"):
        benchmark.category_photos(dataclasses.replace(request, question=asked), 4)


def test_one_example_is_found_without_the_others(folder: Path) -> None:
    benchmark = Benchmark(folder)
    for split in schema.SPLITS:
        asked_at = [row["asked_at"] for row in rows(folder, schema.examples_file(split))]
        for number, example in enumerate(benchmark.examples(split)):
            found = Benchmark(folder).find(split, example.request.id)
            assert found.example == example
            assert found.asked_at == asked_at[number]
            assert found.asked_at.tzinfo is not None
            assert found.asked_at.astimezone(UTC) == asked_at[number]


def test_without_an_id_the_first_example_is_found(folder: Path) -> None:
    benchmark = Benchmark(folder)
    assert benchmark.find("dev").example == next(benchmark.examples("dev"))


def test_an_example_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match="The test split of tiny has no example 'nobody'"):
        Benchmark(folder).find("test", "nobody")


def test_a_split_without_examples_says_so(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=3, users=12, photos=False)
    assert Benchmark(folder).count("test") == 0
    assert list(Benchmark(folder).examples("test")) == []
    with pytest.raises(RequestError, match="test split of tiny has no examples"):
        Benchmark(folder).find("test")


def test_positions_are_read_apart(folder: Path) -> None:
    positions = Benchmark(folder).positions()
    assert set(positions) == {row["candidate_id"] for row in rows(folder, schema.CANDIDATES)}
    assert all(position.shape == (2,) for position in positions.values())


def test_photos_are_where_local_json_says_else_below_the_folder(own_folder: Path) -> None:
    (own_folder / schema.LOCAL).write_text('{"photos": "../elsewhere"}')
    assert Benchmark(own_folder).photos_folder == own_folder.parent / "elsewhere"
    (own_folder / schema.LOCAL).unlink()
    assert Benchmark(own_folder).photos_folder == own_folder / "photos"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"photos": 3}'])
def test_a_broken_local_json_says_how_to_mend_it(own_folder: Path, text: str) -> None:
    (own_folder / schema.LOCAL).write_text(text)
    with pytest.raises(BenchmarkFolderError, match=r"local\.json.*where the photos are"):
        _ = Benchmark(own_folder).photos_folder


def test_the_checksum_is_what_sha256sum_gives(folder: Path) -> None:
    names = sorted(schema.content_files())
    lines = [f"{hashlib.sha256((folder / one).read_bytes()).hexdigest()}  {one}\n" for one in names]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert Benchmark(folder).about["checksum"] == expected


def test_qrels_hold_the_ground_truth(folder: Path) -> None:
    for split in schema.SPLITS:
        lines = (folder / schema.qrels_file(split)).read_text().splitlines()
        pairs = {tuple(line.split()) for line in lines}
        assert len(pairs) == len(lines)
        assert pairs == {
            (example.request.id, "0", one, "1")
            for example in Benchmark(folder).examples(split)
            for one in example.ground_truth
        }


def test_the_tiny_benchmark_keeps_the_rules(folder: Path) -> None:
    business = {row["photo_id"]: row["business_id"] for row in rows(folder, schema.PHOTOS)}
    kinds = {row["photo_id"]: row["categories"] for row in rows(folder, schema.PHOTOS)}
    users: list[set[str]] = []
    for split in schema.SPLITS:
        written = rows(folder, schema.examples_file(split))
        users.append({row["user_id"] for row in written})
        for row, answer in zip(written, rows(folder, schema.ground_truth_file(split)), strict=True):
            assert len(row["history"]) >= 10
            assert row["history_at"] == sorted(row["history_at"])
            assert row["history_at"][-1] < row["asked_at"]
            assert row["category"] in {kind for one in row["history"] for kind in kinds[one]}
            assert not {business[one] for one in row["history"]} & set(row["candidates"])
            assert 12 <= len(row["candidates"]) == len(set(row["candidates"])) <= 40
            assert {answer["anchor"]} < set(answer["ground_truth"]) < set(row["candidates"])
    assert len(set.union(*users)) == sum(map(len, users)) == 12


def test_the_tiny_benchmark_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    folders = [
        write_tiny(tmp_path / str(number), seed=seed, photos=False)
        for number, seed in enumerate((0, 0, 1))
    ]
    one, same, other = (Benchmark(each).about["checksum"] for each in folders)
    assert one == same != other


def test_a_folder_without_a_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFolderError, match=r"holds no benchmark\.json"):
        Benchmark(tmp_path)
    with pytest.raises(BenchmarkFolderError, match=r"holds no benchmark\.json"):
        Benchmark(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "\udcff", "[]", "{}", '{"format": "one"}'])
def test_a_broken_description_is_refused(own_folder: Path, text: str) -> None:
    (own_folder / schema.ABOUT).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BenchmarkFolderError, match=r"benchmark\.json"):
        Benchmark(own_folder)


def test_a_newer_format_is_refused(own_folder: Path) -> None:
    about = json.loads((own_folder / schema.ABOUT).read_text())
    about["format"] = schema.FORMAT + 1
    (own_folder / schema.ABOUT).write_text(json.dumps(about))
    with pytest.raises(BenchmarkFolderError, match="Upgrade VisualLens"):
        Benchmark(own_folder)


def test_a_missing_file_is_named(own_folder: Path) -> None:
    (own_folder / schema.POSITIONS).unlink()
    with pytest.raises(BenchmarkFolderError, match=r"it lacks positions\.parquet"):
        Benchmark(own_folder)


def test_a_broken_table_is_named(own_folder: Path) -> None:
    (own_folder / schema.examples_file("test")).write_bytes(b"PAR1 no more")
    with pytest.raises(BenchmarkFolderError, match=r"examples-test\.parquet.*broken"):
        list(Benchmark(own_folder).requests("test"))
    with pytest.raises(BenchmarkFolderError, match=r"examples-test\.parquet.*broken"):
        Benchmark(own_folder).count("test")


def test_answers_in_another_order_are_refused(own_folder: Path) -> None:
    path = own_folder / schema.ground_truth_file("train")
    table = pq.read_table(path)
    pq.write_table(table.take(list(reversed(range(table.num_rows)))), path)
    with pytest.raises(BenchmarkFolderError, match="in different order"):
        list(Benchmark(own_folder).examples("train"))
    with pytest.raises(BenchmarkFolderError, match="in different order"):
        list(Benchmark(own_folder).some("train", [0]))
