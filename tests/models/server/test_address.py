from __future__ import annotations

import pytest

from visuallens.models.server.address import stays_here


@pytest.mark.parametrize(
    ("url", "model", "stays"),
    [
        ("http://localhost:11434/v1", "toy", True),
        ("http://127.0.0.2:11434/v1", "toy", True),
        ("http://[::1]:11434/v1", "toy", True),
        ("http://192.168.0.9:11434/v1", "toy", False),
        ("http://localhost.example.org/v1", "toy", False),
        ("http://localhost:11434/v1", "qwen3-vl:235b-cloud", False),
    ],
)
def test_what_stays_on_this_machine(url: str, model: str, stays: bool) -> None:
    assert stays_here(url, "ollama", model) is stays


def test_a_gateway_promises_nothing() -> None:
    assert not stays_here("http://localhost:4000/v1", "openai", "toy")
    assert not stays_here("no address", "ollama", "toy")
