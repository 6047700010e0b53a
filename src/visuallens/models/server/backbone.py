"""The backbone `server`: captions and matching by a model behind an OpenAI-compatible server.

Source: §4.1 (captions, aspect words); §4.2 and appendix D (the first output token).
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np

from visuallens.config import BackboneSettings
from visuallens.errors import BackboneError
from visuallens.models.base import PromptImage
from visuallens.models.label_space import NEW_LABELS, LabelKind, LabelSpace
from visuallens.models.server.account import Account
from visuallens.models.server.address import read_address
from visuallens.models.server.cache import AnswerCache
from visuallens.models.server.chat import Messages, content, data_url, messages
from visuallens.models.server.client import ServerClient
from visuallens.models.server.discovery import Discovery, discover
from visuallens.models.server.key import read_key
from visuallens.models.server.labels import (
    LETTERS,
    Found,
    forms_of,
    single_tokens,
    vocabulary_hash,
)
from visuallens.models.server.loop import LoopThread, for_each
from visuallens.prompts import Style
from visuallens.types import FloatArray

logger = logging.getLogger(__name__)

IMAGE_TOKENS = 3_000
"""Choice: allowance for one image; LLaVA-v1.6 reads the most, up to 2,880 tokens."""
_IMAGES_HELD = 16
TEMPLATE_TOKENS = 64
"""Choice: allowance for the chat template, system prompt included."""

_NOT_SERVED = {
    "reserved": "a server does not show its vocabulary, so reserved tokens cannot be found",
    "names": "a server tells tokens that it would write, not how likely a name is",
}

T = TypeVar("T")
Write = Callable[[Messages], Awaitable[T]]


class ServerBackbone:
    """A model behind a server; see `Backbone` for what its methods promise.

    Args:
        client: of the server.
        loop: where the client runs; it closes the client.
        found: what is known of the server.

    Attributes:
        name: "server".
        id: `model@dialect`, with what the server says of its weights.
        sees: it takes images, as far as the server says.
        stays_here: nothing that it is shown leaves this machine, as far as is known.
        is_matcher: its model was found to have the paper's label tokens, which only a merged
            VisualLens model has; of any other it is not known.
        style: of prompts it was trained with; never known of a server.
        max_tokens: longest prompt.
    """

    def __init__(self, client: ServerClient, loop: LoopThread, found: Discovery) -> None:
        self.name = "server"
        self.id = found.id
        self.sees = found.sees
        self.stays_here = found.stays_here
        self.is_matcher = False
        self.style: Style | None = None
        self.max_tokens = found.max_tokens
        self._client = client
        self._loop = loop
        self._dialect = found.dialect
        self._at_once = client.settings.concurrency
        self._forms: dict[tuple[int, ...], Found] = {}
        self.close = weakref.finalize(self, _end, loop, client, found.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @property
    def usage(self) -> Account:
        """What has been asked of the server so far."""
        return self._client.account

    @contextmanager
    def afresh(self) -> Iterator[None]:
        """Ask again for what is kept of earlier answers, to measure what asking takes."""
        self._client.afresh = True
        try:
            yield
        finally:
            self._client.afresh = False

    @cached_property
    def scores(self) -> Literal["logits", "permutation"]:
        """Ask the server once whether it tells log-probabilities."""
        tells = self._loop.run(self._dialect.tells_scores())
        return "logits" if tells else "permutation"

    def label_space(self, kind: LabelKind | Literal["auto"] = "auto") -> LabelSpace:
        """Give the labels that name candidates; see `Backbone.label_space`.

        Choice: as many letters as the server can tell apart in one request: all 52 where they can
            be asked for, 20 where only the 20 most probable tokens are told.
        """
        if kind in _NOT_SERVED:
            problem = _NOT_SERVED[kind]
            raise BackboneError(self.id, f"{problem}. Choose --set matching.labels=letters.")
        told = self.scores == "logits"
        if kind == "new":
            return self._new_tokens()
        return self._letters() if told else LabelSpace("letters", LETTERS, (), "")

    def _letters(self) -> LabelSpace:
        tokenize = self._dialect.tokenize
        if tokenize is None or not self._dialect.by_ids:
            return LabelSpace("letters", LETTERS[: self._dialect.most_labels], (), "")
        found = self._loop.run(forms_of(tokenize, LETTERS))
        if len(found) < 2:
            problem = "its tokenizer writes no letter as one token. Choose another model."
            raise BackboneError(self.id, problem)
        return self._space("letters", found)

    def _new_tokens(self) -> LabelSpace:
        tokenize = self._dialect.tokenize
        if tokenize is not None and self._dialect.any_id:
            found = self._loop.run(single_tokens(tokenize, NEW_LABELS))
            if found is not None:
                self.is_matcher = True
                return self._space("new", found)
        raise BackboneError(
            self.id,
            "it cannot score the label tokens <I1> ... <I100>. A served LoRA adds no tokens: merge "
            "the adapter into the model and serve that with vLLM, or choose "
            "--set matching.labels=letters.",
        )

    def _space(self, kind: LabelKind, found: Found) -> LabelSpace:
        ids = tuple(forms[0] for forms in found.values())
        self._forms[ids] = found
        return LabelSpace(kind, tuple(found), ids, vocabulary_hash(self.id, found))

    def count_tokens(self, prompts: Sequence[str], *, image: PromptImage | None) -> list[int]:
        """Count tokens; see `Backbone.count_tokens`.

        Choice: where the server does not count, three ASCII characters are taken as one token, and
            two bytes of other writing, which is more than current tokenizers make of texts like
            ours; an image is always an allowance.
        """
        allowance = IMAGE_TOKENS if image else 0
        counts = self._loop.run(for_each(prompts, self._count, at_once=self._at_once))
        return [count + allowance for count in counts]

    async def _count(self, prompt: str) -> int:
        counted = await self._dialect.count(messages(prompt, None))
        if counted is None:
            ascii_length = sum(character.isascii() for character in prompt)
            other = len(prompt.encode("utf-8", "replace")) - ascii_length
            counted = math.ceil(ascii_length / 3) + math.ceil(other / 2)
        return counted + TEMPLATE_TOKENS

    def generate(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
    ) -> list[str]:
        """Answer prompts greedily; see `Backbone.generate`."""
        write = partial(self._write, max_new_tokens=max_new_tokens)
        return self._each(images, prompts, write)

    async def _write(self, chat: Messages, max_new_tokens: int) -> str:
        body = self._dialect.route.body(chat, max_new_tokens)
        read = partial(content, self._client)
        return await self._client.post("chat/completions", body, read)

    def score_labels(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        label_space: LabelSpace,
    ) -> FloatArray:
        """Give log-probabilities of labels; see `Backbone.score_labels`."""
        if self.scores == "permutation":
            problem = "it tells no log-probabilities; the order must be asked for in words"
            raise BackboneError(self.id, f"{problem}. Use generate, or another server or model.")
        forms = self._forms_of_space(label_space)
        score = partial(self._dialect.score, labels=label_space.labels, forms=forms)
        rows = self._each(images, prompts, score)
        return np.array(rows, dtype=np.float32).reshape(len(prompts), len(label_space))

    def _forms_of_space(self, space: LabelSpace) -> Found:
        if not space.token_ids:
            return {}
        for ids, found in self._forms.items():
            if ids[: len(space)] == space.token_ids:
                return found
        return {label: (token,) for label, token in zip(space.labels, space.token_ids, strict=True)}

    def _each(
        self, images: Sequence[PromptImage | None], prompts: Sequence[str], do: Write[T]
    ) -> list[T]:
        # prompts often share an image; it is written once, and few are held at a time
        shown = {_key(image): image for image in images if image is not None and self.sees}
        url_of = lru_cache(_IMAGES_HELD)(lambda key: data_url(shown[key]))

        async def ask(task: tuple[PromptImage | None, str]) -> T:
            image, prompt = task
            url = url_of(_key(image)) if image is not None and self.sees else None
            return await do(messages(prompt, url))

        tasks = list(zip(images, prompts, strict=True))
        return self._loop.run(for_each(tasks, ask, at_once=self._at_once))


def _end(loop: LoopThread, client: ServerClient, name: str) -> None:
    """Close a client with its loop, and say what has been asked of the server."""
    loop.close()
    account = client.account
    if account.requests or account.cached:
        logger.info("%s: %s.", name, account)


def _key(image: PromptImage) -> tuple[int, int]:
    return id(image.image), image.grid_side


def load(settings: BackboneSettings, *, cache_file: Path | None = None) -> ServerBackbone:
    """Connect to a server.

    Args:
        settings: `server`, and the model, where the server has several.
        cache_file: where answers are kept, if not in the cache folder.

    Returns:
        The backbone; close it, or leave it to the end of the program.

    Raises:
        MissingPackageError: httpx is not installed.
        ServerError: the server cannot be used.
        BackboneError: it has several models and none is named, or the key cannot be sent.
    """
    server = settings.server
    key = read_key("server", server.api_key_variable)
    read_address(
        "server", server.url
    )  # refused before the cache is opened, which nobody would close
    cache = AnswerCache(cache_file) if server.cache else None
    return connect(ServerClient(server, key=key, cache=cache), settings)


def connect(client: ServerClient, settings: BackboneSettings) -> ServerBackbone:
    """Find out what a client is connected to, in an event loop of its own.

    Args:
        client: not used before; the backbone closes it.
        settings: may name the model.

    Returns:
        The backbone.

    Raises:
        ServerError: the server cannot be used.
        BackboneError: it has several models and none is named.
    """
    loop = LoopThread()
    loop.at_the_end(client.aclose)
    try:
        found = loop.run(discover(client, settings, client.settings))
    except BaseException:
        loop.close()
        raise
    return ServerBackbone(client, loop, found)
