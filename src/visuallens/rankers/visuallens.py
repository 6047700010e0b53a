"""The method of the paper: one backbone reads the profile and names the candidate that comes next.

profile → prompt → log-probability of each candidate's label as the first token → ranking.

Source: §4.2, candidate matching; appendix C, Figure 7; appendix D; Table 3 for the switches.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from visuallens.config import MatchingSettings
from visuallens.errors import BackboneError, RequestError
from visuallens.models.base import Backbone, PromptImage
from visuallens.models.label_space import MOST_LABELS, LabelSpace
from visuallens.models.towns import without_town
from visuallens.prompts import (
    CandidateLine,
    Permutation,
    as_data,
    matching_prompt,
    parse_permutation,
    permutation_prompt,
)
from visuallens.rankers.base import RankerResources, to_ranking
from visuallens.rankers.fitting import Cut, first_that_fits
from visuallens.rankers.windows import Window, rank_in_windows
from visuallens.types import (
    Candidate,
    FloatArray,
    Profile,
    ProfileCell,
    Ranking,
    RankingRequest,
)

_TOKENS_PER_LABEL = 6
_MOST_FOR_IMAGE = 0.8
_CUT = (
    ("image_cut", "the image was left out"),
    ("descriptions_cut", "{} descriptions were shortened"),
    ("descriptions_left_out", "{} descriptions left out"),
    ("captions_cut", "{} captions left out"),
)


class VisualLensRanker:
    """See `Ranker`; needs a backbone.

    Choice: candidates are put into an order of their own (by a digest of their ids) and then
        shuffled with the request's seed, so that neither the order in which they came nor a place
        in the prompt decides; `matching.shuffles` averages over several orders.
    """

    name = "visuallens"

    def __init__(self, resources: RankerResources) -> None:
        self._resources = resources

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`.

        Args:
            request: with at least one candidate.

        Returns:
            All candidates; a score is the mean log-lift of a label over chance in its prompts.

        Raises:
            RequestError: there is no backbone, or there are no candidates.
            BackboneError: the backbone cannot answer.
        """
        if self._resources.backbone is None:
            raise RequestError("The ranker 'visuallens' needs a backbone. Choose one: --backbone.")
        if not request.candidates:
            return to_ranking(request, self.name, [])
        backbone = self._resources.backbone()
        asked = _Asked(
            request, self._profile(request, backbone), backbone, self._resources.matching
        )
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
        shows = self._resources.matching.image and backbone.sees and profile.cells
        if shows and profile.image is None and self._resources.draw is not None:
            return self._resources.draw(profile)
        return profile


