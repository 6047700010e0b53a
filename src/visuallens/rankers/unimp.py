"""The baseline UniMP: question and candidates in words, the history in photos alone.

Source: §6.3 and Table 2.
"""

from __future__ import annotations

from dataclasses import replace

from visuallens.config import MatchingSettings
from visuallens.errors import BackboneError, RequestError
from visuallens.models.unimp import UniMP
from visuallens.rankers.base import RankerResources, to_ranking
from visuallens.rankers.visuallens import VisualLensRanker
from visuallens.types import Ranking, RankingRequest


class UniMPRanker:
    """See `Ranker`; needs the backbone `unimp`.

    Choice: candidates are ordered, cut to fit and asked for as by the ranker `visuallens`, so that
        the two differ in how a history is read and in nothing else.
    """

    name = "unimp"

    def __init__(self, resources: RankerResources) -> None:
        self._resources = resources

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`.

        Args:
            request: with at least one candidate.

        Returns:
            All candidates; a score is the mean log-lift of a label over chance in its prompts.

        Raises:
            RequestError: the backbone is not UniMP, or there are no candidates.
            BackboneError: the photos were read by another encoder than in training.
        """
        backbone = None if self._resources.backbone is None else self._resources.backbone()
        if not isinstance(backbone, UniMP):
            raise RequestError(
                "The ranker 'unimp' needs a UniMP that was trained. Choose --backbone unimp "
                "--adapter FOLDER, the folder 'model' of a run of `visuallens train unimp`."
            )
        if not request.candidates:
            return to_ranking(request, self.name, [])
        # What embeds texts in the space of the photos is what embedded the photos.
        encoder = getattr(self._resources.texts, "id", backbone.encoder)
        if encoder != backbone.encoder:
            raise BackboneError(
                backbone.id,
                f"it was trained with photos that {backbone.encoder} embedded, these are of "
                f"{encoder}. Index with that encoder, or train UniMP again.",
            )
        profile = self._resources.profile(request)
        shown = backbone.showing(profile.embeddings)
        asked = replace(
            self._resources,
            profile=lambda _: profile,
            backbone=lambda: shown,
            matching=words_alone(self._resources.matching),
        )
        return replace(VisualLensRanker(asked).rank(request), ranker=self.name)


def words_alone(matching: MatchingSettings) -> MatchingSettings:
    """Leave captions, aspect words and the grid out of a prompt, and take the model's own labels.

    Source: §6.3, the history of this baseline is image tokens.
    """
    off = {"aspects": False, "captions": False, "image": False, "labels": "auto"}
    return matching.model_copy(update=off)
