from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.models.server.connecting import Clock, client_of
from tests.models.server.fake_server import FakeServer, Json, Step, answer, cut, slow, status, text

from visuallens.config import ServerSettings
from visuallens.errors import (
    BackboneError,
    MissingPackageError,
    PromptTooLongError,
    ServerAnswerError,
    ServerBusyError,
    ServerRefusedError,
    ServerUnreachableError,
)
from visuallens.models.server import client as client_module
from visuallens.models.server.account import Account, estimate
from visuallens.models.server.client import ServerClient

T = TypeVar("T")


def body(prompt: str = "hello", model: str = "toy") -> Json:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 5}


def run(client: ServerClient, work: Callable[[ServerClient], Awaitable[T]]) -> T:
    async def whole() -> T:
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(whole())


def ask(client: ServerClient, request: Json | None = None) -> Json:
    return run(client, lambda c: c.post("chat/completions", request or body(), lambda found: found))


def test_too_many_requests_waits_as_long_as_the_server_asks() -> None:
    clock = Clock()
    with FakeServer() as fake:
        fake.script.extend([status(429, Retry_After="7"), status(429, Retry_After="0")])
        client = client_of(fake.url, clock=clock)
        found = ask(client)
    assert found["choices"][0]["message"]["content"] == "answer to hello"
    assert clock.waits == [7.0, 0.0]
    assert client.account.retries == 2
    assert client.account.requests == 1


def test_failures_are_retried_with_growing_waits_that_a_seed_fixes() -> None:
    waits = []
    for _ in range(2):
        clock = Clock()
        with FakeServer() as fake:
            fake.script.extend([status(500), status(503), status(502)])
            ask(client_of(fake.url, clock=clock))
        waits.append(clock.waits)
    assert waits[0] == waits[1]
    assert [0.25 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(waits[0])] == [True] * 3


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_stays_busy_is_an_error_after_all_retries(code: int) -> None:
    with FakeServer() as fake:
        fake.script.extend([status(code)] * 9)
        with pytest.raises(ServerBusyError, match="after 3 tries"):
            ask(client_of(fake.url, retries=2))
        assert len(fake.chats()) == 3


def test_nobody_at_the_address_is_an_error_at_once() -> None:
    with FakeServer() as fake:
        url = fake.url
    clock = Clock()
    with pytest.raises(ServerUnreachableError, match=r"server\.url"):
        ask(client_of(url, clock=clock))
    assert clock.waits == []


def test_a_slow_answer_is_retried_then_an_error() -> None:
    with FakeServer() as fake:
        fake.script.extend([slow(1.0), None])
        assert ask(client_of(fake.url, timeout_s=0.5))["choices"]
        fake.script.extend([slow(1.0)] * 2)
        with pytest.raises(ServerUnreachableError, match=r"server\.timeout_s"):
            ask(client_of(fake.url, timeout_s=0.5, retries=1))


@pytest.mark.parametrize("step", [cut, text('{"choices": [{"mess'), text("")])
def test_a_cut_answer_is_asked_for_again(step: Step) -> None:
    with FakeServer() as fake:
        fake.script.append(step)
        assert ask(client_of(fake.url))["choices"]
        fake.script.extend([step] * 2)
        with pytest.raises(ServerAnswerError, match="cut off"):
            ask(client_of(fake.url, retries=1))


@pytest.mark.parametrize("page", ["<html>Welcome</html>", "[1, 2]", '"fine"', '{"error": "bad"}'])
def test_an_answer_of_another_kind_is_an_error_at_once(page: str) -> None:
    with FakeServer() as fake:
        fake.script.append(text(page))
        with pytest.raises(ServerAnswerError):
            ask(client_of(fake.url))
        assert len(fake.chats()) == 1


def test_a_wrong_key_names_the_variable_and_never_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="visuallens")
    with FakeServer(key="right") as fake:
        with pytest.raises(ServerRefusedError, match="VISUALLENS_API_KEY") as caught:
            ask(client_of(fake.url, key="sk-wrong"))
        with pytest.raises(ServerRefusedError, match="wants a key"):
            ask(client_of(fake.url))
        assert ask(client_of(fake.url, key="right"))["choices"]
    assert caught.value.status == 401
    assert "sk-wrong" not in str(caught.value) + caplog.text


def test_an_unknown_model_lists_the_known_ones() -> None:
    fake = FakeServer(models=("toy", "other"))
    with fake, pytest.raises(ServerRefusedError, match="toy, other"):
        ask(client_of(fake.url), body(model="tooy"))


def test_an_unknown_route_points_at_the_address() -> None:
    with FakeServer() as fake, pytest.raises(ServerRefusedError, match="/v1"):
        run(client_of(fake.url), lambda c: c.post("nowhere", body(), lambda found: found))


