"""Finding out what kind of server answers, which model it has and what that model can take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Literal, get_args
from urllib.parse import urlsplit

from visuallens.config import BackboneSettings, ServerSettings
from visuallens.errors import BackboneError
from visuallens.models.server import dialects
from visuallens.models.server.address import stays_here
from visuallens.models.server.cache import Json
from visuallens.models.server.client import Base, ServerClient, model_names
from visuallens.models.server.dialects import Dialect, RankedDialect, SglangDialect, VllmDialect
from visuallens.models.server.route import NO_THOUGHTS, ChatRoute, tokens_of

Name = Literal["vllm", "sglang", "llamacpp", "ollama", "openai"]

DEFAULT_MAX_TOKENS = 8192
"""Choice: for servers that do not say; every current model takes as much."""
OLLAMA_MAX_TOKENS = 4096
"""Choice: Ollama silently drops the start of a prompt longer than its `num_ctx`, which is 4,096
unless set otherwise; prompts must stay below it."""

_REASONING = re.compile(r"(?:.*/)?(?:o[134]|gpt-5)(?:$|[-.:])")
_OWNERS: dict[str, Name] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "library": "ollama",
    "me": "llamacpp",  # llama-cpp-python
}
_PROBES: tuple[tuple[str, str, Name], ...] = (
    ("get_server_info", "", "sglang"),
    ("server_info", "", "sglang"),
    ("props", "default_generation_settings", "llamacpp"),
    ("api/version", "version", "ollama"),
    ("version", "version", "vllm"),
)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What is known of a server.

    Attributes:
        dialect: how it is spoken to.
        id: of the model, as `model@dialect`, with what the server says of its weights.
        max_tokens: longest prompt.
        sees: it takes images, as far as is known.
        stays_here: nothing that it is shown leaves this machine.
    """

    dialect: Dialect
    id: str
    max_tokens: int
    sees: bool
    stays_here: bool


async def discover(
    client: ServerClient, backbone: BackboneSettings, server: ServerSettings
) -> Discovery:
    """Find out what a server is.

    Args:
        client: of the server.
        backbone: may name the model.
        server: may name the dialect.

    Returns:
        What is known of it.

    Raises:
        ServerError: it does not answer, or refuses the key.
        BackboneError: it has no model, or several and none is named.
    """
    listing = await client.get("models")
    model = backbone.model or _only_model(client, model_names(listing))
    entry = _entry(listing, model)
    client.backbone = model
    name = await _kind(client, entry) if server.dialect == "auto" else server.dialect
    props = await client.get("props", "root") if name == "llamacpp" else None
    max_tokens = _max_tokens(name, entry, props or {})
    client.max_tokens = max_tokens
    return Discovery(
        dialect=_dialect(client, model, name, own_server=props is not None),
        id=_id(model, name, entry, props or {}),
        max_tokens=max_tokens,
        sees=_part(props or {}, "modalities").get("vision") is not False,
        stays_here=stays_here(client.url, name, model),
    )


def _only_model(client: ServerClient, names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    listed = f"it has {len(names)} models: {', '.join(names)}" if names else "it lists no models"
    advice = "Choose one with --set backbone.model=NAME."
    raise BackboneError(client.backbone, f"{client.url}: {listed}. {advice}")


async def _kind(client: ServerClient, entry: Json) -> Name:
    if urlsplit(client.url).hostname == "api.openai.com":
        return "openai"
    owner = _OWNERS.get(str(entry.get("owned_by")))
    if owner is not None:
        return owner
    for path, key, name in _PROBES:
        answer = await client.get(path, "root")
        if answer is not None and (not key or key in answer):
            return name
    return "openai"


def _dialect(client: ServerClient, model: str, name: str, *, own_server: bool) -> Dialect:
    quiet = ChatRoute(client, model, NO_THOUGHTS)
    if name == "vllm":
        return VllmDialect(quiet, partial(_tokenize, client, model, "root"))
    if name == "sglang":
        return SglangDialect(quiet, partial(_tokenize, client, model, "api"))
    if name == "llamacpp":
        tokenize = partial(_tokenize_llamacpp if own_server else _tokenize_python, client)
        most = dialects.LLAMACPP_MOST
        return RankedDialect("llamacpp", quiet, most, tokenize, by_ids=own_server)
    if name == "ollama":
        return RankedDialect("ollama", ChatRoute(client, model, {"reasoning_effort": "none"}))
    if name not in get_args(Name):
        raise AssertionError(name)
    if _REASONING.match(model):
        route = ChatRoute(client, model, limit="max_completion_tokens", reasons=True)
        return RankedDialect("openai", route, never=True)
    return RankedDialect("openai", ChatRoute(client, model))


async def _tokenize(client: ServerClient, model: str, base: Base, text: str) -> list[int]:
    body = {"model": model, "prompt": text, "add_special_tokens": False}
    return await client.post("tokenize", body, partial(tokens_of, client), base)


async def _tokenize_llamacpp(client: ServerClient, text: str) -> list[int]:
    body = {"content": text, "add_special": False, "parse_special": True}
    return await client.post("tokenize", body, partial(tokens_of, client), "root")


async def _tokenize_python(client: ServerClient, text: str) -> list[int]:
    return await client.post("extras/tokenize", {"input": text}, partial(tokens_of, client), "root")


def _max_tokens(name: str, entry: Json, props: Json) -> int:
    meta = _part(entry, "meta")
    said = (
        entry.get("max_model_len"),
        _part(props, "default_generation_settings").get("n_ctx"),
        meta.get("n_ctx"),
        meta.get("n_ctx_train"),
    )
    for value in said:
        if isinstance(value, int) and value > 0:
            return value
    return OLLAMA_MAX_TOKENS if name == "ollama" else DEFAULT_MAX_TOKENS


def _id(model: str, name: str, entry: Json, props: Json) -> str:
    # names may be files of the server's machine, whose folders say nothing of the model
    own = PurePosixPath(model).name if model.startswith("/") else model
    weights = str(entry.get("root") or props.get("model_path") or "")
    weights = PurePosixPath(weights).name if weights.startswith("/") else weights
    return f"{own}@{name}" if weights in ("", own) else f"{own}@{name}:{weights}"


def _entry(listing: Json | None, model: str) -> Json:
    entries = [entry for entry in (listing or {}).get("data") or [] if isinstance(entry, dict)]
    named = [entry for entry in entries if entry.get("id") == model]
    return next(iter(named or entries), {})


def _part(record: Json, name: str) -> Json:
    part = record.get(name)
    return part if isinstance(part, dict) else {}
