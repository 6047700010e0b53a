"""Zero-shot matching: the photos that the question brings up, against each candidate.

Source: §4.2, candidate matching, without a backbone: the low-latency, untrained matcher.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visuallens.images import display_path
from visuallens.models.base import TextEncoder
from visuallens.rankers.base import RankerResources, Reason, to_ranking
from visuallens.types import Candidate, Evidence, FloatArray, Profile, Ranking, RankingRequest

_SPEAKING_PHOTOS = 5
_RELEVANCE_WEIGHT = 0.25
_SHOWN_PHOTOS = 3
_SHOWN_WORDS = 4
_LEAST_WORD_SIMILARITY = 0.25
_MAX_TEXT_CHARACTERS = 400


class SimilarityRanker:
    """Scores a candidate by the photos that speak for it most, compared with its rivals.

    Each retrieved photo is compared with every candidate, by text and, where a candidate has
    them, by images; its similarities are standardised over the candidates, so that a photo says
    only whom it prefers; they are weighted by how relevant the photo is to the question, and the
    mean of the five strongest is the candidate's score.

    Choice: the five strongest rather than all, because a taste is a few photos among many; the
        weight exp(0.25 z) of the relevance was chosen on the development half of the photos
        (docs/measurements.md).
    """

    name = "similarity"

    def __init__(self, resources: RankerResources) -> None:
        self._resources = resources

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`; a history without photos leaves the order to the seed."""
        profile = self._resources.profile(request)
        if not request.candidates or not profile.cells:
            return to_ranking(request, self.name, [0.0] * len(request.candidates))
        texts = self._resources.texts.encode_texts(
            [candidate_text(candidate) for candidate in request.candidates]
        )
        similarities = profile.embeddings @ texts.T
        votes = self._votes(profile, request.candidates, similarities)
        strongest = _strongest(votes, _SPEAKING_PHOTOS)
        scores = np.take_along_axis(votes, strongest, axis=0).mean(axis=0)
        reasons = self._reasons(profile, request.candidates, votes, similarities)
        return to_ranking(request, self.name, scores, reasons)

    def _votes(
        self, profile: Profile, candidates: tuple[Candidate, ...], similarities: FloatArray
    ) -> FloatArray:
        """Compute (photos, candidates) float32: how much each photo prefers each candidate."""
        photos = profile.embeddings
        preferences = _standardised(similarities)
        pictures = self._image_similarities(photos, candidates)
        if pictures is not None:
            has_images = ~np.isnan(pictures).any(axis=0)
            by_image = _standardised(pictures[:, has_images])
            preferences[:, has_images] = (preferences[:, has_images] + by_image) / 2
        relevance = np.array([cell.similarity for cell in profile.cells], dtype=np.float32)
        weights = np.exp(_RELEVANCE_WEIGHT * _standardised(relevance[None, :])[0])
        return np.asarray(preferences * (weights / weights.max())[:, None], dtype=np.float32)

    def _image_similarities(
        self, photos: FloatArray, candidates: tuple[Candidate, ...]
    ) -> FloatArray | None:
        """Compare with candidate images; NaN where a candidate has none, None where none has."""
        paths = sorted({path for candidate in candidates for path in candidate.photos})
        known = self._resources.images(paths) if paths else {}
        if not known:
            return None
        columns = np.full((len(photos), len(candidates)), np.nan, dtype=np.float32)
        for index, candidate in enumerate(candidates):
            own = [known[path] for path in candidate.photos if path in known]
            if own:
                columns[:, index] = (photos @ np.stack(own).T).max(axis=1)
        return columns

    def _reasons(
        self,
        profile: Profile,
        candidates: tuple[Candidate, ...],
        votes: FloatArray,
        similarities: FloatArray,
    ) -> list[Reason]:
        words = _WordMatcher(self._resources.sentences, profile, candidates)
        reasons = []
        for index in range(len(candidates)):
            strongest = np.argsort(-votes[:, index], kind="stable")[:_SHOWN_PHOTOS]
            speaking = [int(row) for row in strongest if votes[row, index] > 0]
            evidence = tuple(
                Evidence(
                    photo=display_path(profile.cells[row].photo.path),
                    cell=profile.cells[row].number,
                    similarity=float(similarities[row, index]),
                )
                for row in speaking
            )
            reasons.append(Reason(evidence, words.speaking_for(index, speaking)))
        return reasons


class _WordMatcher:
    """Finds the aspect words of photos that mean something close to a candidate's text."""

    def __init__(
        self, sentences: TextEncoder, profile: Profile, candidates: tuple[Candidate, ...]
    ) -> None:
        self._cells = profile.cells
        self._words = sorted({word for cell in profile.cells for word in cell.aspect_words})
        self._rows = {word: row for row, word in enumerate(self._words)}
        texts = sentences.encode_texts([candidate_text(c) for c in candidates])
        self._similarities = sentences.encode_texts(self._words) @ texts.T

    def speaking_for(self, candidate: int, cells: list[int]) -> tuple[str, ...]:
        """List the words of the given cells that are close to the candidate, closest first."""
        words = {word for cell in cells for word in self._cells[cell].aspect_words}
        closeness = {word: self._similarities[self._rows[word], candidate] for word in words}
        close = [word for word in words if closeness[word] >= _LEAST_WORD_SIMILARITY]
        return tuple(sorted(close, key=lambda word: (-closeness[word], word))[:_SHOWN_WORDS])


def candidate_text(candidate: Candidate) -> str:
    """Write what is known of a candidate as one text (x_s, §3): name, description, categories."""
    parts = (candidate.name, candidate.description, ", ".join(candidate.categories))
    return ". ".join(part for part in parts if part)[:_MAX_TEXT_CHARACTERS]


def _standardised(similarities: FloatArray) -> FloatArray:
    """Subtract the mean of each row and divide by its deviation; a constant row becomes zero."""
    centred = similarities - similarities.mean(axis=1, keepdims=True)
    deviation = similarities.std(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(deviation, 1e-6), dtype=np.float32)


def _strongest(votes: FloatArray, count: int) -> NDArray[np.intp]:
    """Give the rows of the `count` largest votes of each column, (count, candidates)."""
    count = min(count, len(votes))
    return np.argpartition(votes, len(votes) - count, axis=0)[-count:]
