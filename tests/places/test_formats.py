"""Every format, in a sound, an odd and a broken file."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from visuallens.errors import PlacesError
from visuallens.places import read_places
from visuallens.places.formats import read_records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLACES = [
    {"id": "a", "name": "Tea, cake", "latitude": 51.5, "longitude": -0.12},
    {"id": "b", "name": "Zoë's", "latitude": 51.6, "longitude": -0.13},
]


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _records(path: Path) -> list[tuple[int, Mapping[str, object]]]:
    return list(read_records(path))


def _refused(path: Path) -> PlacesError:
    with pytest.raises(PlacesError) as caught:
        read_places(path)
    return caught.value


def _feature(name: str, geometry: object) -> dict[str, object]:
    return {"type": "Feature", "id": 7, "properties": {"name": name}, "geometry": geometry}


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    text = f'id{delimiter}name\na{delimiter}"Tea{delimiter} cake"\n'
    path = _write(tmp_path / "places.csv", text)
    assert _records(path) == [(1, {"id": "a", "name": f"Tea{delimiter} cake"})]


def test_csv_ignores_the_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    path = _write(tmp_path / "places.csv", b"\xef\xbb\xbf\r\nname,kind\r\n\r\nZo\xc3\xab,bar\r\n")
    assert _records(path) == [(1, {"name": "Zoë", "kind": "bar"})]


def test_csv_keeps_line_breaks_inside_quotes(tmp_path: Path) -> None:
    path = _write(tmp_path / "places.csv", 'name,description\nA,"two\nlines"\nB,"one ""word"""\n')
    assert _records(path) == [
        (1, {"name": "A", "description": "two\nlines"}),
        (2, {"name": "B", "description": 'one "word"'}),
    ]


def test_csv_reads_lone_carriage_returns_as_line_ends(tmp_path: Path) -> None:
    path = _write(tmp_path / "places.csv", "name,kind\rA,bar\rB,pub")
    assert [record["name"] for _, record in _records(path)] == ["A", "B"]


def test_csv_with_one_column_is_read(tmp_path: Path) -> None:
    assert _records(_write(tmp_path / "places.txt", "name\nA\n")) == [(1, {"name": "A"})]


def test_csv_fills_short_rows_and_ignores_trailing_empty_cells(tmp_path: Path) -> None:
    path = _write(tmp_path / "places.csv", "name,kind,\nA\nB,bar,,,\n")
    assert _records(path) == [(1, {"name": "A"}), (2, {"name": "B", "kind": "bar"})]


