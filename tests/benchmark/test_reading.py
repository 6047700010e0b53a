from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from visuallens import registry
from visuallens.benchmark.base import Job, RawFile, Rules, Table
from visuallens.benchmark.datasets.google import opaque
from visuallens.benchmark.reading import SHAPES, FileReport, ReadTask, read_file, text_hash
from visuallens.config import BenchmarkSettings
from visuallens.errors import RawDataError

# Any: rows of a Parquet file.
Row = dict[str, Any]


def task(
    path: Path,
    table: Table = "reviews",
    *,
    dataset: str = "google-review-v",
    limit: float = 0.05,
    bits: int = 0,
    number: int = 0,
) -> ReadTask:
    settings = BenchmarkSettings(max_rejected_share=limit)
    rules = Rules.resolve(settings, registry.load("datasets", dataset).defaults)
    out = path.with_name(f"{path.name}.out-{bits}")
    out.mkdir(exist_ok=True)
    job = Job(dataset, path.parent, rules, seed=0, memory_gb=1, workers=1)
    return ReadTask(job, RawFile(path, table), number, out, bits)


def rows(one: ReadTask, bucket: int = 0) -> list[Row]:
    end = f"-{bucket}" if one.raw.table == "reviews" else ""
    path = one.out / f"{one.raw.table}-{one.number}{end}.parquet"
    found: list[Row] = pq.read_table(path).to_pylist()
    return found


def review(user: object, time_ms: object = 1) -> bytes:
    pics = [{"url": [f"https://p/{user}"]}]
    return json.dumps({"user_id": user, "gmap_id": "b", "time": time_ms, "pics": pics}).encode()


GOOD, BAD = review("u"), review(None)


