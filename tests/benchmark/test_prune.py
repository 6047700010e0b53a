from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tests.benchmark.tiny import DROPPED, write_tiny

from visuallens.benchmark import prune as prune_module
from visuallens.benchmark import schema
from visuallens.benchmark.audit import audit
from visuallens.benchmark.export import export_datasets
from visuallens.benchmark.export.staging import unfinished
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.prune import GONE_CATEGORY, GONE_SHORT, prune
from visuallens.cli.benchmark import command
from visuallens.errors import BenchmarkFolderError

# Any: rows of Parquet files.
Row = dict[str, Any]


@pytest.fixture
def whole(tmp_path: Path) -> Benchmark:
    return Benchmark(write_tiny(tmp_path / "whole"))


def _rows(benchmark: Benchmark, name: str) -> list[Row]:
    rows: list[Row] = pq.read_table(benchmark.path(name)).to_pylist()
    return rows


def _examples(benchmark: Benchmark) -> list[Row]:
    return [row for split in schema.SPLITS for row in _rows(benchmark, schema.examples_file(split))]


def _delete(benchmark: Benchmark, photo_ids: set[str]) -> None:
    for row in _rows(benchmark, schema.PHOTOS):
        if row["photo_id"] in photo_ids:
            (benchmark.photos_folder / row["path"]).unlink()


def test_with_every_file_there_only_the_origin_is_new(whole: Benchmark, tmp_path: Path) -> None:
    pruned, about = prune(whole, tmp_path / "out")
    assert about["checksum"] == whole.about["checksum"] == about["pruned_from"]
    assert (pruned.photos_gone, pruned.dropped.total()) == (0, 0)
    assert {**about, "counts": 0, "pruned_from": 0} == {
        **whole.about,
        "counts": 0,
        "pruned_from": 0,
    }


def test_a_photo_that_is_gone_is_in_no_table_and_histories_keep_their_order(
    whole: Benchmark, tmp_path: Path
) -> None:
    longest = max(_examples(whole), key=lambda row: len(row["history"]))
    gone = {longest["history"][1]}
    _delete(whole, gone)
    pruned, about = prune(whole, tmp_path / "out")
    after = Benchmark(tmp_path / "out")
    assert pruned.photos_gone == 1
    for name in (schema.CANDIDATES, schema.CATEGORIES):
        assert not gone & {one for row in _rows(after, name) for one in row["photos"]}
    assert gone.isdisjoint(row["photo_id"] for row in _rows(after, schema.PHOTOS))
    left = {row["example_id"]: row for row in _examples(after)}
    for row in _examples(whole):
        pairs = zip(row["history"], row["history_at"], strict=True)
        expected = [pair for pair in pairs if pair[0] not in gone]
        if len(expected) < 10 or row["example_id"] not in left:
            assert row["example_id"] not in left
            continue
        new = left[row["example_id"]]
        assert list(zip(new["history"], new["history_at"], strict=True)) == expected
        assert new["candidates"] == row["candidates"]
    assert about["pruned_from"] == whole.about["checksum"] != about["checksum"]
    assert after.photos_folder == whole.photos_folder


def test_short_histories_and_lost_categories_drop_examples_and_are_counted(
    whole: Benchmark, tmp_path: Path
) -> None:
    categories = {row["photo_id"]: row["categories"] for row in _rows(whole, schema.PHOTOS)}
    longest = max(_examples(whole), key=lambda row: len(row["history"]))
    of_category = {one for one in longest["history"] if longest["category"] in categories[one]}
    shortest = min(
        (row for row in _examples(whole) if row["user_id"] != longest["user_id"]),
        key=lambda row: len(row["history"]),
    )
    gone = of_category | set(shortest["history"][:1])
    _delete(whole, gone)
    short = lacking = 0
    for row in _examples(whole):
        left = [one for one in row["history"] if one not in gone]
        short += len(left) < 10
        lacking += len(left) >= 10 and all(row["category"] not in categories[one] for one in left)
    assert short > 0
    assert lacking > 0
    pruned, about = prune(whole, tmp_path / "out")
    assert pruned.dropped == {GONE_SHORT: short, GONE_CATEGORY: lacking}
    assert about["counts"]["dropped"] == {**DROPPED, GONE_SHORT: short, GONE_CATEGORY: lacking}
    assert about["counts"]["photos_gone"]["photos"] == len(gone)
    assert sum(one["examples"] for one in pruned.splits.values()) == 60 - short - lacking


def test_a_pruned_benchmark_passes_the_audit(whole: Benchmark, tmp_path: Path) -> None:
    _delete(whole, {row["photo_id"] for row in _rows(whole, schema.PHOTOS)[::9]})
    prune(whole, tmp_path / "out")
    after = Benchmark(tmp_path / "out")
    found = audit(after)
    assert list(found.leaks) == []
    assert {one.name: one.verdict.value for one in found.checks}["pairs"] == "ok"
    for split in schema.SPLITS:
        assert len(list(after.examples(split))) == after.count(split)


