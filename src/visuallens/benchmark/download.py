"""Downloads one photo: politely, within limits, and kept only if it is an image.

A file appears under its name when it is whole and was decoded; until then it ends in `.part`.
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from visuallens import __version__
from visuallens.errors import BenchmarkFolderError, PhotoError
from visuallens.images import open_photo

if TYPE_CHECKING:
    import httpx

AGENT = f"VisualLens/{__version__} (benchmark photos; +https://github.com/visuallens/visuallens)"

_GOOGLE = (".googleusercontent.com", ".ggpht.com")
_SUFFIX = re.compile(r"=[^=/]*$")
_MIN_SIDE_PX = 64
_BUSY = (408, 425, 429)
"""Statuses below 500 that another time may be better."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How the fetcher behaves towards servers, and what it accepts from them.

    Attributes:
        concurrency: downloads at a time.
        per_host: of these, from one host.
        attempts: requests for one photo, at most.
        backoff_s: wait after the first failure; it doubles after each further one.
        longest_wait_s: a server that asks for a longer pause is left for another run; what was
            still to come from it is counted as "asked later".
        timeout_s: without an answer, or without a further byte.
        total_s: for one request, however steadily it drips.
        max_bytes: of a file.
        max_pixels: of a picture. Choice: 50 million, since the size is asked for.
        max_redirects: of one request.
    """

    concurrency: int = 8
    per_host: int = 4
    attempts: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 120.0
    timeout_s: float = 20.0
    total_s: float = 90.0
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_redirects: int = 5


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a photo could not be downloaded.

    Attributes:
        reason: in few words; failures are counted by it.
        permanent: another run would get the same; it is not asked again.
        status: of HTTP, where there was an answer.
        detail: what the server or the decoder said.
    """

    photo_id: str
    url: str
    reason: str
    permanent: bool
    status: int | None = None
    detail: str = ""


class FailedError(Exception):
    """One attempt failed; never leaves the fetcher."""

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool,
        status: int | None = None,
        detail: str = "",
        wait_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.status = status
        self.detail = detail
        self.wait_s = wait_s


class Host:
    """A server: how many downloads it gets at a time, and until when it asked to be left alone.

    Args:
        slots: downloads at a time.
    """

    def __init__(self, slots: int) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.quiet_until = 0.0
        self.is_closed = False