@dataclass
class _Asked:
    """One request while its backbone is asked."""

    request: RankingRequest
    profile: Profile
    backbone: Backbone
    settings: MatchingSettings
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._order = sorted(
            range(len(self.request.candidates)),
            key=lambda at: hashlib.sha256(self.request.candidates[at].id.encode()).digest(),
        )
        self._in_words = self.backbone.scores == "permutation"
        self._labels = _numbers() if self._in_words else self._label_space()
        self._told = False
        self._style = self.backbone.style or self.settings.style
        self._image = self._shown_image()
        self._cut = self._fit()

    def scores(self) -> FloatArray:
        """Score the candidates of the request, in the order of the request."""
        count, size = len(self._order), self._cut.window
        rounds = self.settings.shuffles
        if count > size:
            rounds = max(rounds, self.settings.rounds)
        generator = np.random.default_rng((self.request.seed, 2))
        ask = self._ask_in_words if self._in_words else self._ask_labels
        own = rank_in_windows(count, size, rounds, generator, ask)
        if not self._told:
            raise BackboneError(
                self.backbone.id,
                "it told nothing about any candidate: no label was among what it answered. Choose "
                "another model, or another --ranker.",
            )
        scores = np.empty(count, np.float32)
        scores[self._order] = own
        return scores

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

    def _label_space(self) -> LabelSpace:
        return self.backbone.label_space(self.settings.labels)

    def _shown_image(self) -> PromptImage | None:
        profile = self.profile
        if not (self.settings.image and self.backbone.sees and profile.image is not None):
            return None
        return PromptImage(profile.image, profile.grid_side) if profile.cells else None

    def _fit(self) -> Cut:
        """Choose how much to say, and count what is left out; an image that leaves no room goes."""
        budget = min(self.settings.max_tokens or self.backbone.max_tokens, self.backbone.max_tokens)
        cells, window = self.profile.cells, min(len(self._labels), MOST_LABELS)
        (around,) = self.backbone.count_tokens([""], image=self._image is not None)
        if self._image is not None and around > budget * _MOST_FOR_IMAGE:
            self._image = None
            self.counts["image_cut"] = 1
            (around,) = self.backbone.count_tokens([""], image=False)
        candidates = self.request.candidates

        def longest(cut: Cut) -> int:
            # The longest candidates, as if all were in one prompt.
            by_length = sorted(
                range(len(candidates)),
                key=lambda at: -_bytes_of(candidates[self._order[at]], cut),
            )
            prompt = self._prompt(by_length[: cut.window], cut)
            if len(prompt.encode()) + around <= budget:
                return 0  # no tokenizer makes more tokens than bytes
            (count,) = self.backbone.count_tokens([prompt], image=self._image is not None)
            return count

        cut = first_that_fits(len(cells), window, longest, budget)
        self.counts.update(cut.counts(candidates, cells, window))
        return cut

    def _prompt(self, window: Sequence[int], cut: Cut) -> str:
        lines = []
        for label, at in zip(self._labels.labels, window, strict=False):
            candidate: Candidate = self.request.candidates[self._order[at]]
            lines.append(CandidateLine(label, candidate.name, cut.description(candidate)))
        write = permutation_prompt if self._in_words else matching_prompt
        captions = self.profile.cells[: cut.captions] if self.settings.captions else ()
        return write(
            self.request.question.category,
            self.profile.aspect_words if self.settings.aspects else (),
            [(cell.number, self._caption(cell)) for cell in captions if cell.caption],
            lines,
            style=self._style,
        )

    def _caption(self, cell: ProfileCell) -> str:
        """Give a caption; where a photo was taken leaves this machine in none."""
        if self.backbone.stays_here:
            return cell.caption
        return without_town(cell.caption, cell.photo.metadata.location)

    def _ask_labels(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Score windows by the log-probabilities of their labels."""
        prompts = [self._prompt(window, self._cut) for window in windows]
        self.counts["prompts"] += len(prompts)
        size = max(len(window) for window in windows)
        logs = self.backbone.score_labels(
            [self._image] * len(prompts), prompts, self._labels.cut(size)
        )
        rows = zip(logs, windows, strict=True)
        return self._noted([self._lift(row[: len(window)]) for row, window in rows])

    def _noted(self, scores: list[FloatArray]) -> list[FloatArray]:
        """Remember whether anything was told at all."""
        self._told = self._told or any(not np.isnan(row).all() for row in scores)
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
        prompts = [self._prompt(window, self._cut) for window in windows]
        self.counts["prompts"] += len(prompts)
        longest = max(len(window) for window in windows)
        answers = self.backbone.generate(
            [self._image] * len(prompts), prompts, max_new_tokens=longest * _TOKENS_PER_LABEL
        )
        scores = []
        for window, answer in zip(windows, answers, strict=True):
            order = parse_permutation(answer, self._labels.labels[: len(window)])
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


def _bytes_of(candidate: Candidate, cut: Cut) -> int:
    return len(f"{as_data(candidate.name)}{cut.description(candidate)}".encode())


def _numbers() -> LabelSpace:
    """Labels for models that answer in words: [1] to [100]."""
    return LabelSpace("letters", tuple(f"[{at}]" for at in range(1, MOST_LABELS + 1)), (), "")
