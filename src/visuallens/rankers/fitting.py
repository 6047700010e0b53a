"""Writing matching prompts that fit a backbone: what is too long is cut by rule and counted.

Choice: descriptions first (to 160, 80, 40 characters, then none), then captions (those of the least
    similar photos first), last the number of candidates of a prompt; names and aspect words stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from visuallens.prompts import as_data
from visuallens.types import Candidate, ProfileCell

_DESCRIPTION_CHARACTERS = (None, 160, 80, 40, 0)
_CAPTION_SHARES = (0.5, 0.25, 0.0)
_LEAST_WINDOW = 2


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