def written(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def test_a_review_becomes_a_row_that_knows_where_it_stood(tmp_path: Path) -> None:
    one = task(written(tmp_path / "review-A.json", b"", review("é", 7.0)), number=3)
    report = read_file(one)
    assert rows(one) == [
        {
            "user_id": "é", "business_id": opaque("b"), "at_ms": 7,
            "photos": ["https://p/é"], "file": 3, "line": 2, "user_hash": text_hash("é"),
        }
    ]  # fmt: skip
    assert (report.file, report.table, report.rows) == ("review-A.json", "reviews", 1)


@pytest.mark.parametrize("table", ["businesses", "photos"])
def test_other_tables_lie_in_one_file(tmp_path: Path, table: Table) -> None:
    text = b'{"business_id": "b", "name": "B", "photo_id": "p", "categories": "Bars, Food"}'
    one = task(written(tmp_path / "rows.json", text), table, dataset="yelp-v", bits=2)
    read_file(one)
    (row,) = rows(one)
    assert row["business_id"] == "b"
    assert pq.read_schema(one.out / f"{table}-0.parquet").equals(SHAPES[table])


@pytest.mark.parametrize("name", ["review-A.json", "review-A.json.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_gzip_is_known_by_its_content(tmp_path: Path, name: str, packed: bool) -> None:
    content = b"\n".join([review("u", 1), review("v", 2)])
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if packed else content)
    one = task(path)
    report = read_file(one)
    assert [row["user_id"] for row in rows(one)] == ["u", "v"]
    assert report.bytes == path.stat().st_size
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_gzip_file_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "review-A.json.gz"
    # Zeros behind the data are allowed; tapes and some downloads have them.
    path.write_bytes(gzip.compress(GOOD + b"\n") + gzip.compress(GOOD + b"\n") + bytes(100))
    report = read_file(task(path))
    assert report.rows == 2
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.bytes == path.stat().st_size


@pytest.mark.parametrize("packed", [False, True])
def test_the_checksum_of_a_large_file_is_that_of_its_bytes(tmp_path: Path, packed: bool) -> None:
    content = b"".join(review(f"u{number}") + b"\n" for number in range(40_000))
    path = tmp_path / "review-A.json"
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    report = read_file(task(path))
    assert report.rows == 40_000
    assert report.bytes == path.stat().st_size
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_broken_gzip_tail_is_refused_with_file_and_line(tmp_path: Path) -> None:
    # Stored and not compressed, so a cut in the middle of the bytes is one in the rows.
    whole = gzip.compress(b"".join(review(f"u{n:04d}") + b"\n" for n in range(1000)), 0)
    path = tmp_path / "review-A.json.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RawDataError) as caught:
        read_file(task(path))
    assert caught.value.line is not None
    assert 1 <= caught.value.line <= 501
    assert caught.value.path == f"{path}, line {caught.value.line}"
    assert "gzip data breaks off" in str(caught.value)
    assert str(caught.value).endswith("Download it again.")


@pytest.mark.parametrize("damage", ["cut", "flipped", "header", "trailer", "after"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(b"".join(review(f"u{n}") + b"\n" for n in range(1000)))
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:-1],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "header": whole[:2] + b"\xff" + whole[3:],
        "trailer": whole[:-8] + bytes(8),
        "after": whole + b"<html>",
    }
    path = tmp_path / "review-A.json.gz"
    path.write_bytes(damaged[damage])
    with pytest.raises(RawDataError, match=r"review-A\.json\.gz, line \d+: its gzip data"):
        read_file(task(path, limit=1))


@pytest.mark.parametrize(
    "content", [b"", b"\n \r\n\t\n", gzip.compress(b"", mtime=0)], ids=["empty", "blank", "gzip"]
)
def test_a_file_without_rows_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "review-A.json"
    path.write_bytes(content)
    with pytest.raises(RawDataError, match=r"review-A\.json: it holds no row"):
        read_file(task(path, bits=1))


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "review-A.json"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD + b"\n")
    report = read_file(task(path, limit=0))
    assert (report.rows, report.rejected) == (2, {})
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_malformed_rows_in_one_place_do_not_stop_a_file_that_is_mostly_good(
    tmp_path: Path,
) -> None:
    content = [*[GOOD] * 940, *[BAD] * 60, *[GOOD] * 8910]
    assert read_file(task(written(tmp_path / "review-A.json", *content))).rows == 9850


def test_blank_lines_count_as_lines_and_not_as_rows(tmp_path: Path) -> None:
    path = tmp_path / "review-A.json"
    path.write_bytes(b"\n" + GOOD + b"\r\n   \n" + BAD + b"\n\n" + GOOD)
    one = task(path, limit=0.5)
    report = read_file(one)
    assert [row["line"] for row in rows(one)] == [2, 6]
    assert report.shown == ["review-A.json, line 4: no user_id"]


def test_malformed_rows_are_counted_and_the_first_of_each_reason_shown(tmp_path: Path) -> None:
    path = tmp_path / "review-A.json"
    content = [BAD] * 7 + [b"{"] + [GOOD] * 2 + [b"{"]
    report = read_file(task(written(path, *content), limit=0.9))
    assert report.rows == 2
    assert report.rejected == {"no user_id": 7, "not JSON": 2}
    assert report.shown == [
        *(f"review-A.json, line {number}: no user_id" for number in range(1, 6)),
        "review-A.json, line 8: not JSON",
        "review-A.json, line 11: not JSON",
    ]


def test_a_header_is_neither_row_nor_mistake(tmp_path: Path) -> None:
    path = written(tmp_path / "ratings.csv", b"userId,movieId,rating,timestamp", b"u,1,5.0,9")
    report = read_file(task(path, dataset="movielens-v", limit=0))
    assert (report.rows, report.rejected) == (1, {})


@pytest.mark.parametrize("space", [" ", "\t", "\u00a0"])
def test_an_id_that_qrels_could_not_hold_is_malformed(tmp_path: Path, space: str) -> None:
    texts = [json.dumps({"business_id": one}).encode() for one in (f"a{space}b", "ab")]
    path = written(tmp_path / "business.json", *texts)
    report = read_file(task(path, "businesses", dataset="yelp-v", limit=1))
    assert report.rejected == {"a space in the business's id": 1}


def test_too_many_malformed_rows_stop_the_build_at_the_end(tmp_path: Path) -> None:
    path = written(tmp_path / "review-A.json", *[GOOD] * 94, *[BAD] * 6)
    with pytest.raises(RawDataError) as caught:
        read_file(task(path))
    message = str(caught.value)
    assert "6 of 100 rows are malformed: 6 x no user_id" in message
    assert "for instance review-A.json, line 95: no user_id" in message
    assert "raise benchmark.max_rejected_share" in message


def test_just_as_many_as_allowed_do_not_stop_it(tmp_path: Path) -> None:
    assert read_file(task(written(tmp_path / "a", *[GOOD] * 95, *[BAD] * 5))).rows == 95
    assert read_file(task(written(tmp_path / "b", GOOD, *[BAD] * 5), limit=1)).rows == 1
    with pytest.raises(RawDataError):
        read_file(task(written(tmp_path / "c", *[GOOD] * 99, BAD), limit=0))


def test_a_hopeless_file_is_given_up_early(tmp_path: Path) -> None:
    path = written(tmp_path / "review-A.json", *[b"<html>"] * 1000, *[GOOD] * 50_000)
    with pytest.raises(RawDataError, match=r"1,000 of 1,000 rows are malformed"):
        read_file(task(path))


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match=r"it cannot be read \(No such file"):
        read_file(task(tmp_path / "review-A.json"))
    (tmp_path / "review-B.json").mkdir()
    with pytest.raises(RawDataError, match="it cannot be read"):
        read_file(task(tmp_path / "review-B.json"))