class Downloader:
    """Downloads photos over one client.

    Args:
        client: follows redirects; `limits` decides the rest.
        limits: see there.
        seed: of the jitter that spreads retries.
    """

    def __init__(self, client: httpx.AsyncClient, limits: Limits, *, seed: int = 0) -> None:
        self._client = client
        self._limits = limits
        self._jitter = random.Random(seed)  # noqa: S311 - spreads retries, hides nothing
        self._hosts: dict[str, Host] = {}

    async def download(self, photo_id: str, url: str, path: Path) -> Failure | None:
        """Download one photo.

        Args:
            photo_id: for the record.
            url: as it will be asked for.
            path: where the file goes; its folder is made.

        Returns:
            None if the file is there now; else why not.

        Raises:
            BenchmarkFolderError: the file cannot be written.
        """
        if urlsplit(url).scheme not in ("http", "https"):
            return Failure(photo_id, url, "not http", permanent=True)
        host = self._hosts.setdefault(urlsplit(url).netloc, Host(self._limits.per_host))
        failure: Failure | None = None
        for attempt in range(1, self._limits.attempts + 1):
            try:
                async with host.slots:
                    await _leave_alone(host)
                    if host.is_closed:
                        return failure or Failure(photo_id, url, "asked later", permanent=False)
                    await self._attempt(url, path)
            except FailedError as error:
                failure = Failure(
                    photo_id, url, error.reason, error.permanent, error.status, error.detail
                )
                if error.permanent or attempt == self._limits.attempts:
                    break
                await asyncio.sleep(self._wait_s(host, error, attempt))
            else:
                return None
        return failure

    def _wait_s(self, host: Host, error: FailedError, attempt: int) -> float:
        """Say how long to wait: as the server asks, else exponentially longer, with a jitter.

        Choice: a server that asks for a long pause gets nothing more to answer in this run.
        """
        if error.wait_s is not None:
            host.is_closed = host.is_closed or error.wait_s > self._limits.longest_wait_s
            wait_s = 0.0 if host.is_closed else error.wait_s
            host.quiet_until = max(host.quiet_until, _now() + wait_s)
            return wait_s
        return self._limits.backoff_s * 2.0 ** (attempt - 1) * self._jitter.uniform(0.5, 1.5)

    async def _attempt(self, url: str, path: Path) -> None:
        """Make one request; raise FailedError unless the file is there afterwards."""
        import httpx

        waiting = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            async with asyncio.timeout(self._limits.total_s):
                await self._receive(url, waiting)
            await asyncio.to_thread(_check_image, waiting, self._limits.max_pixels)
            waiting.replace(path)
        except TimeoutError as error:
            raise FailedError("timeout", permanent=False, detail="too slow") from error
        except httpx.TimeoutException as error:
            raise FailedError("timeout", permanent=False, detail=str(error)) from error
        except httpx.TooManyRedirects as error:
            raise FailedError("too many redirects", permanent=True, detail=str(error)) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise FailedError("not http", permanent=True, detail=str(error)) from error
        except httpx.HTTPError as error:
            raise FailedError("connection", permanent=False, detail=str(error)) from error
        except OSError as error:
            raise BenchmarkFolderError(
                path,
                f"the photo cannot be written ({error.strerror or error})",
                "Make room, or allow writing; what is there stays. Then run it again.",
            ) from error
        finally:
            with suppress(OSError):  # there may be no folder that it could lie in
                waiting.unlink(missing_ok=True)

    async def _receive(self, url: str, path: Path) -> None:
        async with self._client.stream("GET", url) as answer:
            _check_status(answer)
            too_large = FailedError("too large", permanent=True, status=answer.status_code)
            stated = answer.headers.get("Content-Length", "")
            if stated.isdecimal() and int(stated) > self._limits.max_bytes:
                raise too_large
            received = 0
            # Blocks of memory, written by the system in the background.
            with path.open("wb") as file:
                async for block in answer.aiter_bytes():
                    received += len(block)
                    if received > self._limits.max_bytes:
                        raise too_large
                    file.write(block)


def sized(url: str, size_px: int) -> str:
    """Ask Google's image servers for a picture of some size.

    Args:
        url: of a photo; those of other servers stay as they are.
        size_px: of its longer side.

    Returns:
        The URL with its size suffix replaced, such as =s512 for =w150-h150-k-no-p; one without a
        suffix gets one.
    """
    parts = urlsplit(url)
    if not (parts.hostname or "").endswith(_GOOGLE):
        return url
    folder, slash, name = parts.path.rpartition("/")
    sized_path = f"{folder}{slash}{_SUFFIX.sub('', name)}=s{size_px}"
    return urlunsplit(parts._replace(path=sized_path))


def _check_status(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    permanent = 400 <= status < 500 and status not in _BUSY
    wait_s = None if permanent else _retry_after_s(answer.headers.get("Retry-After"))
    raise FailedError(f"HTTP {status}", permanent=permanent, status=status, wait_s=wait_s)


def _retry_after_s(text: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date; None if there is none or it is nonsense."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _check_image(path: Path, max_pixels: int) -> None:
    try:
        open_photo(path, min_side_px=_MIN_SIDE_PX, max_pixels=max_pixels)
    except PhotoError as error:
        refusal = error.refusal
        raise FailedError(refusal.reason.value, permanent=True, detail=refusal.detail) from error


async def _leave_alone(host: Host) -> None:
    while (left := host.quiet_until - _now()) > 0:  # noqa: ASYNC110 - the moment may move on
        await asyncio.sleep(left)


def _now() -> float:
    return asyncio.get_running_loop().time()
