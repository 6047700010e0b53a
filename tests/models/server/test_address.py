from __future__ import annotations

import pytest

from visuallens.errors import ServerUnreachableError
from visuallens.models.server.address import Address, read_address, stays_here


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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000/v1/", Address("http://localhost:8000/v1", None)),
        (" https://[::1]:1/v1\n", Address("https://[::1]:1/v1", None)),
        ("http://ann:p%40ss@host/v1", Address("http://host/v1", ("ann", "p@ss"))),
        ("http://ann:p@ss@host/v1", Address("http://host/v1", ("ann", "p@ss"))),
        ("http://ann@host:1", Address("http://host:1", ("ann", ""))),
    ],
)
def test_user_and_password_are_taken_out(url: str, expected: Address) -> None:
    assert read_address("server", url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://ann:hush@localhost:99999/v1", "its port is no number from 1 to 65535"),
        ("http://ann:hush@localhost:0/v1", "its port"),
        ("http://ann:hush@localhost:-1/v1", "its port"),
        ("http://ann:hush@localhost:eighty/v1", "its port"),
        ("ann:hush@localhost/v1", "neither with http"),
        ("ftp://ann:hush@localhost/v1", "neither with http"),
        ("http://ann:hush@/v1", "names no host"),
        (f"http://ann:hush@{'a' * 70}/v1", "no possible host"),
        ("http://ann:hush@[::1/v1", "not well-formed"),
        ("http://localhost/v1?key=hush", "neither \\? nor #"),
        ("", "neither with http"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(url: str, problem: str) -> None:
    with pytest.raises(ServerUnreachableError, match=problem) as caught:
        read_address("server", url)
    assert "server.url" in str(caught.value)
    assert "hush" not in str(caught.value)