def test_a_time_that_no_table_can_hold_is_malformed(tmp_path: Path) -> None:
    path = written(tmp_path / "ratings.csv", b"u,1,5.0,9", b"u,1,5.0,99999999999999999999")
    report: FileReport = read_file(task(path, dataset="movielens-v", limit=1))
    assert (report.rows, sum(report.rejected.values())) == (1, 1)


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """1,200 reviews of 300 users, who take turns."""
    return written(tmp_path / "crowd.json", *(review(f"u{n % 300}", n) for n in range(1200)))


@pytest.mark.parametrize("bits", [1, 3])
def test_buckets_share_out_users_and_lose_nothing(crowd: Path, bits: int) -> None:
    whole, cut = task(crowd), task(crowd, bits=bits)
    assert read_file(whole) == read_file(cut)
    buckets = [rows(cut, bucket) for bucket in range(2**bits)]
    users = [{row["user_id"] for row in bucket} for bucket in buckets]
    assert all(users)
    assert sum(map(len, users)) == len(set.union(*users)) == 300
    together = [row for bucket in buckets for row in bucket]
    assert sorted(together, key=lambda row: int(row["line"])) == rows(whole)


def test_rows_keep_their_order_and_buckets_follow_the_hash(crowd: Path) -> None:
    cut = task(crowd, bits=2)
    read_file(cut)
    assert len(list(cut.out.iterdir())) == 4
    last = -1
    for bucket in range(4):
        found = rows(cut, bucket)
        assert [row["line"] for row in found] == sorted(row["line"] for row in found)
        hashes = [row["user_hash"] for row in found]
        assert last < min(hashes)
        assert all(row["user_hash"] == text_hash(row["user_id"]) for row in found)
        last = max(hashes)


def test_reading_twice_gives_the_same_bytes(crowd: Path) -> None:
    cut = task(crowd, bits=1)
    read_file(cut)
    first = {path.name: path.read_bytes() for path in cut.out.iterdir()}
    read_file(cut)
    assert {path.name: path.read_bytes() for path in cut.out.iterdir()} == first


def test_hashes_are_the_same_on_every_machine() -> None:
    # `printf %s TEXT | b2sum -l 64`
    assert [f"{text_hash(text):016x}" for text in ("", "user", "é")] == [
        "e4a6a0577479b2b4", "afdf5c9a7bd48d63", "cb1abf8beff3192f",
    ]  # fmt: skip
