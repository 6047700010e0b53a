"""What a server's refusals mean: which are worth another try, and which error each becomes."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT_S = 300.0
"""Choice: a server that asks for more patience than this is waited for no longer at a time."""

_WORTH_RETRYING = frozenset({408, 409, 425, 429})
_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum prompt length|prompt is too long"
    r"|too large to process|reduce the length|maximum allowed input length",
    re.IGNORECASE,
)
_LIMITS = (
    re.compile(r"context (?:length|size|window)\D{0,25}([\d,]*\d)", re.IGNORECASE),
    re.compile(r"([\d,]*\d)(?: tokens?)? context", re.IGNORECASE),
)
_NUMBER = re.compile(r"\d[\d,]*")
_NO_LOGPROBS = re.compile(
    r"log_?probs.{0,80}(?:not (?:supported|allowed|available|enabled)|unsupported|logits_all)"
    r"|(?:unsupported|not support|not allowed).{0,80}log_?probs",
    re.IGNORECASE | re.DOTALL,
)


def is_passing(status: int, message: str) -> bool:
    """Tell whether the same request may succeed later."""
    if says_too_long(message) or says_no_logprobs(message) or says_no_money(message):
        return False
    return status in _WORTH_RETRYING or status >= 500


def says_no_money(message: str) -> bool:
    """Tell whether the account is empty, which comes as "too many requests" but never passes."""
    return "insufficient_quota" in message or "exceeded your current quota" in message


def says_no_logprobs(message: str) -> bool:
    """Tell whether a server refuses to give log-probabilities."""
    return _NO_LOGPROBS.search(message) is not None


def says_too_long(message: str) -> bool:
    """Tell whether a prompt was refused for its length."""
    return _TOO_LONG.search(message) is not None


def lengths(message: str) -> tuple[int | None, int | None]:
    """Read the prompt's length and the longest allowed from a refusal.

    Args:
        message: such as "The input (5,000 tokens) is longer than the model's context length
            (4096 tokens)".

    Returns:
        Tokens of the prompt and most tokens, each None where the message does not say.
    """
    found = (pattern.search(message) for pattern in _LIMITS)
    limit = next((_number(match[1]) for match in found if match), None)
    largest = max((_number(text) for text in _NUMBER.findall(message)), default=0)
    return (largest if largest > (limit or 0) else None), limit


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def wait_asked_for(header: str | None, now: datetime | None = None) -> float | None:
    """Read a Retry-After header.

    Args:
        header: seconds or an HTTP date, or None where there is no such header.
        now: instead of the present.

    Returns:
        Seconds to wait, from 0 to `LONGEST_WAIT_S`; None where nothing readable is asked for.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def said(text: str) -> str:
    """Read the message from the body of a refusal.

    Args:
        text: the body.

    Returns:
        The message and the error's code or type; the start of the body where it has no known form.
    """
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip()[:300]
    parts = []
    for holder in (body, body.get("error") if isinstance(body, dict) else None):
        if isinstance(holder, dict):
            for name in ("message", "detail", "error", "code", "type"):
                value = holder.get(name)
                if isinstance(value, str) and value not in parts:
                    parts.append(value)
    return " ".join(parts)[:600] or text.strip()[:300]