def test_without_any_file_it_says_how_to_fetch_and_writes_nothing(
    whole: Benchmark, tmp_path: Path
) -> None:
    shutil.rmtree(whole.photos_folder)
    with pytest.raises(BenchmarkFolderError, match=r"not one .*visuallens benchmark fetch"):
        prune(whole, tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["whole"]


def test_where_no_example_is_left_nothing_is_written(whole: Benchmark, tmp_path: Path) -> None:
    _delete(whole, {row["photo_id"] for row in _rows(whole, schema.PHOTOS)[1:]})
    with pytest.raises(BenchmarkFolderError, match=r"no example .*visuallens benchmark fetch"):
        prune(whole, tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["whole"]


def test_lists_are_shortened_without_a_database_and_whatever_fits_into_memory(
    whole: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database would collect histories again, and does not spill what it collects."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    _delete(whole, {row["photo_id"] for row in _rows(whole, schema.PHOTOS)[::15]})
    _, at_once = prune(whole, tmp_path / "at once")
    monkeypatch.setattr(prune_module, "_BATCH_ROWS", 3)
    monkeypatch.setattr(prune_module, "_BATCH_PHOTOS", 40)
    monkeypatch.setattr(prune_module, "_PHOTO_ROWS", 7)
    longest = max(
        sum(map(len, rows.column("history").to_pylist()))
        for split in schema.SPLITS
        for rows in prune_module._batches(whole, schema.examples_file(split), "history")
    )
    assert longest < 40 + 3 * max(len(row["history"]) for row in _examples(whole))
    monkeypatch.setattr(prune_module, "_PHOTO_ROWS", 8192)
    _, in_parts = prune(whole, tmp_path / "in parts")
    assert in_parts == at_once


def test_a_photo_id_that_occurs_twice_is_refused(whole: Benchmark, tmp_path: Path) -> None:
    path = whole.path(schema.PHOTOS)
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)
    with pytest.raises(BenchmarkFolderError, match="photo id occurs twice"):
        prune(whole, tmp_path / "out")


def test_ground_truth_of_other_examples_is_refused(whole: Benchmark, tmp_path: Path) -> None:
    path = whole.path(schema.ground_truth_file("test"))
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(BenchmarkFolderError, match="test are in different order"):
        prune(whole, tmp_path / "out")


def test_two_commands_to_one_folder_do_not_disturb_each_other(
    whole: Benchmark, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with unfinished(out) as work:
        (work / "mine").touch()
        with pytest.raises(BenchmarkFolderError, match="another command is writing here"):
            prune(whole, out)
        with pytest.raises(BenchmarkFolderError, match="another command is writing here"):
            export_datasets(whole, out, ["test"])
        assert (work / "mine").exists()
    prune(whole, out)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "whole"]


@pytest.mark.parametrize("how", ["link", "here"])
def test_an_empty_folder_is_filled_through_a_link_or_from_within(
    whole: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    empty, link = tmp_path / "empty", tmp_path / "link"
    empty.mkdir()
    link.symlink_to(empty)
    monkeypatch.chdir(empty)
    prune(Benchmark(Path("../whole")), link if how == "link" else Path())
    after = Benchmark(link)
    assert list(after.examples("test")) == list(Benchmark(empty).examples("test"))
    assert after.photos_folder == whole.photos_folder
    assert Path("benchmark.json").is_file()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "link", "whole"]


def test_a_disk_that_refuses_is_told_with_its_reason(whole: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchmarkFolderError, match=r"Not a directory.*another --out"):
        prune(whole, tmp_path / "file" / "out")
    (tmp_path / "out.part").touch()
    with pytest.raises(BenchmarkFolderError, match=r"out\.part.*File exists"):
        prune(whole, tmp_path / "out")


def test_a_full_disk_is_told_and_leaves_no_folder(
    whole: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(BenchmarkFolderError, match="No space left on device"):
        prune(whole, tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["whole"]


def test_a_photo_outside_the_folder_is_refused(whole: Benchmark, tmp_path: Path) -> None:
    path = whole.path(schema.PHOTOS)
    rows = pq.read_table(path).to_pylist()
    rows[-1]["path"] = "../../etc/passwd"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.PHOTOS_SCHEMA), path)
    with pytest.raises(BenchmarkFolderError, match=r"photos\.parquet.*leads out"):
        prune(whole, tmp_path / "out")


def test_what_is_there_already_is_not_written_over(whole: Benchmark, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(BenchmarkFolderError, match="something here already"):
        prune(whole, out)
    assert [one.name for one in out.iterdir()] == ["mine.txt"]


def test_a_prune_that_fails_leaves_no_folder(whole: Benchmark, tmp_path: Path) -> None:
    whole.path(schema.ground_truth_file("test")).write_bytes(b"not parquet")
    with pytest.raises(BenchmarkFolderError, match="it is broken"):
        prune(whole, tmp_path / "out")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["whole"]


def test_the_command_says_what_was_dropped(whole: Benchmark, tmp_path: Path) -> None:
    _delete(whole, {row["photo_id"] for row in _rows(whole, schema.PHOTOS)[::20]})
    arguments = ["prune", str(whole.folder), "--out"]
    shown = CliRunner().invoke(command, [*arguments, str(tmp_path / "text")])
    assert shown.exit_code == 0, shown.output
    assert "photos_gone" in shown.stdout
    written = CliRunner().invoke(command, [*arguments, str(tmp_path / "json"), "--json"])
    record = json.loads(written.stdout)
    assert record["photos_gone"] == -(-record["photos"] // 20)
    assert record["checksum"] == Benchmark(tmp_path / "json").about["checksum"]
