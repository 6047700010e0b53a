"""What VisualLens says to a question."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from visuallens.profile.evidence import Standing
from visuallens.profile.question import Understood
from visuallens.types import Profile, RankedCandidate


@dataclass(frozen=True, slots=True)
class Answer:
    """What VisualLens says to a question.

    Attributes:
        understood: how the question was read.
        abstained: the photos say nothing about the question, and `candidates` is empty.
        message: one or two plain sentences for the reader.
        candidates: best first.
        standing: how strongly the photos speak about the question.
        profile: the photos and words that the answer rests on.
        timings_ms: milliseconds by step.
        notes: what the reader should know of the ranking, in sentences.
        counts: of what the ranker cut, repaired or missed.
    """

    understood: Understood
    abstained: bool
    message: str
    candidates: tuple[RankedCandidate, ...]
    standing: Standing
    profile: Profile
    timings_ms: Mapping[str, float]
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


class StepClock:
    """Measures steps."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step under a name."""
        start = time.perf_counter()
        yield
        self.timings_ms[name] = (time.perf_counter() - start) * 1000


def abstention(category: str) -> str:
    """Say that the photos say nothing about a category."""
    return (
        f"Your photos say nothing about {category} that I could rank by, so I would only be "
        "guessing."
    )