def test_a_redirect_is_refused_and_nothing_is_sent_elsewhere() -> None:
    with FakeServer() as fake, FakeServer() as elsewhere:
        fake.script.append(status(307, Location=elsewhere.url))
        with pytest.raises(ServerRefusedError, match="redirects"):
            ask(client_of(fake.url, key="secret"))
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("message", "tokens", "limit"),
    [
        ("maximum context length is 100 tokens. However, you requested 250 tokens", 250, 100),
        ("request (9412 tokens) exceeds the available context size (8192 tokens)", 9412, 8192),
        ("The input (691,793 tokens) is longer than the model's context length (540000).",
         691_793, 540_000),
        ("too long for the context window", 513, 512),
    ],
)  # fmt: skip
@pytest.mark.parametrize("code", [400, 413, 422, 500])
def test_a_prompt_that_is_too_long_is_recognised(
    code: int, message: str, tokens: int, limit: int
) -> None:
    with FakeServer() as fake:
        fake.script.append(status(code, message))
        client = client_of(fake.url)
        client.max_tokens = 512
        with pytest.raises(PromptTooLongError) as caught:
            ask(client)
        assert (caught.value.tokens, caught.value.max_tokens) == (tokens, limit)
        assert len(fake.chats()) == 1


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (400, "bad temperature", "bad temperature"),
        (422, "bad field", "bad field"),
        (413, "entity too large", "smaller image"),
        (429, "You exceeded your current quota", "quota"),
        (403, "no", "VISUALLENS_API_KEY"),
    ],
)
def test_other_refusals_are_not_retried(code: int, message: str, expected: str) -> None:
    with FakeServer() as fake:
        fake.script.append(status(code, message))
        with pytest.raises(ServerRefusedError, match=expected) as caught:
            ask(client_of(fake.url))
        assert caught.value.status == code
        assert len(fake.chats()) == 1


def test_an_answer_that_its_reader_refuses_is_not_kept(tmp_path: Path) -> None:
    def refuse(found: Json) -> None:
        raise ServerAnswerError("toy", "url", "half")

    with FakeServer() as fake:
        client = client_of(fake.url, cache=tmp_path / "answers")
        with pytest.raises(ServerAnswerError):
            run(client, lambda c: c.post("chat/completions", body(), refuse))
        client = client_of(fake.url, cache=tmp_path / "answers")
        assert ask(client)["choices"]
        assert client.account.requests == 1


def test_a_kept_answer_that_its_reader_refuses_is_asked_for_again(tmp_path: Path) -> None:
    with FakeServer() as fake:
        fake.script.append(answer({"half": True}))
        assert ask(client_of(fake.url, cache=tmp_path / "answers")) == {"half": True}

        def read(found: Json) -> Json:
            if "choices" not in found:
                raise ServerAnswerError("toy", "url", "half")
            return found

        client = client_of(fake.url, cache=tmp_path / "answers")
        assert run(client, lambda c: c.post("chat/completions", body(), read))["choices"]


def test_no_more_requests_at_once_than_set() -> None:
    async def many(client: ServerClient) -> None:
        posts = (
            client.post("chat/completions", body(str(n)), lambda found: found) for n in range(9)
        )
        await asyncio.gather(*posts)

    with FakeServer(pause_s=0.1) as fake:
        run(client_of(fake.url, concurrency=3), many)
        assert fake.most_at_once == 3


def test_requests_per_minute_are_spread() -> None:
    async def many(client: ServerClient) -> None:
        for n in range(3):
            await client.post("chat/completions", body(str(n)), lambda found: found)

    clock = Clock()
    with FakeServer() as fake:
        run(client_of(fake.url, clock=clock, requests_per_minute=6.0), many)
    # three starts, ten seconds apart; the clock does not really wait
    assert clock.waits == [pytest.approx(10, abs=1), pytest.approx(20, abs=1)]


def test_the_account_counts_tokens_and_cost() -> None:
    with FakeServer() as fake:
        client = client_of(fake.url, price_in=2.0, price_out=8.0)
        ask(client)
    # 10 read at 2 and 2 written at 8 a million: 20 + 16 = 36 millionths
    assert client.account == Account(requests=1, tokens_in=10, tokens_out=2, cost=36e-6)


def test_the_account_reads_well() -> None:
    account = Account(requests=4, cached=8, tokens_in=34_000, tokens_out=900, cost=0.12)
    assert str(account) == ("12 requests (8 from the cache), 34,000 tokens in, 900 out, cost 0.12")
    assert str(Account(requests=1, cost=1e-6)).endswith("0 out, cost below 0.01")


def test_the_estimate_multiplies() -> None:
    settings = ServerSettings(price_in=2.0, price_out=8.0, requests_per_minute=50)
    # 100 requests: 100,000 read, 500 written: 0.2 + 0.004; 100 / 50 = 2 minutes
    assert estimate(100, 1000, 5, settings) == pytest.approx((0.204, 2.0))
    assert estimate(100, 1000, 5, ServerSettings()) == (0.0, 0.0)


def test_without_httpx_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"visuallens\[serve\]"):
        client_of("http://localhost:1/v1")


def test_every_error_is_a_backbone_error() -> None:
    assert issubclass(ServerBusyError, BackboneError)
