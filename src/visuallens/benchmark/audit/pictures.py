"""Near-duplicates: the same picture under two ids, in a history and at a candidate.

Pictures are compared by their perceptual hash (`images.fingerprint`); each file is read once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from visuallens.benchmark.audit.controls import Tally, judge
from visuallens.benchmark.audit.ranks import Flags
from visuallens.benchmark.audit.sample import Sample
from visuallens.benchmark.audit.shown import PhotoFacts, Shown, choices_of, photos_of
from visuallens.benchmark.audit.verdict import Check, not_checked
from visuallens.config import ImageSettings
from visuallens.images import SAME_PICTURE_BITS, fingerprint, open_pixels

_MIN_SIDE_PX = 64
"""Enough for a perceptual hash, which looks at 32 x 32 pixels."""

_ENOUGH_FILES = 0.5
"""Share of the files that has to be there: fewer show too few of the pairs."""

_MANY = 20_000
"""Files read at most."""


class Pictures:
    """Perceptual hashes of the photos of some requests.

    Args:
        shown: requests; the first of them whose files are few enough are looked at.
    """

    def __init__(self, shown: Sequence[Shown]) -> None:
        self.shown, paths = _affordable(shown)
        self.wanted = len(paths)
        self._hashes = _fingerprints(paths)
        self.found = len(self._hashes)

    def reason_not_to_check(self) -> str | None:
        """Say why pictures cannot be compared, if so."""
        if self.found >= max(1, _ENOUGH_FILES * self.wanted):
            return None
        return (
            f"{self.found:,} of {self.wanted:,} photo files are there; get them with: "
            "visuallens benchmark fetch"
        )

    def hashes(self, paths: Iterable[str]) -> NDArray[np.uint64]:
        """Give the hashes of those files that could be read."""
        found = (self._hashes.get(path) for path in paths)
        return np.array([one for one in found if one is not None], dtype=np.uint64)


def near_duplicates(sample: Sample, pictures: Pictures, facts: Mapping[str, PhotoFacts]) -> Check:
    """Check that a candidate whose picture is in the history is no likelier to be ground truth.

    Choice: photos of one business in both are not counted: that it was visited is another check.
    """

    def flags(shown: Shown) -> Flags:
        paths = [photo.path for photo in shown.example.request.history.photos]
        of = [facts[path].business_id if path in facts else "" for path in paths]
        return np.array(
            [
                _alike(
                    pictures.hashes(candidate.photos),
                    pictures.hashes(
                        path for path, one in zip(paths, of, strict=True) if one != candidate.id
                    ),
                )
                for candidate in shown.example.request.candidates
            ],
            np.bool_,
        )

    return _check(sample, pictures, "near-duplicate photos", [flags(one) for one in pictures.shown])


def category_duplicates(sample: Sample, pictures: Pictures) -> Check:
    """Check that pictures drawn for a category do not show ground truth under another id."""

    def flags(shown: Shown) -> Flags:
        drawn = pictures.hashes(shown.category or ())
        candidates = shown.example.request.candidates
        return np.array(
            [_alike(pictures.hashes(one.photos), drawn) for one in candidates], np.bool_
        )

    return _check(sample, pictures, "category pictures", [flags(one) for one in pictures.shown])


def _check(sample: Sample, pictures: Pictures, name: str, flags: Sequence[Flags]) -> Check:
    figures = {"files": float(pictures.found), "wanted": float(pictures.wanted)}
    choices = choices_of(pictures.shown, flags)
    reason = pictures.reason_not_to_check()
    if reason or choices is None:
        return not_checked(name, reason or "there are no examples", figures)
    alike = choices.values["flag"]
    tally = Tally(sample.seed)
    tally.add(choices, {"near-duplicates first": alike, "near-duplicates last": -alike})
    scores = tally.scores()
    note = (
        f"{int(alike.sum()):,} of {len(alike):,} candidates; {pictures.found:,} of "
        f"{pictures.wanted:,} photo files are there"
    )
    check = judge(name, scores, [one for one in scores if one.beats_chance], note)
    figures |= {**check.figures, "near-duplicates": float(alike.sum())}
    return Check(name, check.verdict, check.evidence, figures)


def _alike(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> bool:
    if not len(some) or not len(others):
        return False
    bits = np.bitwise_count(some[:, None] ^ others[None])
    return bool((bits <= SAME_PICTURE_BITS).any())


def _affordable(shown: Sequence[Shown]) -> tuple[list[Shown], list[str]]:
    """Take requests until their photos are too many; at least one."""
    taken: list[Shown] = []
    paths: dict[str, None] = {}
    for one in shown:
        wanted = dict.fromkeys(photos_of(one))
        if taken and len(paths.keys() | wanted.keys()) > _MANY:
            break
        paths |= wanted
        taken.append(one)
    return taken, list(paths)


def _fingerprints(paths: Sequence[str]) -> dict[str, int]:
    there = [path for path in paths if Path(path).is_file()]
    max_pixels = ImageSettings().max_pixels

    def read(path: str) -> int | None:
        image = open_pixels(path, _MIN_SIDE_PX, max_pixels)
        return None if image is None else fingerprint(image)

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as threads:
        bar = tqdm(threads.map(read, there), total=len(there), unit="photo", disable=None)
        hashes = list(bar)
    return {path: one for path, one in zip(there, hashes, strict=True) if one is not None}
