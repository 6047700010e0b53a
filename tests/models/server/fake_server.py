"""A model server in this process that plays every protocol, with a toy model behind it."""

from __future__ import annotations

import hashlib
import json
import math
import string
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

Kind = Literal["vllm", "sglang", "llamacpp", "python", "ollama", "openai"]
Json = dict[str, Any]

SPACED = 1000
NEW = 2000
_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp", "python": "me",
           "ollama": "library", "openai": "system"}  # fmt: skip

VOCABULARY: dict[int, str] = (
    {ord(letter): letter for letter in string.ascii_letters}
    | {SPACED + ord(letter): f" {letter}" for letter in string.ascii_letters}
    | {ord("~"): "~", ord("}"): "}", 3000: "AB", 3001: "A.", 3002: "The", 3003: "\nA"}
    | {NEW + number: f"<I{number}>" for number in range(1, 101)}
)


def logprobs_of(prompt: str) -> dict[int, float]:
    """The toy model: a distribution over the vocabulary that depends on the prompt."""
    logits = {}
    for token in VOCABULARY:
        digest = hashlib.sha256(f"{token} {prompt}".encode()).digest()
        logits[token] = int.from_bytes(digest[:4], "big") / 2**32 * 8
    total = math.log(sum(math.exp(value) for value in logits.values()))
    return {token: value - total for token, value in logits.items()}


def letter_logprob(prompt: str, letter: str) -> float:
    """What "A" and " A" together should come to."""
    told = logprobs_of(prompt)
    return math.log(math.exp(told[ord(letter)]) + math.exp(told[SPACED + ord(letter)]))


def tokens_of(text: str, *, merged: bool) -> list[int]:
    known = {written: token for token, written in VOCABULARY.items()}
    if merged and text.startswith("<I"):
        return [known[text]]
    if len(text) == 2 and text[0] == " " and text in known:
        return [known[text]]
    return [ord(character) for character in text]


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Json


Step = Callable[["Handler", Json], None]


class Listener(ThreadingHTTPServer):
    """Takes many connections at once."""

    request_queue_size = 64


