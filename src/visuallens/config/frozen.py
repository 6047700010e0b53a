"""What all sections have in common."""

from __future__ import annotations

from pydantic import ConfigDict

FROZEN = ConfigDict(frozen=True, extra="forbid")
"""Settings do not change once they are read, and an unknown key is an error."""
