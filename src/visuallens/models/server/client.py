"""Requests to a model server: retries, patience, a limit on how many at once, and an account.

Choice: redirects are not followed, so that the key and the photos reach no host but the configured
    one. Neither prompts nor keys are ever logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeVar

from visuallens.config import ServerSettings
from visuallens.errors import (
    BackboneError,
    MissingPackageError,
    ServerAnswerError,
    ServerBusyError,
    ServerUnreachableError,
)
from visuallens.models.server import failures
from visuallens.models.server.account import Account, entered
from visuallens.models.server.address import is_this_machine, read_address
from visuallens.models.server.cache import AnswerCache, Json, request_key
from visuallens.models.server.key import hide, secrets_of
from visuallens.models.server.refusals import refusal

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

T = TypeVar("T")
Base = Literal["api", "root"]

_FIRST_WAIT_S = 0.5
_LONGEST_BACK_OFF_S = 60.0
_LONGEST_CONNECT_S = 10.0
_NEXT = "Start it, or give its address with --set backbone.server.url=http://HOST:PORT/v1"


class _Passing(Exception):  # noqa: N818 - never leaves this module
    """A failure that may pass, with the error that it becomes when it does not."""

    def __init__(self, error: BackboneError, wait_s: float | None = None) -> None:
        self.error = error
        self.wait_s = wait_s
        super().__init__(str(error))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An answer that is neither good nor worth another try."""

    status: int
    text: str


