"""The trained ranker for low latency: a small network over frozen embeddings.

Source: §4.2, candidate matching; the network is ours (models/attention.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from visuallens.errors import RequestError
from visuallens.images import display_path
from visuallens.rankers.base import RankerResources, Reason, to_ranking
from visuallens.types import (
    Candidate,
    Evidence,
    FloatArray,
    Profile,
    ProfileCell,
    Ranking,
    RankingRequest,
)

if TYPE_CHECKING:
    from torch import Tensor

    from visuallens.models.attention import Attended, AttentionMatcher

_SHOWN_PHOTOS = 3
_MAX_DESCRIPTION_CHARACTERS = 400


class AttentionRanker:
    """See `Ranker`; needs a matcher that `visuallens train attention` made.

    Choice: a photo speaks for a candidate where what the memory recalls of both agrees; the
        similarity that is shown is the cosine of the two.
    """

    name = "attention"

    def __init__(self, resources: RankerResources) -> None:
        self._resources = resources

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`.

        Args:
            request: with at least one candidate.

        Returns:
            All candidates; a score is a logit, comparable within one ranking only.

        Raises:
            RequestError: there is no trained matcher, or there are no candidates.
            AdapterError: the matcher does not fit the encoder, or is damaged.
        """
        import torch

        if self._resources.matcher is None:
            raise RequestError(
                "The ranker 'attention' has to be trained first: visuallens train attention. Then "
                "name the folder 'model' of the run: --adapter FOLDER"
            )
        if not request.candidates:
            return to_ranking(request, self.name, [])
        matcher = self._resources.matcher()
        with torch.inference_mode():
            profile = self._profile(matcher, request)
            seen = self._attended(matcher, profile, request.candidates)
            scores = matcher.head(seen)[0].double().numpy()
            reasons = _reasons(seen, profile) if profile.cells else None
        return to_ranking(request, self.name, scores, reasons)

    def _profile(self, matcher: AttentionMatcher, request: RankingRequest) -> Profile:
        """Build the profile; a matcher that was trained without history gets an empty one."""
        profile = self._resources.profile(request)
        return profile if matcher.shape.history else without_photos(profile)

    def _attended(
        self, matcher: AttentionMatcher, profile: Profile, candidates: Sequence[Candidate]
    ) -> Attended:
        """Put one request before the head."""
        import torch

        from visuallens.models.attention import Attended, Recalled

        shape = matcher.shape
        photos, images = matcher.known_photos.take(
            [(cell.photo.id, cell.photo.path) for cell in profile.cells],
            lambda rows: read_photos(matcher, profile.embeddings[rows]),
        ).split([shape.factors, shape.image_dims], dim=-1)
        sides = matcher.known_candidates.take(
            candidates, lambda rows: self._read([candidates[row] for row in rows], matcher)
        ).split(shape.side_sizes, dim=-1)
        by_image, by_text, familiarity, texts, numbers = (side.unsqueeze(0) for side in sides)
        attended = min(len(profile.cells), shape.attended_photos)
        words = profile.aspect_words[: shape.max_words]
        return Attended(
            taste=taste(photos)[None],
            photos=photos[None, :attended],
            images=images[None, :attended],
            relevance=torch.from_numpy(relevance(profile.cells[:attended]))[None],
            photo_mask=torch.ones((1, attended), dtype=torch.bool),
            words=self._words(matcher, words)[None],
            word_mask=torch.ones((1, len(words)), dtype=torch.bool),
            recalled=Recalled(by_image, by_text, familiarity),
            texts=texts,
            numbers=numbers,
            mask=torch.ones((1, len(candidates)), dtype=torch.bool),
        )

    def _words(self, matcher: AttentionMatcher, words: Sequence[str]) -> Tensor:
        import torch

        def embed(rows: Sequence[int]) -> Tensor:
            texts = [words[row] for row in rows]
            return torch.from_numpy(self._resources.sentences.encode_texts(texts))

        return matcher.known_words.take(words, embed)

    def _read(self, candidates: Sequence[Candidate], matcher: AttentionMatcher) -> Tensor:
        """Compute what is the same of a candidate in every request, (candidates, side)."""
        import torch

        memory = matcher.memory
        names, descriptions = zip(*map(candidate_texts, candidates), strict=True)
        encode = self._resources.sentences.encode_texts
        texts = memory.reduce_texts(
            torch.from_numpy(encode(names)),
            torch.from_numpy(encode(descriptions)),
            torch.tensor([bool(one) for one in descriptions]),
        )
        recalled = memory.recall_candidates(self._mean_images(candidates, matcher), texts)
        numbers = memory.standardise(*numbers_of(candidates))
        parts = (recalled.by_image, recalled.by_text, recalled.familiarity, texts, numbers)
        return torch.cat(parts, dim=-1)

    def _mean_images(self, candidates: Sequence[Candidate], matcher: AttentionMatcher) -> Tensor:
        """Reduce the images of each candidate to one (image_dims,); zero where there is none."""
        import torch

        paths = sorted({path for candidate in candidates for path in candidate.photos})
        known = self._resources.images(paths) if paths else {}
        shown = [
            (at, known[path])
            for at, candidate in enumerate(candidates)
            for path in candidate.photos
            if path in known
        ]
        sums = torch.zeros((len(candidates), matcher.shape.image_dims))
        if shown:
            rows, embeddings = zip(*shown, strict=True)
            reduced = matcher.memory.reduce_images(torch.from_numpy(np.stack(embeddings)))
            sums.index_add_(0, torch.tensor(rows), reduced)
        return torch.nn.functional.normalize(sums, dim=-1)


