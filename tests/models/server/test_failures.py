from __future__ import annotations

from datetime import UTC, datetime

import pytest

from visuallens.models.server import failures

NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-2", 0.0),
        ("86400", failures.LONGEST_WAIT_S),
        ("nan", None),
        ("soon", None),
        ("Wed, 01 Jul 2026 12:00:09 GMT", 9.0),
        ("Wed, 01 Jul 2026 11:00:00 GMT", 0.0),
        ("Wed, 01 Jul 2026 12:00:09 -0000", 9.0),
    ],
)
def test_the_wait_asked_for(header: str | None, seconds: float | None) -> None:
    assert failures.wait_asked_for(header, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "message", "passing"),
    [
        (429, "slow down", True),
        (429, "insufficient_quota", False),
        (500, "oops", True),
        (500, "input is too large to process", False),
        (500, "logprobs is not supported for models created with logits_all=False", False),
        (400, "oops", False),
        (404, "oops", False),
    ],
)
def test_what_may_pass(status: int, message: str, passing: bool) -> None:
    assert failures.is_passing(status, message) is passing


@pytest.mark.parametrize(
    "message",
    [
        "logprobs are not supported with reasoning models",
        "Unsupported parameter: 'logprobs' is not supported with this model.",
        "You are not allowed to request logprobs from this model",
        "This model does not support log_probs",
    ],
)
def test_refused_log_probabilities_are_recognised(message: str) -> None:
    assert failures.says_no_logprobs(message)
    assert not failures.says_no_logprobs("unknown field: temperature is not supported")


def test_the_message_of_a_refusal() -> None:
    assert failures.said('{"error": {"message": "no", "code": "x"}}') == "no x"
    assert failures.said('{"detail": "Not Found"}') == "Not Found"
    assert failures.said('{"error": "no"}') == "no"
    assert failures.said("<html>Bad</html>") == "<html>Bad</html>"
    assert failures.said("[]") == "[]"
    assert failures.said("") == ""


def test_lengths_that_are_not_said() -> None:
    assert failures.lengths("the prompt is too long") == (None, None)
