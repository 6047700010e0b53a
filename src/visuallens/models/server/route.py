"""The chat completions of one model, and its server's tokenizing routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from visuallens.models.server.cache import Json
from visuallens.models.server.chat import Messages
from visuallens.models.server.client import Base, ServerClient

Tokenize = Callable[[str], Awaitable[list[int]]]

THOUGHT_TOKENS = 4096
"""Choice: room for the hidden thoughts of a reasoning model, which count as written."""
NO_THOUGHTS: Json = {"chat_template_kwargs": {"enable_thinking": False}}


@dataclass(frozen=True, slots=True)
class ChatRoute:
    """The chat completions of one model.

    Attributes:
        client: of the server.
        model: its name there.
        extras: fields of every request, such as the switch that turns thinking off.
        limit: the field that limits the answer.
        reasons: it is a reasoning model, which takes no temperature and counts its thoughts.
    """

    client: ServerClient
    model: str
    extras: Json = field(default_factory=dict)
    limit: str = "max_tokens"
    reasons: bool = False

    # Any: values of JSON
    def body(self, chat: Messages, max_new_tokens: int, **fields: Any) -> Json:  # noqa: ANN401
        """Write a greedy request."""
        longest = max_new_tokens + (THOUGHT_TOKENS if self.reasons else 0)
        body: Json = {"model": self.model, "messages": chat, self.limit: longest}
        if not self.reasons:
            body["temperature"] = 0
        return body | self.extras | fields


async def tokenize_chat(route: ChatRoute, chat: Messages, base: Base) -> list[int]:
    """Write out a prompt with the server's chat template."""
    body = {"model": route.model, "messages": chat, "add_special_tokens": False} | NO_THOUGHTS
    return await route.client.post("tokenize", body, lambda a: tokens_of(route.client, a), base)


def tokens_of(client: ServerClient, answer: Json) -> list[int]:
    """Read token ids from the answer of a tokenizing route."""
    tokens = answer.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise client.unusable("its answer to /tokenize holds no token ids.")
    return tokens
