"""How each kind of server is asked for the log-probabilities of labels, and how it answers.

| server | asked for | compared by | labels |
|---|---|---|---|
| vLLM | the labels' token ids | id | 52 letters, or the paper's tokens of a merged model |
| SGLang | the same, through its own route; with an image the best 256 tokens | id; bytes | 52 |
| llama.cpp | the best 1,000 tokens | id; bytes for llama-cpp-python | 52 |
| Ollama, OpenAI and others | the best 20 tokens | bytes | 20 |

Choice: "A" and " A" are two tokens of one answer. Only the server knows its chat template, so only
    it knows which of them follows; as they exclude each other, their probabilities are added.
    Nothing else counts as "A": not "a", not "AB", not "A.".
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from visuallens.errors import ServerRefusedError
from visuallens.models.server.cache import Json
from visuallens.models.server.chat import Messages, first_choice, has_image
from visuallens.models.server.labels import Forms, within_limit
from visuallens.models.server.logprobs import added, by_id, entries_of, of_bytes
from visuallens.models.server.route import ChatRoute, Tokenize, tokenize_chat

logger = logging.getLogger(__name__)

OPENAI_MOST = 20
"""Most log-probabilities that the OpenAI API gives. Source: its reference, `top_logprobs`."""
LLAMACPP_MOST = 1000
"""Choice: llama.cpp sets no limit; a thousand tokens are 60 KB and hold practically every letter
where a letter is to be expected."""
SGLANG_MOST = 256
"""Choice: SGLang sets no limit either, but writes the text of each, which costs it time."""
VLLM_MOST_IDS = 128
"""Source: vLLM pull request 43463."""

_NO_SCORES = (
    "its answer holds no log-probabilities. Does the server give them "
    "(older llama-cpp-python: --logits_all true)? Else choose another server or model."
)
_NO_BYTES = (
    "its log-probabilities list bytes of tokens that are none. Choose another server, or rank "
    "without a model: --ranker similarity."
)
_QUESTION: Messages = [{"role": "user", "content": "Answer with the letter A."}]


class _SilentError(Exception):
    """An answer without log-probabilities, which is not kept: the server may learn them."""


class Dialect(Protocol):
    """One kind of server.

    Attributes:
        name: as in the settings.
        route: its chat completions.
        most_labels: how many labels can be told apart in one request.
        tokenize: turns a text into token ids, or None where the server does not.
        by_ids: answers tell the ids of tokens.
        any_id: any token can be asked for by id.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - described above, as those below
    @property
    def route(self) -> ChatRoute: ...  # noqa: D102
    @property
    def most_labels(self) -> int: ...  # noqa: D102
    @property
    def tokenize(self) -> Tokenize | None: ...  # noqa: D102
    @property
    def by_ids(self) -> bool: ...  # noqa: D102
    @property
    def any_id(self) -> bool: ...  # noqa: D102

    async def tells_scores(self) -> bool:
        """Ask once whether the server gives log-probabilities.

        Returns:
            True if `score` works.

        Raises:
            ServerAnswerError: it should, but is too old.
        """
        ...

    async def score(self, chat: Messages, labels: tuple[str, ...], forms: Forms) -> list[float]:
        """Give the log-probability of each label as the first token of the answer.

        Args:
            chat: the prompt.
            labels: texts of the labels.
            forms: token ids of each label; empty where tokens are compared by their bytes.

        Returns:
            One natural logarithm per label; NaN where the server did not say.
        """
        ...

    async def count(self, chat: Messages) -> int | None:
        """Count the tokens of a prompt without images, or None where the server cannot."""
        ...


@dataclass(frozen=True, slots=True)
class RankedDialect:
    """A server that tells only its most probable tokens: OpenAI, Ollama, llama.cpp and most others.

    Attributes:
        name: as in the settings.
        route: its chat completions.
        most: how many tokens it is asked for.
        tokenize: where it has such a route.
        by_ids: its answers tell the ids of tokens.
        never: it is known to give no log-probabilities.
    """

    name: str
    route: ChatRoute
    most: int = OPENAI_MOST
    tokenize: Tokenize | None = None
    by_ids: bool = False
    never: bool = False
    any_id: bool = False

    @property
    def most_labels(self) -> int:
        """As many labels as tokens, so that all could be among them."""
        return self.most

    async def tells_scores(self) -> bool:
        """Ask once; a refusal that names log-probabilities, or an answer without, means no."""
        if self.never:
            return False
        body = self.route.body(_QUESTION, 1, logprobs=True, top_logprobs=self.most)
        client = self.route.client

        def read(answer: Json) -> bool:
            if not entries_of(first_choice(client, answer)):
                raise _SilentError
            return True

        try:
            return await client.post("chat/completions", body, read)
        except _SilentError:
            logger.warning("%s tells no log-probabilities.", client.url)
        except ServerRefusedError as error:
            if "logprobs" not in str(error):
                raise
            logger.warning("%s", error)
        return False

    async def score(self, chat: Messages, labels: tuple[str, ...], forms: Forms) -> list[float]:
        """Read the labels from the most probable tokens."""
        client = self.route.client
        body = self.route.body(chat, 1, logprobs=True, top_logprobs=self.most)

        def read(answer: Json) -> list[float]:
            entries = entries_of(first_choice(client, answer))
            if not entries:
                raise client.unusable(_NO_SCORES)
            if forms:
                return [_sum_of(by_id(entries), forms[label]) for label in labels]
            try:
                return [added(of_bytes(entries, label)) for label in labels]
            except ValueError as error:
                raise client.unusable(_NO_BYTES) from error

        return await client.post("chat/completions", body, read)

    async def count(self, chat: Messages) -> int | None:
        """Count the text alone; the caller allows for the template around it."""
        if self.tokenize is None or has_image(chat):
            return None
        try:
            return len(await self.tokenize(chat[0]["content"]))
        except ServerRefusedError:  # a gateway may hide the route
            return None


