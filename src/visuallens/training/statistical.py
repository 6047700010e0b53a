"""Chooses aspect words by statistics of training users, where there is no strong model (§5.2).

Choice: all of it is ours; the paper asks a language model. `StatisticalSelector` gives the formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.folder import Benchmark
from visuallens.config.training import AspectTrainingSettings
from visuallens.errors import TrainingError
from visuallens.training.photo_uses import SPLIT, Shown, Words, name_photo
from visuallens.training.selectors import Offered, Selection
from visuallens.types import Candidate

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]

_WORD = re.compile(r"\w+")
_RIGHT, _OTHER = 0, 1


@dataclass(frozen=True, slots=True)
class Counts:
    """How often candidates share a word, counted over examples.

    Attributes:
        shared: (right or other, words) candidates that share the word.
        total: (right or other, words) or (right or other, 1) candidates that were counted.
    """

    shared: Numbers
    total: Numbers


class StatisticalSelector:
    """See `Selector`; keeps what tells right candidates from others, in the eyes of other users.

    Args:
        benchmark: its train split is counted, nothing else is read.
        examples: of the train split, by number.
        settings: `folds`, `prior` and `least_z`.
        seed: of the folds.

    Raises:
        TrainingError: there are fewer than two users.

    A candidate shares a word w when w stands in its name, description or categories, or among the
    words W^(j-1) of one of its photos that a training profile shows. Let a of the A right
    candidates and c of the C others share w, counted over the examples whose profile has w. Then

        q = (a + c) / (A + C)
        theta = ln[(a + m q) / (A - a + m (1 - q))] - ln[(c + m q) / (C - c + m (1 - q))]
        s = 1 / (a + m q) + 1 / (A - a + m (1 - q)) + 1 / (c + m q) + 1 / (C - c + m (1 - q))

    with m = `prior`: m imagined candidates on either side that share w as often as all do, which
    draws theta to 0 where there is little to count. theta' and s' are the same over the examples
    whose profile lacks w. The word is kept when

        z = (theta - theta') / sqrt(s + s') > least_z.

    Source: the log-odds ratio with an informative prior and its variance are those of Monroe et
        al., "Fightin' Words", Political Analysis 16 (2008), section 3.3.
    Choice: theta' is subtracted, because a word by which everybody's next place can be told, such
        as one of popular places, says nothing of this user's taste. A word that all or no profiles
        have, or that no candidate shares, has z = 0 and goes.
    Choice: users are dealt into folds, and what a user's profile decides about a photo rests on the
        counts of the other folds alone, so no answer of a user chooses that user's own words.
    Choice: candidates are counted as if they were independent, which those of one user are not; z
        is a threshold, no test.
    """

    name = "statistical"

    def __init__(
        self,
        benchmark: Benchmark,
        examples: Sequence[Shown],
        settings: AspectTrainingSettings,
        seed: int,
    ) -> None:
        self._benchmark, self._examples, self._settings = benchmark, examples, settings
        self._folds = deal_users((one.user_id for one in examples), settings.folds, seed)
        self._rows: dict[str, int] = {}
        self._z: Numbers = np.zeros((0, 0))

    @property
    def id(self) -> str:
        """The estimator with its settings."""
        own = self._settings
        return f"log-odds@1(folds={own.folds}, prior={own.prior:g}, least_z={own.least_z:g})"

    def begin(self, words: Words) -> None:
        """See `Selector.begin`; counts the whole train split."""
        keys = sorted({key for own in words.values() for key in map(word_key, own) if key})
        self._rows = {key: row for row, key in enumerate(keys)}
        count = max(self._folds.values()) + 1
        having, lacking = self._count(Matches(words, self._rows, self._benchmark), count)
        self._z = np.stack(
            [
                z_scores(_without(having, fold), _without(lacking, fold), self._settings.prior)
                for fold in range(count)
            ]
        )

    def select(self, offered: Sequence[Offered]) -> list[Selection]:
        """See `Selector.select`."""
        return [
            Selection(tuple(self._kept(one)), len(one.examples), len(one.examples))
            for one in offered
        ]

    def _kept(self, offered: Offered) -> Iterator[str]:
        folds = sorted({self._folds[self._examples[at].user_id] for at in offered.examples})
        for word in offered.words:
            row = self._rows.get(word_key(word))
            if row is not None and self._z[folds, row].max() > self._settings.least_z:
                yield word

    def _count(self, matches: Matches, folds: int) -> tuple[Counts, Counts]:
        """Count the folds apart: (folds, right or other, words), profiles with and without w."""
        shape = (folds, 2, len(self._rows))
        shared, shared_having, all_having = (np.zeros(shape) for _ in range(3))
        everything = np.zeros((folds, 2, 1))
        pairs = zip(self._examples, self._benchmark.examples(SPLIT), strict=True)
        for shown, example in pairs:
            fold = self._folds[shown.user_id]
            in_profile = matches.of_photos(shown.photos)
            right = [one for one in example.request.candidates if one.id in example.ground_truth]
            others = [
                one for one in example.request.candidates if one.id not in example.ground_truth
            ]
            for kind, group in ((_RIGHT, right), (_OTHER, others)):
                rows, times = matches.of_candidates(group)
                has = np.isin(rows, in_profile, assume_unique=True)
                shared[fold, kind, rows] += times
                shared_having[fold, kind, rows[has]] += times[has]
                all_having[fold, kind, in_profile] += len(group)
                everything[fold, kind] += len(group)
        having = Counts(shared_having, all_having)
        return having, Counts(shared - shared_having, everything - all_having)


def z_scores(having: Counts, lacking: Counts, prior: float) -> Numbers:
    """Score words by how far their presence in a profile raises the odds of right candidates.

    Args:
        having: over the examples whose profile has the word.
        lacking: over the others.
        prior: m.

    Returns:
        (words,) z as `StatisticalSelector` defines it; 0 where either side has nothing to count.
    """
    raised, variance = log_odds(having, prior)
    base, base_variance = log_odds(lacking, prior)
    z: Numbers = (raised - base) / np.sqrt(variance + base_variance)
    return z


def log_odds(counts: Counts, prior: float) -> tuple[Numbers, Numbers]:
    """Compare how often right candidates and others share words.

    Args:
        counts: of (2, words).
        prior: m.

    Returns:
        theta and its variance s, (words,) each, as `StatisticalSelector` defines them; 0 and
        infinity where no candidate shares the word, or all do.
    """
    whole = np.broadcast_to(counts.total, counts.shared.shape)
    number = whole.sum(axis=0)
    share = counts.shared.sum(axis=0) / np.maximum(number, 1)
    known = (share > 0) & (share < 1)
    share = np.where(known, share, 0.5)
    yes = counts.shared + prior * share
    no = whole - counts.shared + prior * (1 - share)
    odds = np.log(yes / no)
    variance = (1 / yes + 1 / no).sum(axis=0)
    return np.where(known, odds[_RIGHT] - odds[_OTHER], 0.0), np.where(known, variance, np.inf)


def deal_users(user_ids: Iterable[str], folds: int, seed: int) -> dict[str, int]:
    """Deal users into folds of equal size.

    Args:
        user_ids: any number of times each.
        folds: how many; fewer where there are fewer users.
        seed: of the deal.

    Returns:
        User → fold, from 0.

    Raises:
        TrainingError: there are fewer than two users.
    """
    users = sorted(set(user_ids))
    if len(users) < 2:
        raise TrainingError(
            f"the statistical selector judges a user's words by other users; here are {len(users)}",
            "Use a larger benchmark, or the selector 'backbone'.",
        )
    order = np.random.default_rng((seed, 6)).permutation(len(users))
    return {users[int(at)]: place % folds for place, at in enumerate(order)}


def word_key(word: str) -> str:
    """Write a word as it is compared: its words in lower case with single spaces."""
    return " ".join(_WORD.findall(word.casefold()))


class Matches:
    """Which words photos have and candidates share, as rows of the counts.

    Args:
        words: of photos.
        rows: key of a word (`word_key`) → its row.
        benchmark: of the photos.

    Choice: words are compared whole and as they are written; "rust" is not in "rusted".
    """

    def __init__(self, words: Words, rows: Mapping[str, int], benchmark: Benchmark) -> None:
        self._rows = rows
        self._longest = max((key.count(" ") + 1 for key in rows), default=0)
        self._of_photo = {
            photo: {rows[key] for key in map(word_key, own) if key} for photo, own in words.items()
        }
        self._above = benchmark.photos_folder
        self._of_text: dict[str, frozenset[int]] = {}

    def of_photos(self, photos: Iterable[str]) -> Rows:
        """List the words that photos have together."""
        found = set().union(*(self._of_photo.get(photo, ()) for photo in photos))
        return np.array(sorted(found), np.int64)

    def of_candidates(self, candidates: Sequence[Candidate]) -> tuple[Rows, Rows]:
        """List the words that candidates share, and how many of them share each."""
        each = [row for one in candidates for row in self._of_candidate(one)]
        return np.unique(np.array(each, np.int64), return_counts=True)

    def _of_candidate(self, candidate: Candidate) -> set[int]:
        if candidate.id not in self._of_text:
            texts = (candidate.name, candidate.description, *candidate.categories)
            self._of_text[candidate.id] = frozenset(
                row for text in texts for row in self._in_text(text)
            )
        names = (name_photo(path, self._above) for path in candidate.photos)
        return set(self._of_text[candidate.id]).union(*(self._of_photo.get(n, ()) for n in names))

    def _in_text(self, text: str) -> Iterator[int]:
        words = word_key(text).split()
        for length in range(1, self._longest + 1):
            for start in range(len(words) - length + 1):
                row = self._rows.get(" ".join(words[start : start + length]))
                if row is not None:
                    yield row


def _without(counts: Counts, fold: int) -> Counts:
    """Add up all folds but one."""
    return Counts(*(one.sum(axis=0) - one[fold] for one in (counts.shared, counts.total)))
