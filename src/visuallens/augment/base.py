"""What an index run is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from visuallens.augment.store import DuplicateCounts
from visuallens.types import GeoPoint, Refusal


class File(Protocol):
    """A file that may be a photo, with what its source knows of it."""

    @property
    def path(self) -> Path: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def modified_ns(self) -> int: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def taken_at(self) -> datetime | None: ...
    @property
    def location(self) -> GeoPoint | None: ...
    @property
    def caption(self) -> str | None: ...


class Progress(Protocol):
    """Is told how a run is going."""

    def total(self, count: int) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run did.

    Attributes:
        indexed: photos that were added, or completed for a new model.
        unchanged: files that were known already, moved ones included.
        duplicates: of the users of this run, in the whole library.
        refused: files that cannot be read as photos.
        skipped: files that are not photos by their name.
    """

    indexed: int
    unchanged: int
    duplicates: DuplicateCounts
    refused: tuple[Refusal, ...]
    skipped: tuple[Refusal, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take.

    Attributes:
        photos: still to be read.
        seconds: on this machine, or by this server.
        cost: that the server will charge, in its own currency; 0 on this machine.
    """

    photos: int
    seconds: float
    cost: float = 0.0

    def __str__(self) -> str:
        cost = f", and cost about {self.cost:,.2f}" if self.cost else ""
        return f"{self.photos:,} photos will take about {_duration(self.seconds)}{cost}."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