@dataclass(frozen=True, slots=True)
class VllmDialect:
    """vLLM, asked for the labels by token id.

    Source: vLLM pull request 43463 (merged in July 2026): with `logprob_token_ids` the answer holds
        the token taken and every id asked for, whatever their rank; `return_tokens_as_token_ids`
        writes them as "token_id:123". Older servers ignore both fields silently, hence the probe,
        and hence every answer must hold every label.
    """

    route: ChatRoute
    tokenize: Tokenize
    name: str = "vllm"
    most_labels: int = VLLM_MOST_IDS
    by_ids: bool = True
    any_id: bool = True

    async def tells_scores(self) -> bool:
        """Ask once for ids that would hardly come by themselves."""
        unlikely = {*await self.tokenize("~"), *await self.tokenize("}")}
        forms = {str(token): (token,) for token in unlikely}
        await self.score(_QUESTION, tuple(forms), forms)
        return True

    async def score(self, chat: Messages, labels: tuple[str, ...], forms: Forms) -> list[float]:
        """Ask for the labels' ids."""
        client = self.route.client
        ids = within_limit(labels, forms, VLLM_MOST_IDS)
        fields = {"logprobs": True, "logprob_token_ids": sorted({i for own in ids for i in own})}
        body = self.route.body(chat, 1, return_tokens_as_token_ids=True, **fields)

        def read(answer: Json) -> list[float]:
            found = by_id(entries_of(first_choice(client, answer)))
            if any(token not in found for own in ids for token in own):
                raise client.unusable(
                    "it does not give the labels asked for by token id, which vLLM can since July "
                    "2026 (pull request 43463). Upgrade it, or choose "
                    "--set backbone.server.dialect=openai, which reads the 20 most probable tokens."
                )
            return [_sum_of(found, own) for own in ids]

        return await client.post("chat/completions", body, read)

    async def count(self, chat: Messages) -> int | None:
        """Count with the chat template."""
        return None if has_image(chat) else len(await tokenize_chat(self.route, chat, "root"))


@dataclass(slots=True)
class SglangDialect:
    """SGLang, asked for the labels by token id where that can be done.

    Its OpenAI route knows no label ids. Its own route `/generate` does (`token_ids_logprob`), but
    applies no chat template. So a prompt without an image is written out by `/v1/tokenize`, which
    takes messages, and scored by `/generate` with those ids.

    Choice: a prompt with an image stays on the OpenAI route, the only one that places a model's
        image tokens itself, and is read from its 256 most probable tokens; so is every prompt on
        a server whose `/v1/tokenize` takes no messages.
    """

    route: ChatRoute
    tokenize: Tokenize
    name: str = "sglang"
    most_labels: int = VLLM_MOST_IDS
    by_ids: bool = True
    any_id: bool = False
    _templates: bool = True

    @property
    def _ranked(self) -> RankedDialect:
        return RankedDialect(self.name, self.route, SGLANG_MOST)

    async def tells_scores(self) -> bool:
        """Ask the OpenAI route, which every prompt may need."""
        return await self._ranked.tells_scores()

    async def score(self, chat: Messages, labels: tuple[str, ...], forms: Forms) -> list[float]:
        """Ask for the labels' ids, or read them from the most probable tokens."""
        tokens = await self._written_out(chat)
        if tokens is None:
            return await self._ranked.score(chat, labels, {})
        client = self.route.client
        ids = [forms[label] for label in labels]
        body: Json = {
            "input_ids": tokens,
            "sampling_params": {"max_new_tokens": 1, "temperature": 0},
            "return_logprob": True,
            "token_ids_logprob": sorted({token for own in ids for token in own}),
        }

        def read(answer: Json) -> list[float]:
            try:
                rows = answer["meta_info"]["output_token_ids_logprobs"][0]
                found = {int(row[1]): float(row[0]) for row in rows if row[0] is not None}
            except (LookupError, TypeError, ValueError, OverflowError) as error:
                raise client.unusable("its answer lacks output_token_ids_logprobs.") from error
            return [_sum_of(found, own) for own in ids]

        return await client.post("generate", body, read, "root")

    async def count(self, chat: Messages) -> int | None:
        """Count with the chat template, or the text alone."""
        if has_image(chat):
            return None
        tokens = await self._written_out(chat)
        return len(await self.tokenize(chat[0]["content"]) if tokens is None else tokens)

    async def _written_out(self, chat: Messages) -> list[int] | None:
        if has_image(chat) or not self._templates:
            return None
        try:
            return await tokenize_chat(self.route, chat, "api")
        except ServerRefusedError:
            self._templates = False
            return None


def _sum_of(found: Mapping[int, float], tokens: tuple[int, ...]) -> float:
    return added([found.get(token, math.nan) for token in tokens])
