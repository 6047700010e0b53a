from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tests.benchmark.photo_server import PhotoServer, photo_server
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark import schema
from visuallens.benchmark.download import Limits, sized
from visuallens.benchmark.fetch import FAILURES, FetchReport, fetch_photos
from visuallens.benchmark.folder import Benchmark
from visuallens.cli.benchmark import command
from visuallens.errors import BenchmarkFolderError

QUICK = Limits(
    attempts=3,
    backoff_s=0.02,
    timeout_s=0.5,
    total_s=2,
    max_bytes=50_000,
    max_pixels=100_000,
    longest_wait_s=5,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PhotoServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with photo_server() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny", examples=12, photos=False)


def _with_urls(folder: Path, urls: Sequence[str | None], path: str = "{id}.jpg") -> Benchmark:
    """Give the table of photos these rows, in place of its own."""
    rows: list[dict[str, object]] = [
        {
            "photo_id": f"p{at}",
            "path": path.format(id=f"p{at}"),
            "url": url,
            "caption": None,
            "user_id": None,
            "business_id": "b",
            "categories": [],
        }
        for at, url in enumerate(urls)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.PHOTOS_SCHEMA), folder / schema.PHOTOS)
    return Benchmark(folder)


def _fetch(benchmark: Benchmark, limits: Limits = QUICK, *, retry: bool = False) -> FetchReport:
    return fetch_photos(benchmark, limits=limits, retry=retry)


def _failures(benchmark: Benchmark) -> list[dict[str, object]]:
    lines = (benchmark.photos_folder / FAILURES).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _files(benchmark: Benchmark) -> list[str]:
    return sorted(one.name for one in benchmark.photos_folder.rglob("*") if one.is_file())


def test_photos_arrive_whole_and_a_second_run_asks_for_nothing(
    folder: Path, server: PhotoServer
) -> None:
    benchmark = _with_urls(folder, [f"{server.url}/good/{at}" for at in range(5)], "a/b/{id}.jpg")
    assert _fetch(benchmark).fetched == 5
    assert _files(benchmark) == [FAILURES, *(f"p{at}.jpg" for at in range(5))]
    asked = server.asked.total()
    again = _fetch(benchmark)
    assert (again.fetched, again.there_already, server.asked.total()) == (0, 5, asked)
    assert all(agent.startswith("VisualLens/") for agent in server.agents)


def test_what_is_gone_is_recorded_and_asked_again_only_on_request(
    folder: Path, server: PhotoServer
) -> None:
    benchmark = _with_urls(folder, [f"{server.url}/missing/0", f"{server.url}/gone/1", None])
    report = _fetch(benchmark)
    assert report.failed == {"HTTP 404": 1, "HTTP 410": 1}
    assert report.without_url == 1
    assert {(one["photo_id"], one["status"]) for one in _failures(benchmark)} == {
        ("p0", 404),
        ("p1", 410),
    }
    assert server.asked.total() == 2
    assert _fetch(benchmark).given_up == 2
    assert server.asked.total() == 2
    assert _fetch(benchmark, retry=True).failed.total() == 2
    assert server.asked.total() == 4
    assert len(_failures(benchmark)) == 2


def test_retry_after_is_kept_to_by_every_request_to_the_host(
    folder: Path, server: PhotoServer
) -> None:
    urls = [f"{server.url}/busy/0", *(f"{server.url}/good/{at}" for at in range(1, 6))]
    report = _fetch(_with_urls(folder, urls), Limits(concurrency=1, backoff_s=0.01))
    assert report.fetched == 6
    assert server.asked["/busy/0"] == 2
    first, second = (moment for path, moment in server.moments if path == "/busy/0")
    assert second - first >= 1.0
    assert not [one for _, one in server.moments if first < one < first + 1.0]


def test_a_host_that_asks_for_a_long_pause_is_left_alone(folder: Path, server: PhotoServer) -> None:
    benchmark = _with_urls(folder, [f"{server.url}/closed/{at}" for at in range(20)])
    report = _fetch(benchmark)
    assert report.failed.keys() == {"HTTP 429", "asked later"}
    assert server.asked.total() <= QUICK.per_host
    assert not any(one["permanent"] for one in _failures(benchmark))


def test_a_server_error_is_tried_again_and_then_left_for_the_next_run(
    folder: Path, server: PhotoServer
) -> None:
    benchmark = _with_urls(folder, [f"{server.url}/broken/0", f"{server.url}/always-broken/1"])
    report = _fetch(benchmark)
    assert (report.fetched, report.failed) == (1, {"HTTP 503": 1})
    assert server.asked == {"/broken/0": 2, "/always-broken/1": 3}
    assert _fetch(benchmark).failed == {"HTTP 503": 1}
    assert server.asked["/always-broken/1"] == 6


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "not_an_image"),
        ("cut", "truncated"),
        ("large", "too large"),
        ("large-unsaid", "too large"),
        ("pixels", "too_many_pixels"),
        ("loop", "too many redirects"),
    ],
)
def test_what_is_no_photo_within_the_limits_is_not_kept(
    folder: Path, server: PhotoServer, kind: str, reason: str
) -> None:
    benchmark = _with_urls(folder, [f"{server.url}/{kind}/0"])
    assert _fetch(benchmark).failed == {reason: 1}
    assert _files(benchmark) == [FAILURES]
    assert _failures(benchmark)[0]["permanent"] is True


def test_a_redirect_is_followed(folder: Path, server: PhotoServer) -> None:
    assert _fetch(_with_urls(folder, [f"{server.url}/elsewhere/0"])).fetched == 1


