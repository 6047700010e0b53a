"""A photo server on this machine that misbehaves in every way that servers do."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

from PIL import Image


def jpeg(side_px: int = 32) -> bytes:
    file = BytesIO()
    Image.new("RGB", (side_px, side_px), "teal").save(file, "JPEG")
    return file.getvalue()


REFUSALS: dict[str, tuple[int, dict[str, str]]] = {
    "missing": (404, {}),
    "gone": (410, {}),
    "busy": (429, {"Retry-After": "1"}),
    "closed": (429, {"Retry-After": "3600"}),
    "broken": (500, {}),
    "always-broken": (503, {}),
    "elsewhere": (302, {"Location": "/good/after-a-redirect"}),
}
"""First part of the path → status and headers; the second time, busy and broken are well again."""

BODIES = {
    "text": b"<html>Not found, but we say 200</html>",
    "cut": jpeg(64)[:-200],
    "large": jpeg() + b"\0" * 60_000,
    "pixels": jpeg(400),
}


@dataclass
class PhotoServer:
    """What was asked for, and when.

    Attributes:
        asked: path → times.
        most_at_once: answers under way at the same time, at most.
        agents: values of User-Agent.
    """

    url: str = ""
    delay_s: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    moments: list[tuple[str, float]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def photo_server() -> Iterator[PhotoServer]:
    """Serve until the end of the block."""
    state = PhotoServer()

    class Handler(_Handler):
        server_state = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_state: PhotoServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Stay silent."""

    def do_GET(self) -> None:
        state = self.server_state
        with state.lock:
            state.asked[self.path] += 1
            times = state.asked[self.path]
            state.moments.append((self.path, time.monotonic()))
            state.agents.add(self.headers.get("User-Agent", ""))
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
        time.sleep(state.delay_s)
        try:
            self._answer(self.path.split("/")[1], times)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with state.lock:
                state.at_once -= 1

    def _answer(self, kind: str, times: int) -> None:
        if kind == "slow":
            time.sleep(1.0)
        if kind == "large-unsaid":
            self._send_unsaid()
        elif kind == "loop":
            self._send(302, headers={"Location": self.path})
        elif kind in ("busy", "broken") and times > 1:
            self._send(200, jpeg())
        elif kind in REFUSALS:
            self._send(REFUSALS[kind][0], headers=REFUSALS[kind][1])
        else:
            self._send(200, BODIES.get(kind, jpeg()))

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_unsaid(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        for _ in range(60):
            self.wfile.write(b"\xff\xd8" + b"\0" * 1000)
