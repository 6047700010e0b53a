"""Writing matching prompts that fit a backbone: what is too long is cut by rule and counted.

Ranking and training write them with the same code, so a trained model is asked what it learned.

Source: §4.2, candidate matching; appendix C, Figure 7; Table 3 for the switches.
Choice: descriptions first (to 160, 80, 40 characters, then none), then captions (those of the least
    similar photos first), last the number of candidates of a prompt; names and aspect words stay.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from visuallens.config import MatchingSettings
from visuallens.models.base import Backbone, PromptImage
from visuallens.models.label_space import MOST_LABELS, LabelSpace
from visuallens.models.towns import without_town
from visuallens.prompts import CandidateLine, as_data, matching_prompt, permutation_prompt
from visuallens.types import Candidate, Profile, ProfileCell, RankingRequest

_DESCRIPTION_CHARACTERS = (None, 160, 80, 40, 0)
_CAPTION_SHARES = (0.5, 0.25, 0.0)
_LEAST_WINDOW = 2
_MOST_FOR_IMAGE = 0.8


def _order(request: RankingRequest, settings: MatchingSettings) -> tuple[int, ...]:
    """List the positions of candidates by a digest of their ids, or as they came."""
    places = range(len(request.candidates))
    if settings.order == "given":
        return tuple(places)
    digests = [hashlib.sha256(one.id.encode()).digest() for one in request.candidates]
    return tuple(sorted(places, key=digests.__getitem__))


@dataclass(frozen=True, slots=True)
class Cut:
    """How much of a request a prompt says.

    Attributes:
        description_characters: longest description, None for all of it.
        captions: how many photos' captions, most similar photos first.
        window: most candidates of a prompt.
    """

    description_characters: int | None
    captions: int
    window: int

    def description(self, candidate: Candidate) -> str:
        """Cut a description, between words where it has any; see `as_data`."""
        return as_data(candidate.description, self.description_characters)

    def counts(
        self, candidates: Sequence[Candidate], cells: Sequence[ProfileCell], window: int
    ) -> dict[str, int]:
        """Count what is left out; empty when nothing is."""
        captions = sum(bool(cell.caption) for cell in cells)
        kept = sum(bool(cell.caption) for cell in cells[: self.captions])
        whole = [len(as_data(candidate.description)) for candidate in candidates]
        said = [len(self.description(candidate)) for candidate in candidates]
        cut = {
            "descriptions_cut": sum(0 < s < w for s, w in zip(said, whole, strict=True)),
            "descriptions_left_out": sum(s == 0 < w for s, w in zip(said, whole, strict=True)),
            "captions_cut": captions - kept,
            "window_cut": max(0, min(window, len(candidates)) - self.window),
        }
        return {name: number for name, number in cut.items() if number}


class MatchingPrompts:
    """The matching prompts of one request, cut to fit a backbone.

    Args:
        request: with at least one candidate.
        profile: of the request, with its image where it shall be shown.
        backbone: that will read them.
        settings: what is said and shown, and how long it may be.

    Attributes:
        order: positions of the request's candidates in the order of `candidates`.
        candidates: of the request, in an order of their own unless the given one is wanted.
        in_words: the backbone is asked for an order in words, not for labels.
        by_name: candidates are not listed; the answer is the name of one of them.
        labels: that name candidates.
        names: of `candidates`, as answers.
        image: that goes with every prompt, or None.
        cut: how much of the request is said.
        counts: of what is left out, by name.

    Choice: candidates are put into an order of their own (by a digest of their ids), so that the
        order in which they came decides nothing.
    """

    def __init__(
        self,
        request: RankingRequest,
        profile: Profile,
        backbone: Backbone,
        settings: MatchingSettings,
    ) -> None:
        self._request, self._profile = request, profile
        self._backbone, self._settings = backbone, settings
        self._style = backbone.style or settings.style
        self.order = _order(request, settings)
        self.candidates = tuple(request.candidates[at] for at in self.order)
        self.in_words = backbone.scores == "permutation"
        self.labels = _numbers() if self.in_words else backbone.label_space(settings.labels)
        self.by_name = self.labels.kind == "names"
        self.names = [as_data(candidate.name) for candidate in self.candidates]
        self.counts: Counter[str] = Counter()
        grid = profile.image if shows_image(profile, backbone, settings) else None
        self.image = None if grid is None else PromptImage(grid, profile.grid_side)
        self.cut = self._fit()

    def write(self, window: Sequence[int]) -> str:
        """Write the prompt of some candidates.

        Args:
            window: positions in `candidates`, in the order in which they are listed; without
                effect where they are not.

        Returns:
            The prompt, which ends where the answer begins.
        """
        return self._write(window, self.cut)

    def without_profile(self) -> str:
        """Write the question alone, of which nobody's taste can be read."""
        return matching_prompt(self._request.question.category, (), (), (), style=self._style)

    def _fit(self) -> Cut:
        """Choose how much to say, and count what is left out; an image that leaves no room goes."""
        backbone = self._backbone
        budget = min(self._settings.max_tokens or backbone.max_tokens, backbone.max_tokens)
        cells, window = self._profile.cells, min(len(self.labels), MOST_LABELS)
        listed = self.candidates
        if self.by_name:
            listed, window = (), len(self.candidates)
        (around,) = backbone.count_tokens([""], image=self.image)
        if self.image is not None and around > budget * _MOST_FOR_IMAGE:
            self.image = None
            self.counts["image_cut"] = 1
            (around,) = backbone.count_tokens([""], image=None)

        def longest(cut: Cut) -> int:
            # The longest candidates, as if all were in one prompt.
            by_length = sorted(range(len(listed)), key=lambda at: -_bytes_of(listed[at], cut))
            prompt = self._write(by_length[: cut.window], cut)
            if len(prompt.encode()) + around <= budget:
                return 0  # no tokenizer makes more tokens than bytes
            (count,) = backbone.count_tokens([prompt], image=self.image)
            return count

        cut = first_that_fits(len(cells), window, longest, budget)
        self.counts.update(cut.counts(listed, cells, window))
        return cut

    def _write(self, window: Sequence[int], cut: Cut) -> str:
        lines = []
        for label, at in zip(self.labels.labels, window, strict=False):
            candidate = self.candidates[at]
            lines.append(CandidateLine(label, candidate.name, cut.description(candidate)))
        write = permutation_prompt if self.in_words else matching_prompt
        captions = self._profile.cells[: cut.captions] if self._settings.captions else ()
        return write(
            self._request.question.category,
            self._profile.aspect_words if self._settings.aspects else (),
            [(cell.number, self._caption(cell)) for cell in captions if cell.caption],
            lines,
            style=self._style,
        )

    def _caption(self, cell: ProfileCell) -> str:
        """Give a caption; where a photo was taken leaves this machine in none."""
        if self._backbone.stays_here:
            return cell.caption
        return without_town(cell.caption, cell.photo.metadata.location)


