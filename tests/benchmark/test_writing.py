from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuallens.benchmark import schema
from visuallens.benchmark.writing import (
    QrelsWriter,
    TableWriter,
    checksum,
    discard,
    file_checksum,
    finish,
    refuse_existing,
    write_json,
)
from visuallens.errors import BenchmarkFolderError

# Any: pyarrow is untyped.
COLUMNS: Any = pa.schema(
    [("id", pa.int64()), ("name", pa.string()), ("photos", pa.list_(pa.string()))]
)
ROWS = 20_000
TABLE: Any = pa.table(
    {
        "id": range(ROWS),
        "name": [None if n % 7 == 0 else f"né{n % 900}" for n in range(ROWS)],
        "photos": [[f"p{n % 50}"] * (n % 4) if n % 11 else None for n in range(ROWS)],
    },
    schema=COLUMNS,
)


def write(path: Path, *tables: Any) -> bytes:  # noqa: ANN401 - pyarrow is untyped
    with TableWriter(path, COLUMNS) as writer:
        for table in tables:
            writer.write(table)
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table, written at once."""
    return write(tmp_path_factory.mktemp("whole") / "t.parquet", TABLE)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, ROWS) | st.sampled_from([8191, 8192, 8193, 16384]), max_size=9))
def test_the_bytes_are_the_same_however_the_rows_are_cut(whole: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), ROWS]
    parts = [TABLE.slice(a, b - a) for a, b in pairwise(ends)]
    with tempfile.TemporaryDirectory() as folder:
        assert write(Path(folder) / "t.parquet", *parts) == whole


def test_chunks_other_types_and_the_order_of_columns_make_no_difference(
    whole: bytes, tmp_path: Path
) -> None:
    names = pa.chunked_array([TABLE["name"].slice(at, 100) for at in range(0, ROWS, 100)])
    other = pa.table(
        {
            "more": range(ROWS),
            "photos": TABLE["photos"].cast(pa.list_(pa.large_string())),
            "name": names.dictionary_encode(),
            "id": TABLE["id"].cast(pa.int32()),
        }
    )
    assert write(tmp_path / "t.parquet", other) == whole


def test_row_groups_have_one_size_and_all_rows_come_back(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", *(TABLE.slice(at, 3000) for at in range(0, ROWS, 3000)))
    file = pq.ParquetFile(tmp_path / "t.parquet")
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    # 20,000 = 2 * 8,192 + 3,616
    assert groups == [8192, 8192, 3616]
    assert file.read().equals(TABLE)


def test_a_table_without_rows_is_a_file_with_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    assert write(tmp_path / "b.parquet", TABLE.slice(0, 0)) == (tmp_path / "a.parquet").read_bytes()
    assert pq.read_table(tmp_path / "a.parquet").equals(TABLE.slice(0, 0))


def test_a_missing_column_and_a_wrong_type_are_errors(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "t.parquet", COLUMNS) as writer:
        with pytest.raises(KeyError, match="photos"):
            writer.write(pa.table({"id": [1], "name": ["a"]}))
        with pytest.raises(pa.ArrowInvalid):
            writer.write(pa.table({"id": ["one"], "name": ["a"], "photos": [["p"]]}))
        writer.write(TABLE.slice(5, 1))
    assert pq.read_table(tmp_path / "t.parquet").equals(TABLE.slice(5, 1))


def test_an_error_goes_through_and_the_file_is_closed(tmp_path: Path) -> None:
    def fail() -> None:
        with (
            TableWriter(tmp_path / "t.parquet", COLUMNS) as writer,
            QrelsWriter(tmp_path / "qrels.txt") as qrels,
        ):
            writer.write(TABLE.slice(0, 10))
            qrels.write("a", ["b"])
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert (tmp_path / "qrels.txt").read_text("utf-8") == "a 0 b 1\n"
    (tmp_path / "t.parquet").unlink()


def test_qrels_are_sorted_lines_without_carriage_returns(tmp_path: Path) -> None:
    with QrelsWriter(tmp_path / "qrels.txt") as qrels:
        qrels.write("e2", {"b", "a", "0x1:0x2"})
        qrels.write("e1", [])
        qrels.write("é", frozenset({"z"}))
    lines = "e2 0 0x1:0x2 1\ne2 0 a 1\ne2 0 b 1\né 0 z 1\n"
    assert (tmp_path / "qrels.txt").read_bytes() == lines.encode()


# --- finishing --------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with every file of a benchmark, whatever is in them."""
    folder = tmp_path / "work"
    folder.mkdir()
    for number, name in enumerate(schema.content_files()):
        (folder / name).write_bytes(b"x" * number)
    return folder


