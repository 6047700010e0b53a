"""Connecting to the fake server without waiting between tries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.models.server.fake_server import FakeServer

from visuallens.config import BackboneSettings, ServerSettings
from visuallens.models.server.backbone import ServerBackbone, connect
from visuallens.models.server.cache import AnswerCache
from visuallens.models.server.client import ServerClient


class Clock:
    """Instead of sleeping: remembers for how long it was asked to."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def client_of(
    url: str,
    *,
    clock: Clock | None = None,
    cache: Path | None = None,
    key: str | None = None,
    **settings: object,
) -> ServerClient:
    return ServerClient(
        ServerSettings.model_validate({"url": url, "timeout_s": 5.0} | settings),
        key=key,
        cache=AnswerCache(cache) if cache else None,
        sleep=(clock or Clock()).sleep,
    )


def connected(
    fake: FakeServer,
    *,
    model: str | None = None,
    clock: Clock | None = None,
    **options: Any,  # noqa: ANN401
) -> ServerBackbone:
    return connect(client_of(fake.url, clock=clock, **options), BackboneSettings(model=model))