def shows_image(profile: Profile, backbone: Backbone, settings: MatchingSettings) -> bool:
    """Tell whether the grid of a profile is shown to a backbone.

    Source: Table 3, Img.
    """
    return settings.image and backbone.sees and len(profile.cells) > 0


def first_that_fits(cells: int, window: int, longest: Callable[[Cut], int], budget: int) -> Cut:
    """Find the least cut whose longest prompt fits.

    Args:
        cells: number of photos of the profile.
        window: most candidates of a prompt.
        longest: tokens of the longest prompt under a cut.
        budget: most tokens of a prompt.

    Returns:
        The cut; the strongest one if none fits, so that the backbone says how long it still is.
    """
    cut = Cut(None, cells, window)
    for cut in _cuts(cells, window):
        if longest(cut) <= budget:
            break
    return cut


def _cuts(cells: int, window: int) -> Iterator[Cut]:
    for characters in _DESCRIPTION_CHARACTERS:
        yield Cut(characters, cells, window)
    for share in _CAPTION_SHARES:
        yield Cut(0, int(cells * share), window)
    while window > _LEAST_WINDOW:
        window = max(_LEAST_WINDOW, window // 2)
        yield Cut(0, 0, window)


def _bytes_of(candidate: Candidate, cut: Cut) -> int:
    return len(f"{as_data(candidate.name)}{cut.description(candidate)}".encode())


def _numbers() -> LabelSpace:
    """Labels for models that answer in words: [1] to [100]."""
    return LabelSpace("letters", tuple(f"[{at}]" for at in range(1, MOST_LABELS + 1)), (), "")