def test_a_slow_server_is_not_waited_for_and_asked_again_later(
    folder: Path, server: PhotoServer
) -> None:
    benchmark = _with_urls(folder, [f"{server.url}/slow/0"])
    hasty = Limits(attempts=2, backoff_s=0.01, timeout_s=0.2)
    assert _fetch(benchmark, hasty).failed == {"timeout": 1}
    assert _failures(benchmark)[0]["permanent"] is False
    assert _fetch(benchmark, Limits()).fetched == 1
    assert _failures(benchmark) == []


def test_a_server_that_is_not_there_is_a_failure_of_this_run_only(folder: Path) -> None:
    benchmark = _with_urls(folder, ["http://127.0.0.1:9/photo"])
    assert _fetch(benchmark).failed == {"connection": 1}
    assert _failures(benchmark)[0]["permanent"] is False


def test_only_http_is_asked(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"x")
    benchmark = _with_urls(folder, [secret.as_uri(), "ftp://127.0.0.1/x", "//127.0.0.1/x"])
    assert _fetch(benchmark).failed == {"not http": 3}


@pytest.mark.parametrize("path", ["../{id}.jpg", "/tmp/{id}.jpg", "a/../../{id}.jpg", "..\\{id}"])  # noqa: S108
def test_a_path_out_of_the_folder_is_refused(folder: Path, server: PhotoServer, path: str) -> None:
    with pytest.raises(BenchmarkFolderError, match="leads out of its folder"):
        _fetch(_with_urls(folder, [f"{server.url}/good/0"], path))
    assert server.asked.total() == 0


def test_no_more_at_a_time_than_one_host_is_asked(folder: Path, server: PhotoServer) -> None:
    server.delay_s = 0.03
    benchmark = _with_urls(folder, [f"{server.url}/good/{at}" for at in range(24)])
    assert _fetch(benchmark, Limits(concurrency=8, per_host=3)).fetched == 24
    assert server.most_at_once == 3


def test_two_ids_of_one_file_download_it_once_at_a_time(folder: Path, server: PhotoServer) -> None:
    server.delay_s = 0.05
    benchmark = _with_urls(folder, [f"{server.url}/good/same"] * 4, "same.jpg")
    assert _fetch(benchmark).fetched == 1
    assert _files(benchmark) == [FAILURES, "same.jpg"]


def test_half_a_line_in_the_record_of_failures_is_passed_over(
    folder: Path, server: PhotoServer
) -> None:
    benchmark = _with_urls(folder, [f"{server.url}/missing/0", f"{server.url}/good/1"])
    _fetch(benchmark)
    with (benchmark.photos_folder / FAILURES).open("a", encoding="utf-8") as file:
        file.write('{"photo_id": "p1", "url": "ht')
    assert _fetch(benchmark).given_up == 1
    assert [one["photo_id"] for one in _failures(benchmark)] == ["p0"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_where_it_was(
    folder: Path, server: PhotoServer, how: signal.Signals
) -> None:
    server.delay_s = 0.5  # so long that a busy machine cannot be late with the signal
    count = 60
    benchmark = _with_urls(folder, [f"{server.url}/good/{at}" for at in range(count)])
    # What is started in the background of a shell would ignore Ctrl-C.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from visuallens.cli.main import main; main()"
    )
    arguments = ["benchmark", "fetch", str(folder), "--concurrency", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while server.asked.total() < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if how is signal.SIGINT else -how), said
    before = [one for one in _files(benchmark) if one.endswith(".jpg")]
    assert 0 < len(before) < count
    server.delay_s = 0.0
    report = _fetch(benchmark)
    assert (report.there_already, report.fetched) == (len(before), count - len(before))
    assert _files(benchmark) == sorted([FAILURES, *(f"p{at}.jpg" for at in range(count))])


def test_a_disk_that_cannot_be_written_is_told_once(folder: Path, server: PhotoServer) -> None:
    benchmark = _with_urls(folder, [f"{server.url}/good/{at}" for at in range(4)], "a/{id}.jpg")
    benchmark.photos_folder.mkdir()
    (benchmark.photos_folder / "a").write_text("a file where a folder should be")
    with pytest.raises(BenchmarkFolderError, match="cannot be written"):
        _fetch(benchmark)


def test_google_is_asked_for_a_size_and_nobody_else() -> None:
    for host in ("lh3.googleusercontent.com", "lh5.googleusercontent.com", "lh3.ggpht.com"):
        for suffix in ("=w150-h150-k-no-p", "=s100", ""):
            url = f"https://{host}/p/AF1QipNo_-x{suffix}"
            assert sized(url, 512) == f"https://{host}/p/AF1QipNo_-x=s512"
    for url in ("https://example.org/a=w150", "https://googleusercontent.com.evil.org/a=w150"):
        assert sized(url, 512) == url


def test_the_command_remembers_the_folder_and_keeps_to_the_limit(
    folder: Path, server: PhotoServer, tmp_path: Path
) -> None:
    _with_urls(folder, [f"{server.url}/good/{at}" for at in range(5)])
    photos = tmp_path / "elsewhere"
    arguments = ["fetch", str(folder), "--photos", str(photos), "--limit", "2", "--json"]
    first = CliRunner().invoke(command, arguments)
    assert first.exit_code == 0, first.output
    record = json.loads(first.stdout)
    assert (record["fetched"], record["photos"]) == (2, str(photos))
    assert Benchmark(folder).photos_folder == photos
    second = CliRunner().invoke(command, ["fetch", str(folder)])
    assert "fetched        3" in second.stdout
    assert len(list(photos.glob("*.jpg"))) == 5