def test_csv_row_with_too_many_cells_is_refused(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.csv", "name,kind\nA,bar\nTea, cake,bar\n"))
    assert error.row == 2
    assert "3 cells" in str(error)
    assert "double quotes" in str(error)


def test_csv_repeated_column_is_refused(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.csv", "name,kind,Name\nA,bar,B\n"))
    assert error.column == "Name"
    assert "two columns" in str(error)


def test_csv_open_quote_is_refused(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.csv", 'name\nA\n"B\n'))
    assert error.row == 2
    assert "double quote" in str(error)


def test_csv_in_another_encoding_is_refused_with_the_line(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.csv", "name\nA\nZoë\n".encode("latin-1")))
    assert "line 3, byte 3 is not UTF-8" in str(error)
    assert "encoding UTF-8" in str(error)


def test_csv_in_utf_16_is_refused(tmp_path: Path) -> None:
    assert "UTF-8" in str(_refused(_write(tmp_path / "places.csv", "name\nA\n".encode("utf-16"))))
    bare = _write(tmp_path / "bare.csv", "name\nA\n".encode("utf-16-le"))
    assert "not a text file" in str(_refused(bare))


# JSON and JSON Lines


@pytest.mark.parametrize("name", ["places", "businesses", "results"])
def test_json_list_may_stand_in_an_object(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / "places.json", json.dumps({"version": 1, name: PLACES}, indent=1))
    assert _records(path) == [(1, PLACES[0]), (2, PLACES[1])]
    assert _records(_write(path, json.dumps({name: PLACES}) + "\n\n")) == _records(path)


def test_json_list_is_read(tmp_path: Path) -> None:
    assert len(_records(_write(tmp_path / "places.json", json.dumps(PLACES)))) == 2


@pytest.mark.parametrize("name", ["business.json", "places.jsonl", "places.ndjson", "places"])
def test_json_lines_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    lines = "\n\n".join(json.dumps(place) for place in PLACES)
    assert _records(_write(tmp_path / name, lines)) == [(1, PLACES[0]), (2, PLACES[1])]


def test_json_lines_of_one_record_are_read(tmp_path: Path) -> None:
    assert _records(_write(tmp_path / "one.json", '{"name": "A"}')) == [(1, {"name": "A"})]


def test_json_lines_record_may_hold_a_list_of_its_own(tmp_path: Path) -> None:
    path = _write(tmp_path / "places.jsonl", '{"name": "A", "items": [1]}\n{"name": "B"}\n')
    assert [record["name"] for _, record in _records(path)] == ["A", "B"]


def test_broken_json_names_line_and_column(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.json", '[\n {"name": "A"},\n {"name" "B"}\n]'))
    assert "line 3, column 10" in str(error)


def test_broken_json_line_names_row_line_and_column(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.jsonl", '{"name": "A"}\n\n{"name": B}\n'))
    assert error.row == 2
    assert "line 3, column 10" in str(error)


@pytest.mark.parametrize("text", ['{"name": "A",\n "shops": 3}', '{\n"features": {}}', "[\n", "3"])
def test_json_without_a_list_of_places_is_refused(tmp_path: Path, text: str) -> None:
    assert _refused(_write(tmp_path / "places.json", text)).row is None


def test_json_without_a_list_names_what_it_has(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.json", '{"shops":\n [], "version": 1}'))
    assert "It has: shops, version" in str(error)


def test_json_place_that_is_no_object_is_refused(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.json", '[{"name": "A"}, "B"]'))
    assert error.row == 2
    assert "not an object" in str(error)


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    error = _refused(_write(tmp_path / "places.json", "[" * 200_000))
    assert "JSON" in str(error)


# GeoJSON


def test_geojson_points_are_merged_with_their_properties(tmp_path: Path) -> None:
    collection = {
        "type": "FeatureCollection",
        "features": [
            _feature("A", {"type": "Point", "coordinates": [-0.12, 51.5, 30.0]}),
            _feature("B", None),
        ],
    }
    path = _write(tmp_path / "places.geojson", json.dumps(collection))
    assert _records(path) == [
        (1, {"id": 7, "name": "A", "latitude": 51.5, "longitude": -0.12}),
        (2, {"id": 7, "name": "B"}),
    ]


def test_geojson_area_stands_at_the_middle_of_its_bounding_box(tmp_path: Path) -> None:
    ring = [[0.0, 50.0], [2.0, 50.0], [2.0, 52.0], [0.0, 50.0]]
    area = _feature("Park", {"type": "Polygon", "coordinates": [ring]})
    ((_, record),) = _records(_write(tmp_path / "places.geojson", json.dumps(area)))
    # longitudes 0..2 → 1, latitudes 50..52 → 51
    assert (record["longitude"], record["latitude"]) == (1.0, 51.0)


def test_geojson_text_sequence_is_read(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [1, 2]}
    text = "".join(f"\x1e{json.dumps(_feature(name, point))}\n" for name in "AB")
    path = _write(tmp_path / "places.geojsons", text)
    assert [record["name"] for _, record in _records(path)] == ["A", "B"]


@pytest.mark.parametrize("geometry", [{"type": "Point"}, {"coordinates": ["1", "2"]}, "POINT(1 2)"])
def test_geojson_without_coordinates_is_refused(tmp_path: Path, geometry: object) -> None:
    features = {"type": "FeatureCollection", "features": [_feature("A", geometry)]}
    error = _refused(_write(tmp_path / "places.geojson", json.dumps(features)))
    assert (error.row, error.column) == (1, "geometry")


# Parquet


def test_parquet_is_read_whatever_its_name(tmp_path: Path) -> None:
    columns = {"name": ["A", "B"], "lat": [51.5, None], "types": [["bar", "pub"], None]}
    parquet.write_table(pa.table(columns), tmp_path / "places.bin")
    assert _records(tmp_path / "places.bin") == [
        (1, {"name": "A", "lat": 51.5, "types": ["bar", "pub"]}),
        (2, {"name": "B", "lat": None, "types": None}),
    ]


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    assert "Parquet" in str(_refused(_write(tmp_path / "places.parquet", b"PAR1 and no more")))
    assert "Parquet" in str(_refused(_write(tmp_path / "other.parquet", b"name\nA\n")))


# Files


@pytest.mark.parametrize("name", ["places.csv.gz", "places.csv"])
def test_gzip_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, gzip.compress(b"name;kind\nA;bar\n"))
    assert _records(path) == [(1, {"name": "A", "kind": "bar"})]


def test_gzip_json_lines_are_read(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(place) for place in PLACES)
    path = _write(tmp_path / "meta.json.gz", gzip.compress(lines.encode()))
    assert len(_records(path)) == 2


def test_gzip_cut_short_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"name\n" + bytes(range(33, 127)) * 50)
    assert "damaged or cut short" in str(_refused(_write(tmp_path / "a.csv.gz", whole[:-12])))


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.geojson", "a.parquet", "a"])
@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_empty_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    error = _refused(_write(tmp_path / name, content))
    assert "empty" in str(error) or "Parquet" in str(error)


@pytest.mark.parametrize(("name", "text"), [("a.csv", "name,kind\n"), ("a.json", "[]")])
def test_file_without_places_is_refused(tmp_path: Path, name: str, text: str) -> None:
    assert "holds no places" in str(_refused(_write(tmp_path / name, text)))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in str(_refused(tmp_path / "nothing.csv"))
    assert "folder" in str(_refused(tmp_path))


def test_spreadsheet_is_refused_with_advice(tmp_path: Path) -> None:
    assert "Save it as CSV" in str(_refused(_write(tmp_path / "a.xlsx", b"PK\x03\x04rest")))
