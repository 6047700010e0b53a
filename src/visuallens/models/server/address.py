"""The address of a server: what may be shown of it, and what it says about where photos go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from visuallens.errors import ServerUnreachableError

_ADVICE = "Give one such as http://HOST:PORT/v1 with --set backbone.server.url=ADDRESS."


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and who asks.

    Attributes:
        url: without user and password, so that it may be shown; without a slash at the end.
        login: user and password for HTTP basic authentication, or None.
    """

    url: str
    login: tuple[str, str] | None


def read_address(backbone: str, url: str) -> Address:
    """Check the configured address before anything is sent, and take user and password out of it.

    Args:
        backbone: named in errors.
        url: as configured.

    Returns:
        The address.

    Raises:
        ServerUnreachableError: nobody can be there; the message shows no user and no password.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        problem = _problem(parts)
    except ValueError:
        parts, problem = SplitResult("", "", "", "", ""), "it is not well-formed"
    if problem:
        _, at, after = re.split(r"[?#]", url)[0].rpartition("@")
        shown = f"***@{after}" if at else after
        message = f"this is no address of a server: {problem}. {_ADVICE}"
        raise ServerUnreachableError(backbone, shown, message)
    login = None
    if parts.username is not None:
        login = unquote(parts.username), unquote(parts.password or "")
    host = parts.netloc.rpartition("@")[2]
    return Address(urlunsplit(parts._replace(netloc=host)).rstrip("/"), login)


def _problem(parts: SplitResult) -> str | None:
    if parts.scheme not in ("http", "https"):
        return "it begins neither with http:// nor with https://"
    try:
        if not (parts.hostname or "").encode("idna"):
            return "it names no host"
    except UnicodeError:
        return "it names no possible host"
    try:
        in_range = parts.port != 0
    except ValueError:
        in_range = False
    if not in_range:
        return "its port is no number from 1 to 65535"
    if parts.query or parts.fragment:
        return "routes are added at its end, so it can have neither ? nor #"
    return None


def is_this_machine(url: str) -> bool:
    """Tell whether an address is this machine's own."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def stays_here(url: str, name: str, model: str) -> bool:
    """Tell whether what a server is shown stays on this machine.

    Args:
        url: of the server.
        name: of its dialect.
        model: its name.

    Returns:
        True if the address is this machine's own and the server is known to run models itself.

    Choice: "openai" may be a gateway that passes everything on, and so does Ollama for models that
        it names "cloud"; when in doubt, nothing is promised.
    """
    return is_this_machine(url) and name != "openai" and not model.endswith("cloud")