def without_photos(profile: Profile) -> Profile:
    """Empty a profile, for the control that is trained without history."""
    from dataclasses import replace

    nothing = profile.embeddings[:0]
    return replace(profile, cells=(), aspect_words=(), text="", embeddings=nothing)


def candidate_texts(candidate: Candidate) -> tuple[str, str]:
    """Give the name of a candidate, and what is said about it, both as they are embedded."""
    parts = (candidate.description, ", ".join(candidate.categories))
    return candidate.name, ". ".join(filter(None, parts))[:_MAX_DESCRIPTION_CHARACTERS]


def numbers_of(candidates: Sequence[Candidate]) -> tuple[Tensor, Tensor]:
    """Give (candidates,) ratings and (candidates,) numbers of ratings; NaN where there is none."""
    import torch

    ratings = [np.nan if one.rating is None else one.rating for one in candidates]
    counts = [np.nan if one.rating_count is None else one.rating_count for one in candidates]
    return torch.tensor(ratings, dtype=torch.float32), torch.tensor(counts, dtype=torch.float32)


def read_photos(matcher: AttentionMatcher, embeddings: FloatArray) -> Tensor:
    """Compute (photos, factors + image_dims): what photos recall, and their reduced images."""
    import torch

    images = matcher.memory.reduce_images(torch.from_numpy(embeddings))
    return torch.cat([matcher.memory.recall_photos(images), images], dim=-1)


def taste(photos: Tensor) -> Tensor:
    """Add up what (photos, factors) recall, over the root of their number; 0 without photos."""
    total: Tensor = photos.sum(dim=0) / max(len(photos), 1) ** 0.5
    return total


def relevance(cells: Sequence[ProfileCell]) -> FloatArray:
    """Standardise how similar photos are to the category, (photos,) float32."""
    found = np.array([cell.similarity for cell in cells], np.float32)
    if not len(found):
        return found
    return np.asarray((found - found.mean()) / max(float(found.std()), 1e-6), np.float32)


def _reasons(seen: Attended, profile: Profile) -> list[Reason]:
    """Name the photos that speak for each candidate."""
    from torch.nn.functional import normalize

    photos = normalize(seen.photos[0], dim=-1)
    recalled = (seen.recalled.by_image + seen.recalled.by_text)[0, :, : photos.shape[-1]]
    agreement = (photos @ normalize(recalled, dim=-1).T).numpy()
    strongest = np.argsort(-agreement, axis=0, kind="stable")[:_SHOWN_PHOTOS]
    return [
        Reason(
            tuple(
                Evidence(
                    photo=display_path(profile.cells[row].photo.path),
                    cell=profile.cells[row].number,
                    similarity=float(agreement[row, index]),
                )
                for row in strongest[:, index]
                if agreement[row, index] > 0
            )
        )
        for index in range(agreement.shape[1])
    ]
