"""What the address of a server says about where photos go."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


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
