"""Reading the log-probabilities of labels from what an answer says of its first token.

Choice: a value of -9999 or less is how servers write "unknown", and is read as not said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from visuallens.models.server.cache import Json

_UNKNOWN = -9999.0
_ID = re.compile(r"token_id:(\d{1,18})")


def entries_of(choice: Json) -> list[Json]:
    """List what an answer says of its first token.

    Args:
        choice: of a chat completion.

    Returns:
        The most probable tokens and the one that was taken, each once; empty where it says nothing.
    """
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return []
    taken = content[0]
    best = [entry for entry in taken.get("top_logprobs") or [] if isinstance(entry, dict)]
    known = {_name(entry) for entry in best}
    return best if _name(taken) in known or "logprob" not in taken else [*best, taken]


def by_id(entries: Iterable[Json]) -> dict[int, float]:
    """Sort entries by token id.

    Args:
        entries: that tell ids, in a field `id` or as the text "token_id:123".

    Returns:
        Natural logarithms, NaN where an entry is there but says nothing; entries without an id are
        left out.
    """
    found = {}
    for entry in entries:
        token, named = entry.get("id"), _ID.fullmatch(str(entry.get("token")))
        if named:
            token = int(named[1])
        if isinstance(token, int):
            found[token] = _logprob(entry)
    return found


def of_bytes(entries: Iterable[Json], label: str) -> list[float]:
    """List the log-probabilities of the tokens that write exactly a label, or a space and it.

    Args:
        entries: that tell bytes or text.
        label: its text.

    Returns:
        Natural logarithms; several tokens can have the same bytes.

    Raises:
        ValueError: what should be the bytes of a token are none.
    """
    wanted = (label.encode(), f" {label}".encode())
    return [_logprob(entry) for entry in entries if _bytes(entry) in wanted]


def added(logprobs: Sequence[float]) -> float:
    """Add probabilities that exclude each other.

    Args:
        logprobs: natural logarithms; NaN where not said.

    Returns:
        The logarithm of their sum; NaN where none was said.
    """
    said = [value for value in logprobs if math.isfinite(value)]
    if not said:
        return math.nan
    top = max(said)
    return top + math.log(sum(math.exp(value - top) for value in said))


def _logprob(entry: Json) -> float:
    value = entry.get("logprob")
    if isinstance(value, int | float) and _UNKNOWN < value < 1:
        return float(value)
    return math.nan


def _name(entry: Json) -> tuple[object, object]:
    return entry.get("id"), entry.get("token")


def _bytes(entry: Json) -> bytes:
    listed = entry.get("bytes")
    if not isinstance(listed, list):
        return str(entry.get("token")).encode(
            "utf-8", "surrogatepass"
        )  # a token may be half a sign
    try:
        return bytes(listed)
    except (TypeError, OverflowError) as error:
        raise ValueError("no bytes") from error