@dataclass
class FakeServer:
    """See the module; used as a context manager."""

    kind: Kind = "vllm"
    models: tuple[str, ...] = ("toy",)
    key: str | None = None
    old: bool = False  # before label ids (vLLM), before chat messages in /tokenize (SGLang)
    merged: bool = False  # has <I1> ... <I100>
    silent: bool = False  # no log-probabilities in answers
    context: int = 100_000  # characters
    pause_s: float = 0.0
    owner: str | None = None
    hidden: bool = False  # no routes but the OpenAI ones
    vision: bool = True
    script: deque[Step | None] = field(default_factory=deque)  # one per chat completion
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0

    def __enter__(self) -> Self:
        self.lock = threading.Lock()
        self.http = Listener(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.fake = self  # type: ignore[attr-defined]  # read by Handler
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self.thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def chats(self) -> list[Json]:
        return [asked.body for asked in self.asked if asked.path == "/v1/chat/completions"]

    def posts(self) -> int:
        return sum(asked.method == "POST" for asked in self.asked)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def log_message(self, *unused: object) -> None:
        pass

    @property
    def fake(self) -> FakeServer:
        server: FakeServer = self.server.fake  # type: ignore[attr-defined]  # set above
        return server

    def do_GET(self) -> None:
        fake = self.fake
        self._note({})
        if self._wrong_key():
            return
        routes: dict[str, dict[str, Json]] = {
            "vllm": {"/version": {"version": "0.30.0"}},
            "sglang": {"/get_server_info": {"model_path": "toy"}},
            "llamacpp": {
                "/props": {
                    "default_generation_settings": {"n_ctx": 2048},
                    "modalities": {"vision": fake.vision},
                    "model_path": "/models/toy-q4.gguf",
                }
            },
            "ollama": {"/api/version": {"version": "0.20.0"}},
        }
        own = routes.get(fake.kind, {})
        if self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [self._card(name) for name in fake.models]})
        elif self.path in own and not fake.hidden:
            self.reply(200, own[self.path])
        else:
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        fake = self.fake
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._note(body)
        if self._wrong_key():
            return
        with fake.lock:
            fake._at_once += 1
            fake.most_at_once = max(fake.most_at_once, fake._at_once)
        try:
            self._answer(body)
        finally:
            with fake.lock:
                fake._at_once -= 1

    def reply(self, status: int, answer: Json | str, **headers: str) -> None:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _note(self, body: Json) -> None:
        self.fake.asked.append(Asked(self.command, self.path, dict(self.headers), body))

    def _wrong_key(self) -> bool:
        key = self.fake.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return False
        self.reply(
            401, {"error": {"message": f"Incorrect API key {self.headers.get('Authorization')}"}}
        )
        return True

    def _card(self, name: str) -> Json:
        fake = self.fake
        card: Json = {"id": name, "owned_by": fake.owner or _OWNERS[fake.kind]}
        if fake.kind == "vllm":
            card |= {"max_model_len": 4096, "root": "org/toy-model"}
        return card

    def _answer(self, body: Json) -> None:
        fake = self.fake
        if self.path == "/v1/chat/completions":
            time.sleep(fake.pause_s)
            with fake.lock:
                step = fake.script.popleft() if fake.script else None
            if step is not None:
                step(self, body)
            else:
                self.complete(body)
        elif self.path == "/generate" and fake.kind == "sglang":
            self._generate(body)
        else:
            self._tokenize(body)

    def _tokenize(self, body: Json) -> None:
        fake = self.fake
        routes = {"vllm": "/tokenize", "llamacpp": "/tokenize", "sglang": "/v1/tokenize",
                  "python": "/extras/tokenize"}  # fmt: skip
        if fake.hidden or self.path != routes.get(fake.kind):
            self.reply(404, {"detail": "Not Found"})
        elif "messages" in body and fake.kind == "sglang" and fake.old:
            self.reply(400, {"error": {"message": "Field required: prompt"}})
        elif "messages" in body:
            text = f"<user>{said(body)[0]}<assistant>"
            self.reply(200, {"tokens": [ord(character) for character in text]})
        else:
            field = {"llamacpp": "content", "python": "input"}.get(fake.kind, "prompt")
            self.reply(200, {"tokens": tokens_of(body[field], merged=fake.merged)})

    def _generate(self, body: Json) -> None:
        prompt = "".join(map(chr, body["input_ids"]))
        prompt = prompt.removeprefix("<user>").removesuffix("<assistant>")
        told = logprobs_of(prompt)
        rows = [[told[token], token, None] for token in body["token_ids_logprob"]]
        meta = {"prompt_tokens": 9, "completion_tokens": 1, "output_token_ids_logprobs": [rows]}
        self.reply(200, {"text": "A", "meta_info": meta})

    def complete(self, body: Json) -> None:
        fake = self.fake
        prompt, _ = said(body)
        if body["model"] not in fake.models and fake.kind not in ("llamacpp", "python"):
            problem = f"The model `{body['model']}` does not exist."
            self.reply(404, {"error": {"message": problem, "code": "model_not_found"}})
        elif len(prompt) > fake.context:
            problem = (
                f"This model's maximum context length is {fake.context} tokens. "
                f"However, you requested {len(prompt)} tokens."
            )
            self.reply(400, {"error": {"message": problem, "code": "context_length_exceeded"}})
        else:
            told = (
                self._logprobs(body, prompt) if body.get("logprobs") and not fake.silent else None
            )
            content = f"answer to {prompt}" if body.get("max_tokens") != 1 else "A"
            self.reply(200, completion(content, logprobs=told))

    def _logprobs(self, body: Json, prompt: str) -> Json:
        fake = self.fake
        told = logprobs_of(prompt)
        order = sorted(told, key=lambda token: -told[token])
        ids = body.get("logprob_token_ids") if fake.kind == "vllm" and not fake.old else None
        best = [order[0], *ids] if ids else order[: body.get("top_logprobs", 0)]
        entries = [self._entry(body, token, told[token]) for token in dict.fromkeys(best)]
        return {
            "content": [self._entry(body, order[0], told[order[0]]) | {"top_logprobs": entries}]
        }

    def _entry(self, body: Json, token: int, logprob: float) -> Json:
        text = VOCABULARY[token]
        if body.get("return_tokens_as_token_ids") and self.fake.kind == "vllm":
            text = f"token_id:{token}"
        entry: Json = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
        if self.fake.kind == "llamacpp":
            entry["id"] = token
        if self.fake.kind == "python":
            entry["bytes"] = None
        return entry


def completion(content: str | None, *, logprobs: Json | None = None, **message: object) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", "content": content} | message,
              "logprobs": logprobs, "finish_reason": "length"}  # fmt: skip
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


def said(body: Json) -> tuple[str, str | None]:
    """The prompt of a request, and the address of its image."""
    content = body["messages"][0]["content"]
    if isinstance(content, str):
        return content, None
    return content[1]["text"], content[0]["image_url"]["url"]


# --- what a chat completion can answer instead ---


def status(code: int, message: str = "busy", **headers: str) -> Step:
    return lambda handler, _: handler.reply(code, {"error": {"message": message}}, **headers)


def text(answer: str) -> Step:
    return lambda handler, _: handler.reply(200, answer)


def answer(content: Json) -> Step:
    return lambda handler, _: handler.reply(200, content)


def cut(handler: Handler, body: Json) -> None:
    """Promise more than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def slow(seconds: float) -> Step:
    def step(handler: Handler, body: Json) -> None:
        time.sleep(seconds)
        try:
            handler.complete(body)
        except OSError:  # the client has gone
            handler.close_connection = True

    return step