def test_a_finished_folder_has_its_name_and_its_checksums(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = finish(work, out, {"name": "é", "seed": 7}, tmp_path / "photos")
    assert not work.exists()
    assert json.loads((out / schema.ABOUT).read_text("utf-8")) == whole
    assert (whole["name"], whole["seed"], whole["format"]) == ("é", 7, schema.FORMAT)
    assert list(whole["files"]) == sorted(schema.content_files())
    for name, known in whole["files"].items():
        assert known == hashlib.sha256((out / name).read_bytes()).hexdigest()
    local = json.loads((out / schema.LOCAL).read_text("utf-8"))
    assert local == {"photos": str(tmp_path / "photos")}
    assert {path.name for path in out.iterdir()} == {
        *schema.content_files(), schema.ABOUT, schema.LOCAL,
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum here")
def test_the_checksum_is_what_sha256sum_says(work: Path, tmp_path: Path) -> None:
    whole = finish(work, tmp_path / "out", {}, tmp_path)
    names = sorted(schema.content_files())
    listed = subprocess.run(
        ["sha256sum", *names], cwd=tmp_path / "out", capture_output=True, check=True
    ).stdout
    of_list = subprocess.run(["sha256sum"], input=listed, capture_output=True, check=True).stdout
    assert of_list.decode().split()[0] == whole["checksum"] == checksum(whole["files"])


def test_neither_clock_nor_place_is_in_the_checksum(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work, tmp_path / "again")
    one = finish(work, tmp_path / "one", {"seed": 0}, tmp_path / "a")
    other = finish(tmp_path / "again", tmp_path / "other", {"seed": 0}, tmp_path / "b")
    assert one == other
    about = [(tmp_path / name / schema.ABOUT).read_bytes() for name in ("one", "other")]
    assert about[0] == about[1]


def test_any_changed_file_changes_the_checksum() -> None:
    files = {"a.parquet": "00", "b.parquet": "11"}
    sums = {
        checksum(changed)
        for changed in (files, files | {"a.parquet": "01"}, {"a.parquet": "11", "b.parquet": "00"})
    }
    assert len(sums) == 3
    assert checksum(dict(reversed(files.items()))) in sums


def test_an_empty_folder_is_taken(work: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    finish(work, tmp_path / "out", {}, tmp_path)
    assert (tmp_path / "out" / schema.ABOUT).is_file()


@pytest.mark.parametrize("kind", ["file", "full folder", "hidden file"])
def test_what_is_there_already_is_never_overwritten(work: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    kept = out if kind == "file" else out / (".keep" if kind == "hidden file" else "notes.txt")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(BenchmarkFolderError, match="there is something here already"):
        finish(work, out, {}, tmp_path)
    assert kept.read_text() == "mine"
    assert not (work / schema.ABOUT).exists()
    refuse_existing(tmp_path / "nothing")


def test_a_missing_file_leaves_nothing_that_looks_finished(work: Path, tmp_path: Path) -> None:
    (work / schema.CANDIDATES).unlink()
    with pytest.raises(FileNotFoundError):
        finish(work, tmp_path / "out", {}, tmp_path)
    assert not (tmp_path / "out").exists()
    assert not (work / schema.ABOUT).exists()


def test_the_checksum_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_checksum(tmp_path / "file") == known


def test_json_is_the_same_for_the_same_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": "é", "a": [1, None]})
    first = path.read_bytes()
    write_json(path, {"a": [1, None], "b": "é"})
    assert path.read_bytes() == first
    assert "é".encode() in first
    assert first.endswith(b"}\n")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_bytes() == first
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_discarding_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    discard(tmp_path / "nothing")
    (tmp_path / "full" / "deep").mkdir(parents=True)
    discard(tmp_path / "full")
    assert not (tmp_path / "full").exists()
