"""The method of the paper: one backbone reads the profile and names the candidate that comes next.

profile → prompt → log-probability of each candidate's label as the first token → ranking.

Source: §4.2, candidate matching; appendix C, Figure 7; appendix D; Table 3 for the switches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visuallens.config import MatchingSettings
from visuallens.errors import BackboneError, RequestError
from visuallens.models.base import AnswerScorer, Backbone
from visuallens.prompts import Permutation, parse_permutation
from visuallens.rankers.base import RankerResources, to_ranking
from visuallens.rankers.fitting import MatchingPrompts, shows_image
from visuallens.rankers.naming import NAME_SHARPNESS
from visuallens.rankers.windows import Window, rank_in_windows
from visuallens.types import FloatArray, Profile, Ranking, RankingRequest

_TOKENS_PER_LABEL = 6
_CUT = (
    ("image_cut", "the image was left out"),
    ("descriptions_cut", "{} descriptions were shortened"),
    ("descriptions_left_out", "{} descriptions left out"),
    ("captions_cut", "{} captions left out"),
)


class VisualLensRanker:
    """See `Ranker`; needs a backbone.

    Choice: candidates are put into an order of their own (see `MatchingPrompts`) and then shuffled
        with the request's seed, so that neither the order in which they came nor a place in the
        prompt decides; `matching.shuffles` averages over several orders, and `matching.order`
        keeps the given one, for an audit.
    """

    name = "visuallens"

    def __init__(self, resources: RankerResources) -> None:
        self._resources = resources

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`.

        Args:
            request: with at least one candidate.

        Returns:
            All candidates; a score is the mean log-lift of a label, or a name, over chance in its
            prompts.

        Raises:
            RequestError: there is no backbone, or there are no candidates.
            BackboneError: the backbone cannot answer.
        """
        if self._resources.backbone is None:
            raise RequestError("The ranker 'visuallens' needs a backbone. Choose one: --backbone.")
        if not request.candidates:
            return to_ranking(request, self.name, [])
        backbone = self._resources.backbone()
        settings = self._resources.matching
        prompts = MatchingPrompts(request, self._profile(request, backbone), backbone, settings)
        asked = _Asked(request.seed, prompts, backbone, settings, prompts.counts)
        scores = asked.scores()
        ranking = to_ranking(request, self.name, scores)
        return Ranking(
            ranking.request_id,
            ranking.ranker,
            ranking.candidates,
            notes=tuple(asked.notes()),
            counts={name: count for name, count in asked.counts.items() if count},
        )

    def _profile(self, request: RankingRequest, backbone: Backbone) -> Profile:
        profile = self._resources.profile(request)
        shows = shows_image(profile, backbone, self._resources.matching)
        if shows and profile.image is None and self._resources.draw is not None:
            return self._resources.draw(profile)
        return profile


