"""Downloads the photos of a benchmark and goes on where it stopped.

Photos are asked for one by one with httpx, from photos.parquet, which lists only photos that an
example, a candidate or a category needs: the raw dump names many times more.

Choice: not img2dataset. It brings opencv, webdataset, pandas, albumentations and more, pinned to
    old versions, writes numbered shards instead of one file for each photo id, resumes by shard
    and not by photo, and does not wait when a server asks it to (Retry-After). What is left of the
    task is small.

Files that are there are not asked for again; failures are written to `failures.jsonl` as they
happen. Those that are permanent (gone, no image, too large) are asked for again only on request.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TextIO

import pyarrow.parquet as pq
from tqdm import tqdm

from visuallens.benchmark import schema
from visuallens.benchmark.base import INSTALL
from visuallens.benchmark.download import AGENT, Downloader, Failure, Limits, sized
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.opening import refuse_outside
from visuallens.benchmark.writing import write_json
from visuallens.errors import BenchmarkFolderError, MissingPackageError

if TYPE_CHECKING:
    import httpx

FAILURES = "failures.jsonl"

_BATCH_ROWS = 4096


@dataclass(slots=True)
class FetchReport:
    """What a run did.

    Attributes:
        photos: folder that the files are in.
        fetched: downloaded now.
        there_already: files from before.
        failed: now, by reason.
        given_up: not asked for, since they failed for good in an earlier run.
        without_url: photos that the benchmark gives no URL for, and whose file is not there.
    """

    photos: str
    fetched: int = 0
    there_already: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    given_up: int = 0
    without_url: int = 0
    seconds: float = 0.0


class _Wanted(NamedTuple):
    photo_id: str
    url: str
    path: Path


def fetch_photos(
    benchmark: Benchmark,
    photos: Path | None = None,
    *,
    size_px: int = 512,
    limits: Limits | None = None,
    at_most: int | None = None,
    retry: bool = False,
) -> FetchReport:
    """Download the photos of a benchmark that are not there yet.

    Args:
        benchmark: finished.
        photos: folder for the files, remembered in local.json; None: the one that it names.
        size_px: of the longer side, where the server offers sizes. Files that are there stay.
        limits: towards servers.
        at_most: photos asked for in this run.
        retry: ask again for those that failed for good.

    Returns:
        What was done; every failure is in `failures.jsonl` in the folder of the photos.

    Raises:
        MissingPackageError: httpx is not installed.
        BenchmarkFolderError: the folder for the files cannot be made.
    """
    began = time.monotonic()
    folder = _remember(benchmark, photos)
    failures = Failures(folder / FAILURES)
    report = FetchReport(str(folder))
    total = pq.read_metadata(benchmark.path(schema.PHOTOS)).num_rows
    with failures, tqdm(total=total, unit="photo", disable=None, smoothing=0.05) as bar:
        known: Mapping[str, Failure] = {} if retry else failures.permanent()
        wanted = _wanted(benchmark, folder, size_px, known, report, bar)
        asyncio.run(_fetch(islice(wanted, at_most), limits or Limits(), failures, report, bar))
    report.seconds = time.monotonic() - began
    return report


class Failures:
    """The file of failures: one JSON object a line; the last line of a photo counts.

    Args:
        path: of the file; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = {one.photo_id: one for one in _read_failures(path)}
        self._file: TextIO | None = None

    def permanent(self) -> dict[str, Failure]:
        """Return those that are not worth asking again, by photo id."""
        return {key: one for key, one in self._known.items() if one.permanent}

    def add(self, failure: Failure) -> None:
        """Write a failure down at once."""
        self._known[failure.photo_id] = failure
        if self._file is not None:
            self._file.write(_line(failure))
            self._file.flush()

    def forget(self, photo_id: str) -> None:
        """Drop the failure of a photo that is there now; the file follows at the end."""
        self._known.pop(photo_id, None)

    def __enter__(self) -> Self:
        # Writing it anew also mends a last line that a killed run left half written.
        self._rewrite()
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._rewrite()

    def _rewrite(self) -> None:
        waiting = self._path.with_name(self._path.name + ".part")
        with waiting.open("w", encoding="utf-8") as file:
            file.writelines(_line(one) for one in self._known.values())
        waiting.replace(self._path)


def _read_failures(path: Path) -> Iterator[Failure]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield Failure(**json.loads(line))
            except (ValueError, TypeError):  # a killed run may leave half a line
                continue


def _line(failure: Failure) -> str:
    return json.dumps(asdict(failure), ensure_ascii=False) + "\n"


def _remember(benchmark: Benchmark, photos: Path | None) -> Path:
    """Make the folder for the files and write it into local.json."""
    folder = benchmark.photos_folder if photos is None else photos.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(benchmark.path(schema.LOCAL), {"photos": str(folder)})
    except OSError as error:
        raise BenchmarkFolderError(
            folder, f"no folder can be made here ({error.strerror or error})", "Choose another."
        ) from error
    return folder


def _wanted(
    benchmark: Benchmark,
    folder: Path,
    size_px: int,
    known: Mapping[str, Failure],
    report: FetchReport,
    bar: tqdm[Any],  # Any: it counts nothing of its own
) -> Iterator[_Wanted]:
    """Yield the photos to ask for; count the others."""
    with pq.ParquetFile(benchmark.path(schema.PHOTOS)) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=["photo_id", "path", "url"]):
            for row in batch.to_pylist():
                refuse_outside(row["path"], benchmark.path(schema.PHOTOS))
                path = folder / row["path"]
                url = sized(row["url"], size_px) if row["url"] else None
                if path.is_file():
                    report.there_already += 1
                elif url is None:
                    report.without_url += 1
                elif row["photo_id"] in known and known[row["photo_id"]].url == url:
                    report.given_up += 1
                else:
                    yield _Wanted(row["photo_id"], url, path)
                    continue
                bar.update(1)


async def _fetch(
    wanted: Iterator[_Wanted],
    limits: Limits,
    failures: Failures,
    report: FetchReport,
    bar: tqdm[Any],  # Any: it counts nothing of its own
) -> None:
    """Download with several workers that take from one stream."""
    under_way: set[Path] = set()

    async def work(download: Callable[[str, str, Path], Awaitable[Failure | None]]) -> None:
        for one in wanted:
            if one.path in under_way:
                continue  # two ids, one file
            under_way.add(one.path)
            failure = await download(*one)
            under_way.discard(one.path)
            bar.update(1)
            if failure is None:
                report.fetched += 1
                failures.forget(one.photo_id)
            else:
                report.failed[failure.reason] += 1
                failures.add(failure)

    try:
        async with _client(limits) as client, asyncio.TaskGroup() as group:
            downloader = Downloader(client, limits)
            for _ in range(limits.concurrency):
                group.create_task(work(downloader.download))
    except ExceptionGroup as errors:
        # What a user can cause ends every worker, and is told once.
        if told := errors.subgroup(BenchmarkFolderError):
            raise told.exceptions[0] from errors
        raise


@asynccontextmanager
async def _client(limits: Limits) -> AsyncIterator[httpx.AsyncClient]:
    try:
        import httpx
    except ImportError as error:
        raise MissingPackageError("httpx", "Fetching photos", INSTALL) from error
    async with httpx.AsyncClient(
        headers={"User-Agent": AGENT, "Accept": "image/*"},
        follow_redirects=True,
        max_redirects=limits.max_redirects,
        timeout=httpx.Timeout(limits.timeout_s, pool=None),
        limits=httpx.Limits(max_connections=limits.concurrency),
    ) as client:
        yield client
