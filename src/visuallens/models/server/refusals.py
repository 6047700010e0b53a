"""Which error a server's refusal becomes, and what it tells the user to do."""

from __future__ import annotations

from typing import Any, Protocol

from visuallens.config import ServerSettings
from visuallens.errors import BackboneError, PromptTooLongError, ServerRefusedError
from visuallens.models.server import failures
from visuallens.models.server.cache import Json


class Asker(Protocol):
    """Who was refused.

    Attributes:
        backbone: named in errors.
        url: of the server.
        key: that was sent, if any.
        max_tokens: longest prompt, as far as is known.
        settings: name the variable that holds the key.
    """

    @property
    def backbone(self) -> str: ...  # noqa: D102 - described above, as those below
    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str | None: ...  # noqa: D102
    @property
    def max_tokens(self) -> int: ...  # noqa: D102
    @property
    def settings(self) -> ServerSettings: ...  # noqa: D102

    def hide(self, text: str) -> str:
        """Write stars in place of the key and the password."""
        ...

    async def models(self) -> tuple[str, ...]:
        """List the names of the server's models; empty where it does not say."""
        ...


async def refusal(client: Asker, status: int, text: str, body: Json | None = None) -> BackboneError:
    """Make the error for a refusal.

    Args:
        client: of the server; it is asked for its models where the name may be wrong.
        status: HTTP status, neither 200 nor one that passes.
        text: body of the refusal.
        body: the request, if there was one.

    Returns:
        The error to raise; it never shows the key.
    """
    message = client.hide(failures.said(text))
    if body is not None and failures.says_too_long(message):
        return _too_long(client, message, body)
    problem = _of_key(client, status) if status in (401, 403) else None
    if problem is None and body is not None and (status == 404 or "model" in message):
        problem = await _of_model(client, str(body.get("model")))
    return ServerRefusedError(
        client.backbone, client.url, problem or _of_request(status, message), status=status
    )


def _too_long(client: Asker, message: str, body: Json) -> PromptTooLongError:
    tokens, limit = failures.lengths(message)
    limit = limit or client.max_tokens
    tokens = tokens or max(len(_words(body)) // 4, limit + 1)
    advice = "Show fewer candidates or photos, or cut earlier with --set matching.max_tokens=N."
    return PromptTooLongError(client.backbone, tokens, limit, advice)


def _of_key(client: Asker, status: int) -> str:
    variable = client.settings.api_key_variable
    if client.key:
        return f"it refuses the key ({status}) in the environment variable {variable}. Correct it."
    return f"it wants a key ({status}). Put yours in the environment variable {variable}."


async def _of_model(client: Asker, model: str) -> str | None:
    names = await client.models()
    if not names or model in names:
        return None
    advice = "Choose one with --set backbone.model=NAME."
    return f"it has no model {model!r}, but: {', '.join(names)}. {advice}"


def _of_request(status: int, message: str) -> str:
    if 300 <= status < 400:
        return "it redirects elsewhere, which is not followed. Give the new address itself."
    if failures.says_no_money(message):
        return f"your quota there is used up ({message}). Raise it, then run the command again."
    if status == 413:
        return "the request is larger than it takes (413). Choose a smaller image."
    if status == 404:
        return f"it has no such route ({message}). The address usually ends with /v1."
    return f"it refuses the request ({status}): {message or 'no reason given'}."


# Any: any part of a request
def _words(part: Any) -> str:  # noqa: ANN401
    """Join the texts of a request, images left out."""
    if isinstance(part, str):
        return "" if part.startswith("data:") else part
    if isinstance(part, dict):
        part = list(part.values())
    return " ".join(map(_words, part)) if isinstance(part, list) else ""