@dataclass
class _Asked:
    """One request while its backbone is asked."""

    seed: int
    prompts: MatchingPrompts
    backbone: Backbone
    settings: MatchingSettings
    counts: Counter[str]
    told: bool = False

    def scores(self) -> FloatArray:
        """Score the candidates of the request, in the order of the request."""
        order = self.prompts.order
        own = self._ask_names() if self.prompts.by_name else self._ask_windows()
        if not self.told:
            raise BackboneError(
                self.backbone.id,
                "it told nothing about any candidate: no label was among what it answered. Choose "
                "another model, or another --ranker.",
            )
        scores = np.empty(len(order), np.float32)
        scores[list(order)] = own
        return scores

    def _ask_windows(self) -> FloatArray:
        """Score candidates that are listed in prompts, in the order of the prompts."""
        count, size = len(self.prompts.order), self.prompts.cut.window
        rounds = self.settings.shuffles
        if count > size:
            rounds = max(rounds, self.settings.rounds)
        shuffled = self.settings.order == "own"
        generator = np.random.default_rng((self.seed, 2)) if shuffled else None
        ask = self._ask_in_words if self.prompts.in_words else self._ask_labels
        return rank_in_windows(count, size, rounds, generator, ask)

    def _ask_names(self) -> FloatArray:
        """Score candidates by how much likelier the profile makes their names."""
        asked, backbone = self.prompts, self.backbone
        if not isinstance(backbone, AnswerScorer):
            raise BackboneError(backbone.id, "it tells nothing about names. Choose other labels.")
        found = backbone.score_answers(asked.image, asked.write(()), asked.names)
        before = backbone.score_answers(None, asked.without_profile(), asked.names, untrained=True)
        self.counts["prompts"] += 1
        (own,) = self._noted([self._lift(NAME_SHARPNESS * (found - before))])
        return own

    def notes(self) -> list[str]:
        """Say what the reader of the ranking should know."""
        notes = []
        if not self.backbone.is_matcher:
            notes.append(
                f"The backbone {self.backbone.name!r} is not known to be trained to match "
                "candidates: read this as the order of an untrained model."
            )
        cut = [text.format(self.counts[name]) for name, text in _CUT if self.counts[name]]
        if cut:
            notes.append(f"To fit the prompt, {', '.join(cut)}.")
        if self.counts["prompts"] > self.settings.shuffles:
            notes.append(f"The candidates were compared in {self.counts['prompts']} prompts.")
        if self.counts["missing_labels"]:
            notes.append(
                f"For {self.counts['missing_labels']} labels no probability came back; in their "
                "prompts these candidates count as the least likely."
            )
        repaired = {k: self.counts[k] for k in ("missing", "duplicates", "malformed")}
        if any(repaired.values()):
            said = ", ".join(f"{number} {name}" for name, number in repaired.items())
            notes.append(f"The model's order was repaired: {said}.")
        if self.counts["no_order"]:
            notes.append(f"In {self.counts['no_order']} prompts the model gave no order at all.")
        return notes

    def _ask_labels(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Score windows by the log-probabilities of their labels."""
        prompts = [self.prompts.write(window) for window in windows]
        self.counts["prompts"] += len(prompts)
        size = max(len(window) for window in windows)
        logs = self.backbone.score_labels(
            [self.prompts.image] * len(prompts), prompts, self.prompts.labels.cut(size)
        )
        rows = zip(logs, windows, strict=True)
        return self._noted([self._lift(row[: len(window)]) for row, window in rows])

    def _noted(self, scores: list[FloatArray]) -> list[FloatArray]:
        """Remember whether anything was told at all."""
        self.told = self.told or any(not np.isnan(row).all() for row in scores)
        return scores

    def _lift(self, logs: FloatArray) -> FloatArray:
        """Turn log-probabilities of one prompt into log-lifts over chance among its candidates.

        Choice: a label that a server did not name counts as half as likely as the least likely one
            that it named; a prompt of which it named none tells nothing.
        """
        missing = np.isnan(logs)
        self.counts["missing_labels"] += int(missing.sum())
        if missing.all():
            return np.full(len(logs), np.nan, np.float32)
        known = np.where(missing, np.nanmin(logs) - np.log(2), logs)
        return np.asarray(known - np.logaddexp.reduce(known) + np.log(len(known)), np.float32)

    def _ask_in_words(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Score windows by the order that the backbone writes."""
        prompts = [self.prompts.write(window) for window in windows]
        self.counts["prompts"] += len(prompts)
        longest = max(len(window) for window in windows)
        answers = self.backbone.generate(
            [self.prompts.image] * len(prompts), prompts, max_new_tokens=longest * _TOKENS_PER_LABEL
        )
        scores = []
        for window, answer in zip(windows, answers, strict=True):
            order = parse_permutation(answer, self.prompts.labels.labels[: len(window)])
            self.counts["missing"] += order.missing
            self.counts["duplicates"] += order.duplicates
            self.counts["malformed"] += order.malformed
            self.counts["no_order"] += order.missing == len(window)
            scores.append(_of_order(order))
        return self._noted(scores)


def _of_order(order: Permutation) -> FloatArray:
    """Score the places of an order as log(candidates / place); unnamed ones share what is left."""
    count = len(order.order)
    by_place = -np.log(np.arange(1, count + 1) / count)
    named = count - order.missing
    if named == 0:
        return np.full(count, np.nan, np.float32)
    by_place[named:] = by_place[named:].mean() if order.missing else 0.0
    row = np.empty(count, np.float32)
    row[list(order.order)] = by_place
    return row
