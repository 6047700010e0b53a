"""The contract of a photo source: where a visual history (H_u, §3) comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from visuallens.types import GeoPoint, Refusal


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that may be a photo; nobody has opened it yet.

    Attributes:
        modified_ns: nanoseconds since 1970 UTC.
        user_id: whose photo it is, where the source says so.
        taken_at: what the source says; it wins over the file's own date.
        location: what the source says; it wins over the file's own position.
        caption: what somebody wrote about the photo; it wins over what a model would.
    """

    path: Path
    size_bytes: int
    modified_ns: int
    user_id: str | None = None
    taken_at: datetime | None = None
    location: GeoPoint | None = None
    caption: str | None = None


class PhotoSource(Protocol):
    """Somewhere photos are found."""

    def find(self) -> Iterator[FoundFile | Refusal]:
        """Find the files one by one, in the same order every time.

        Returns:
            A lazy iterator; a file that cannot be a photo is a Refusal, so none is lost silently.

        Raises:
            SourceError: the source cannot be read at all.
        """
        ...
