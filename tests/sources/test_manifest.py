from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visuallens.errors import SourceError
from visuallens.sources.base import FoundFile
from visuallens.sources.manifest import ManifestSource
from visuallens.types import GeoPoint, Refusal, RefusalReason

# Any: manifest cells are of many types.
Row = dict[str, Any]


def write_jsonl(folder: Path, rows: list[Row]) -> Path:
    path = folder / "photos.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def find(path: Path) -> list[FoundFile | Refusal]:
    return list(ManifestSource(path).find())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pics").mkdir()
    for name in ("pics/a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def test_json_lines(folder: Path) -> None:
    row = {
        "path": "pics/a.jpg",
        "user_id": "ada",
        "taken_at": "2024-05-31T18:30:00+02:00",
        "latitude": 51.5,
        "longitude": -0.1,
        "caption": "Tea\n" + "by the river " * 20,
        "note": "ignored",
    }

    (file, plain) = find(write_jsonl(folder, [row, {"path": "b.jpg", "user_id": 7}]))

    assert isinstance(file, FoundFile)
    assert file.path == folder / "pics/a.jpg"
    assert file.size_bytes == 5
    assert file.user_id == "ada"
    assert file.taken_at == datetime(2024, 5, 31, 18, 30, tzinfo=timezone(timedelta(hours=2)))
    assert file.location == GeoPoint(51.5, -0.1)
    assert file.caption is not None
    assert file.caption.startswith("Tea by the river by")
    assert len(file.caption.split()) == 30
    assert isinstance(plain, FoundFile)
    assert (plain.user_id, plain.taken_at, plain.location) == ("7", None, None)
    assert plain.caption is None


def test_csv_with_byte_order_mark_and_empty_cells(folder: Path) -> None:
    path = folder / "photos.csv"
    text = "path,user_id,taken_at,latitude,longitude\npics/a.jpg,ada,2024-05-31T18:30:00Z,1,2\n"
    path.write_text(text + "b.jpg,,,,\n", encoding="utf-8-sig")

    (file, plain) = find(path)

    assert isinstance(file, FoundFile)
    assert file.taken_at == datetime(2024, 5, 31, 18, 30, tzinfo=UTC)
    assert file.location == GeoPoint(1.0, 2.0)
    assert isinstance(plain, FoundFile)
    assert (plain.user_id, plain.taken_at, plain.location) == (None, None, None)


def test_parquet_with_timestamps_and_missing_numbers(folder: Path) -> None:
    path = folder / "photos.parquet"
    columns = {
        "path": ["pics/a.jpg", "b.jpg"],
        "taken_at": [datetime(2024, 5, 31, 18, 30, tzinfo=UTC), None],
        "latitude": [1.0, float("nan")],
        "longitude": [2.0, float("nan")],
    }
    pq.write_table(pa.table(columns), path)

    (file, plain) = find(path)

    assert isinstance(file, FoundFile)
    assert file.taken_at == datetime(2024, 5, 31, 18, 30, tzinfo=UTC)
    assert isinstance(plain, FoundFile)
    assert plain.location is None


def test_rows_keep_their_order_and_absolute_paths_work(folder: Path) -> None:
    rows: list[Row] = [{"path": "b.jpg"}, {"path": str(folder / "pics/a.jpg")}, {"path": "b.jpg"}]

    names = [
        item.path.name for item in find(write_jsonl(folder, rows)) if isinstance(item, FoundFile)
    ]

    assert names == ["b.jpg", "a.jpg", "b.jpg"]


def test_a_missing_file_is_refused_and_the_run_goes_on(folder: Path) -> None:
    refusal, file = find(write_jsonl(folder, [{"path": "gone.jpg"}, {"path": "b.jpg"}]))

    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.MISSING
    assert refusal.path.endswith("gone.jpg")
    assert isinstance(file, FoundFile)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"path": ""}, "path"),
        ({"path": None}, "path"),
        ({"path": 5}, "path"),
        ({"path": "a\0b"}, "path"),
        ({"taken_at": "last summer"}, "taken_at"),
        ({"taken_at": 1700000000}, "taken_at"),
        ({"latitude": "north", "longitude": 2}, "latitude"),
        ({"latitude": 91, "longitude": 2}, "latitude"),
        ({"latitude": 1, "longitude": 181}, "longitude"),
        ({"latitude": 1}, "longitude"),
        ({"longitude": 1}, "latitude"),
        ({"latitude": True, "longitude": 1}, "latitude"),
        ({"latitude": [1], "longitude": 1}, "latitude"),
        ({"user_id": ["ada"]}, "user_id"),
        ({"caption": 7}, "caption"),
    ],
)
def test_a_malformed_cell_is_refused_with_row_and_column(
    folder: Path, change: Row, column: str
) -> None:
    rows = [{"path": "b.jpg"}, {"path": "b.jpg"} | change, {"path": "b.jpg"}]

    first, refusal, last = find(write_jsonl(folder, rows))

    assert isinstance(first, FoundFile)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.UNREADABLE
    assert f"row 2 of photos.jsonl, column '{column}'" in refusal.detail
    assert isinstance(last, FoundFile)


def test_a_line_that_is_not_json_is_refused(folder: Path) -> None:
    path = folder / "photos.jsonl"
    path.write_bytes(b'{"path": "b.jpg"}\n{"path": \n\n[1]\n\xff\xfe\n{"path": "b.jpg"}')

    items = find(path)

    assert [isinstance(item, Refusal) for item in items] == [False, True, True, True, False]


@pytest.mark.parametrize("name", ["photos.jsonl", "photos.csv", "photos.parquet"])
def test_a_table_without_a_path_column_is_a_source_error(folder: Path, name: str) -> None:
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"file": ["a.jpg"]}), path)
    else:
        text = '{"file": "a.jpg"}\n' if path.suffix == ".jsonl" else "file\na.jpg\n"
        path.write_text(text, encoding="utf-8")

    with pytest.raises(SourceError, match="no column 'path'"):
        ManifestSource(path).find()


def test_an_empty_table_has_no_photos(folder: Path) -> None:
    for name, text in (("a.jsonl", ""), ("a.csv", "path\n")):
        (folder / name).write_text(text, encoding="utf-8")

        assert find(folder / name) == []


@pytest.mark.parametrize("name", ["gone.jsonl", "gone.csv", "gone.parquet"])
def test_a_missing_table_is_a_source_error(folder: Path, name: str) -> None:
    with pytest.raises(SourceError, match="Check the path"):
        ManifestSource(folder / name).find()


def test_a_file_that_is_not_parquet_is_a_source_error(folder: Path) -> None:
    (folder / "a.parquet").write_bytes(b"not parquet at all")

    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        ManifestSource(folder / "a.parquet").find()


def test_csv_that_breaks_off_names_the_row(folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"path\nb.jpg\n" + b"b.jpg\n" * 9000 + b"\xff.jpg\n")

    with pytest.raises(SourceError, match=r"row \d+ cannot be read"):
        find(folder / "a.csv")


def test_rows_are_read_one_by_one(folder: Path) -> None:
    items = ManifestSource(write_jsonl(folder, [{"path": "b.jpg"}] * 3)).find()

    assert isinstance(next(items), FoundFile)
    assert len(list(items)) == 2