class ServerClient:
    """Sends JSON to one server.

    Args:
        settings: of the server.
        key: sent with every request, to nobody else.
        cache: of answers, or None; closed with the client.
        sleep: instead of waiting.
        seed: of the jitter in waits.

    Attributes:
        backbone: named in errors.
        max_tokens: longest prompt, for errors of servers that do not say it.
        account: what has been asked so far.
        afresh: ask again for what is in the cache; the new answers are kept.
        url: as configured, without user and password.
        root: the same without `/v1`.

    Raises:
        MissingPackageError: httpx is not installed.
        ServerUnreachableError: nobody can be at the address.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        key: str | None = None,
        cache: AnswerCache | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        seed: int = 0,
    ) -> None:
        if find_spec("httpx") is None:
            command = 'pip install "visuallens[serve]"'
            raise MissingPackageError("httpx", "The backbone 'server'", command)
        self.backbone = "server"
        self.max_tokens = 0
        self.account = Account()
        self.afresh = False
        self.settings = settings
        address = read_address(self.backbone, settings.url)
        self.url, self._login = address.url, address.login
        self.root = self.url.removesuffix("/v1")
        self.key = key
        self._secrets = secrets_of(key, self._login)
        self._cache = cache
        self._sleep = sleep
        self._jitter = random.Random(seed)  # noqa: S311 - spreads retries, hides nothing
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._next_start = 0.0
        self._reached = False
        self._http: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Close all connections, and the cache."""
        if self._cache is not None:
            self._cache.close()
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def get(self, path: str, base: Base = "api") -> Json | None:
        """Ask for something that this kind of server may not have.

        Args:
            path: below the base.
            base: "api" is the configured address, "root" the same without `/v1`.

        Returns:
            The answer, or None where there is no such route; below the root, where the kind of
            server is guessed, also None where anything else goes wrong.

        Raises:
            ServerError: below the configured address, nobody answers, or not to this key.
        """
        if base == "root":
            try:
                answer = await self._attempt("GET", f"{self.root}/{path}", None)
            except (_Passing, ServerAnswerError):
                return None
            return answer if isinstance(answer, dict) else None
        async with self._slots:
            answer = await self._insist("GET", f"{self.url}/{path}", None)
        if isinstance(answer, dict):
            return answer
        if answer.status in (401, 403):
            raise await refusal(self, answer.status, answer.text)
        return None

    async def models(self) -> tuple[str, ...]:
        """List the names of the server's models; empty where it does not say."""
        try:
            return model_names(await self.get("models"))
        except BackboneError:
            return ()

    async def post(self, path: str, body: Json, read: Callable[[Json], T], base: Base = "api") -> T:
        """Send a request, or find its answer in the cache.

        Args:
            path: below the base.
            body: the request.
            read: takes what is needed from the answer and raises where it is not there; only
                answers that it accepts are kept.
            base: as for `get`.

        Returns:
            What `read` returned.

        Raises:
            ServerError: the server cannot be reached, is busy, refuses or answers nonsense.
            PromptTooLongError: the prompt does not fit.
        """
        start = self.url if base == "api" else self.root
        key = request_key(start, path, body)
        kept = self._cache.get(key) if self._cache and not self.afresh else None
        if kept is not None:
            with suppress(ServerAnswerError):  # what an earlier version of this reader accepted
                result = read(kept)
                self.account = replace(self.account, cached=self.account.cached + 1)
                return result
        async with self._slots:
            answer = await self._insist("POST", f"{start}/{path}", body)
        if not isinstance(answer, dict):
            raise await refusal(self, answer.status, answer.text, body)
        self.account = entered(self.account, answer, self.settings)
        result = read(answer)
        if self._cache:
            self._cache.put(key, answer)
        return result

    def hide(self, text: str) -> str:
        """Write stars in place of the key and the password."""
        return hide(text, self._secrets)

    def unusable(self, problem: str) -> ServerAnswerError:
        """Make the error for an answer that lacks what was asked for."""
        return ServerAnswerError(self.backbone, self.url, problem)

    def _cut_off(self) -> ServerAnswerError:
        return self.unusable("its answer was cut off. Run the command again.")

    async def _insist(self, method: str, url: str, body: Json | None) -> Json | _Refusal:
        for attempt in range(self.settings.retries + 1):
            try:
                return await self._attempt(method, url, body)
            except _Passing as failure:
                # a server that has never answered is not there; one that has will come back
                if attempt == self.settings.retries or not self._reached:
                    raise failure.error from failure.__cause__
                wait_s = self._patience(attempt) if failure.wait_s is None else failure.wait_s
                logger.info("%s: try %d failed, waiting %.1f s", self.url, attempt + 1, wait_s)
                self.account = replace(self.account, retries=self.account.retries + 1)
                await self._sleep(wait_s)
        raise AssertionError  # the last attempt returns or raises

    def _patience(self, attempt: int) -> float:
        back_off_s: float = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_BACK_OFF_S)
        return back_off_s * self._jitter.uniform(0.5, 1.0)

    async def _attempt(self, method: str, url: str, body: Json | None) -> Json | _Refusal:
        status, text, asked_s = await self._once(method, url, body)
        if status == 200:
            return self._object(text)
        message = self.hide(failures.said(text))
        if not failures.is_passing(status, message):
            return _Refusal(status, text)
        error = ServerBusyError(
            self.backbone,
            self.url,
            f"it still answers {status} after {self.settings.retries + 1} tries "
            f"({message or 'no reason given'}). Run the same command again later, it goes on "
            "where it stopped; or lower --set backbone.server.concurrency.",
        )
        raise _Passing(error, asked_s)

    async def _once(
        self, method: str, url: str, body: Json | None
    ) -> tuple[int, str, float | None]:
        import httpx

        await self._pace()
        try:
            response = await self._connected().request(method, url, json=body)
        except httpx.TimeoutException as error:
            problem = f"no answer within {self.settings.timeout_s:g} s. Give it more time with "
            problem += "--set backbone.server.timeout_s=SECONDS, or look at the server's log."
            late = ServerUnreachableError(self.backbone, self.url, problem)
            self._reached = self._reached or not isinstance(error, httpx.ConnectTimeout)
            raise _Passing(late) from error
        except httpx.LocalProtocolError:
            # its text shows the header with the key, hence no chain
            raise BackboneError(self.backbone, f"{self.url}: {self._unsendable()}") from None
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.DecodingError) as error:
            self._reached = True
            raise _Passing(self._cut_off()) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            problem = f"nobody answers there ({error}). {_NEXT}"
            raise _Passing(ServerUnreachableError(self.backbone, self.url, problem)) from error
        self._reached = True
        asked_s = failures.wait_asked_for(response.headers.get("retry-after"))
        return response.status_code, response.text, asked_s

    def _unsendable(self) -> str:
        variable = self.settings.api_key_variable
        return f"the request cannot be sent. Is the key in {variable} right, and the address?"

    def _connected(self) -> httpx.AsyncClient:
        import httpx

        wait_s = self.settings.timeout_s
        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=httpx.Timeout(wait_s, connect=min(wait_s, _LONGEST_CONNECT_S)),
                limits=httpx.Limits(max_connections=None),
                follow_redirects=False,
                headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
                auth=httpx.BasicAuth(*self._login) if self._login else None,
                trust_env=not is_this_machine(self.url),  # no proxy to oneself
            )
        return self._http

    async def _pace(self) -> None:
        if self.settings.requests_per_minute is None:
            return
        now = time.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + 60 / self.settings.requests_per_minute
        if start > now:
            await self._sleep(start - now)

    def _object(self, text: str) -> Json:
        try:
            answer = json.loads(text)
        except ValueError as error:
            if text.lstrip()[:1] in ("", "{"):
                raise _Passing(self._cut_off()) from error
            problem = "its answer is no JSON. Is the address right? It usually ends with /v1."
            raise self.unusable(problem) from error
        if not isinstance(answer, dict):
            raise self.unusable("its answer is no JSON object. Is the address right?")
        if isinstance(answer.get("error"), str | dict):
            raise self.unusable(f"its answer is an error: {self.hide(failures.said(text))}")
        return answer


def model_names(listing: Json | None) -> tuple[str, ...]:
    """Read the names from the answer of `GET /models`; empty where it is none."""
    entries = (listing or {}).get("data")
    if not isinstance(entries, list):
        return ()
    return tuple(str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry)
