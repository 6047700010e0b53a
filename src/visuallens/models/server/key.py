"""The key of a server: read from the environment, and hidden in everything that is shown."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable

from visuallens.errors import BackboneError


def read_key(backbone: str, variable: str) -> str | None:
    """Read a key from the environment.

    Args:
        backbone: named in errors.
        variable: that holds the key.

    Returns:
        The key without the space and line breaks around it; None where there is none.

    Raises:
        BackboneError: it cannot be sent; the message names the variable and never the key.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BackboneError(
            backbone,
            f"the key in the environment variable {variable} holds something other than printable "
            "ASCII characters, so it was not copied right. Copy it again.",
        )
    return key or None


def secrets_of(key: str | None, login: tuple[str, str] | None) -> tuple[str, ...]:
    """List what must not be shown: the key, the password, and how both are sent."""
    found = [key] if key else []
    if login is not None:
        sent = base64.b64encode(":".join(login).encode()).decode()
        found += [sent, *filter(None, login[1:])]
    return tuple(found)


def hide(text: str, secrets: Iterable[str]) -> str:
    """Write stars in place of secrets, for servers repeat in refusals what they were sent."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
