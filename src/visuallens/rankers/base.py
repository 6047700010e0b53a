"""What a ranker is, and how scores become ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from visuallens.config import MatchingSettings
from visuallens.errors import RequestError
from visuallens.models.base import Backbone, TextEncoder
from visuallens.types import (
    Candidate,
    Evidence,
    FloatArray,
    Profile,
    RankedCandidate,
    Ranking,
    RankingRequest,
)

if TYPE_CHECKING:
    from visuallens.models.attention import AttentionMatcher


class ImageEmbedder(Protocol):
    """Embeds image files of candidates; files that cannot be read are left out."""

    def __call__(self, paths: Sequence[str]) -> dict[str, FloatArray]: ...


class ProfileSource(Protocol):
    """Builds the profile of a request (§4.2, steps 1 and 2)."""

    def __call__(self, request: RankingRequest) -> Profile: ...


@dataclass(frozen=True, slots=True)
class RankerResources:
    """What rankers may use; each takes what it needs.

    Attributes:
        profile: builds the profile of a request.
        texts: embeds texts in the space of the photos.
        sentences: embeds texts among texts.
        images: embeds candidate images in the space of the photos.
        backbone: opens the backbone; heavy the first time, None where there is none.
        draw: adds the grid image to a profile.
        matching: how the backbone is asked.
        matcher: opens the trained matcher of the ranker `attention`, or None.
    """

    profile: ProfileSource
    texts: TextEncoder
    sentences: TextEncoder
    images: ImageEmbedder
    backbone: Callable[[], Backbone] | None = None
    draw: Callable[[Profile], Profile] | None = None
    matching: MatchingSettings = field(default_factory=MatchingSettings)
    matcher: Callable[[], AttentionMatcher] | None = None


class Ranker(Protocol):
    """Ranks the candidates of a request. Made with `Ranker(resources)`."""

    name: str

    def rank(self, request: RankingRequest) -> Ranking:
        """Rank every candidate of the request, best first.

        Args:
            request: without ground truth.

        Returns:
            All candidates, best first.

        Raises:
            RequestError: the request has no candidates, or lacks what the ranker needs.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one candidate has its score."""

    evidence: tuple[Evidence, ...] = ()
    aspect_words: tuple[str, ...] = ()


def to_ranking(
    request: RankingRequest,
    ranker: str,
    scores: Sequence[float] | FloatArray,
    reasons: Sequence[Reason] | None = None,
) -> Ranking:
    """Order the candidates of a request by score.

    Args:
        request: its seed breaks ties, and its `places` where it has them.
        ranker: name of the ranker.
        scores: one per candidate; higher is better.
        reasons: one per candidate, or None.

    Returns:
        All candidates, best first, ranks from 1.

    Raises:
        RequestError: the request has no candidates.

    Choice: equal scores are ordered by a seeded shuffle, never by position, because the order of
        the candidates may carry the answer; what is shown in another order keeps its shuffle.
    """
    if not request.candidates:
        raise RequestError(
            "There are no candidates to rank. Check --candidates, --category, --near and --within."
        )
    shuffle = np.random.default_rng(request.seed).permutation(len(request.candidates))
    if request.places:
        shuffle = shuffle[list(request.places)]
    order = np.lexsort((shuffle, -np.asarray(scores, dtype=np.float64)))
    ranked = []
    for rank, index in enumerate(order, start=1):
        reason = reasons[index] if reasons else Reason()
        candidate: Candidate = request.candidates[index]
        ranked.append(
            RankedCandidate(
                rank, candidate, float(scores[index]), reason.evidence, reason.aspect_words
            )
        )
    return Ranking(request.id, ranker, tuple(ranked))
