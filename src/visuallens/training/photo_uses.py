"""Which photos the training examples show, and the aspect words that these begin with (§5.2).

Only the train split is read. A photo that no training history shows is never opened, looked up or
asked about, whatever dev, test or a candidate shows.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from visuallens.benchmark.folder import Benchmark
from visuallens.errors import TrainingError
from visuallens.profiles import BenchmarkProfiles
from visuallens.prompts import as_data
from visuallens.types import Photo, RankingRequest

Words = Mapping[str, tuple[str, ...]]
"""Aspect words by photo: its path below the benchmark's photos folder, with slashes."""

SPLIT = "train"


@dataclass(frozen=True, slots=True)
class Shown:
    """A training example, as far as refinement needs it.

    Attributes:
        user_id: who asks.
        photos: of its profile, as `Words` names them.
    """

    user_id: str
    photos: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Beginning:
    """What refinement starts from.

    Attributes:
        examples: of the train split, by their numbers.
        words: W^(0) of the photos that the examples show and that have any.
        makers: photo → model id of what made its words.
        without_words: photos that the examples show and that have none.
    """

    examples: tuple[Shown, ...]
    words: Words
    makers: Mapping[str, str]
    without_words: int


class TrainPhotos(Benchmark):
    """A benchmark whose category photos are those that training histories show.

    Args:
        folder: of the benchmark.

    Choice: what a category looks like decides which photos a profile shows; with photos of dev or
        test in it, these would take part in training.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        photos = (one for request in self.requests(SPLIT) for one in request.history.photos)
        self._train_paths = frozenset(photo.path for photo in photos)

    def category_photos(self, request: RankingRequest, count: int) -> tuple[str, ...]:
        """See `Benchmark.category_photos`; fewer of them, for most may be left out."""
        drawn = super().category_photos(request, count)
        return tuple(path for path in drawn if path in self._train_paths)


def find_beginning(
    benchmark: Benchmark, profiles: BenchmarkProfiles | None, words: Words | None
) -> Beginning:
    """Find the photos of training examples and their first words.

    Args:
        benchmark: whose train split is read, and nothing else.
        profiles: retrieve the photos of each example's profile; None: its whole history.
        words: W^(0); None: those of the library that the profiles are built from.

    Returns:
        Where refinement begins.

    Raises:
        TrainingError: neither words nor profiles are given, or no photo has words.

    Source: §5.2; §4.2 for the retrieved photos.
    Choice: Figure 6 shows a photo of the very category that is asked for, so a photo is judged by
        the examples whose profile shows it, not by all whose history holds it.
    """
    if profiles is None and words is None:
        raise TrainingError("there are no aspect words", "Give a library, or a file: --words.")
    above = benchmark.photos_folder
    found: dict[str, tuple[str, ...]] = {}
    makers: dict[str, str] = {}
    examples: list[Shown] = []
    looked_up: set[str] = set()
    for request in benchmark.requests(SPLIT):
        photos = _photos_of(request, profiles)
        named = {name_photo(one.path, above): one for one in photos}
        examples.append(Shown(request.history.user_id, tuple(named)))
        new = {name: photo for name, photo in named.items() if name not in looked_up}
        looked_up.update(new)
        if words is not None:
            found.update((name, words[name]) for name in new if words.get(name))
        elif profiles is not None and new:
            for name, own, model in _described(request, new, profiles):
                found[name], makers[name] = own, model
    if not found:
        raise TrainingError(
            f"none of the {len(looked_up):,} photos of training profiles has aspect words",
            "Index the benchmark's photos into the library first, or check the paths of --words.",
        )
    return Beginning(tuple(examples), found, makers, len(looked_up) - len(found))


def name_photo(path: str, above: Path) -> str:
    """Name a photo as `Words` does.

    Args:
        path: of its file, as requests have it.
        above: the benchmark's photos folder.

    Returns:
        Its path below that folder, with slashes.
    """
    # Paths of requests are joined as text; pathlib is far slower, and a benchmark has millions.
    return path.removeprefix(f"{above}{os.sep}").replace(os.sep, "/")


def sample_uses(
    examples: Iterable[Shown], photos: Iterable[str], most: int, seed: int
) -> dict[str, tuple[int, ...]]:
    """Draw the examples that choose among a photo's words.

    Args:
        examples: all of the train split.
        photos: whose uses are wanted.
        most: examples of each photo.
        seed: with photo and example it decides the draw, whatever else is in the benchmark.

    Returns:
        Photo → numbers of at most so many examples, ascending; every photo has one at least.
    """
    uses: dict[str, list[int]] = {photo: [] for photo in photos}
    for number, example in enumerate(examples):
        for photo in example.photos:
            if photo in uses:
                uses[photo].append(number)
    return {photo: _draw(photo, own, most, seed) for photo, own in uses.items()}


def sample_photos(photos: Iterable[str], most: int | None, seed: int) -> list[str]:
    """Draw photos.

    Args:
        photos: to draw from.
        most: how many; None: all.
        seed: of the draw.

    Returns:
        The photos, sorted.
    """
    if most is None:
        return sorted(photos)
    return sorted(heapq.nsmallest(most, photos, key=lambda photo: _lot(seed, photo, -1)))


def read_words(file: Path, photo_field: str = "photo", words_field: str = "words") -> Words:
    """Read first aspect words from JSON lines.

    Args:
        file: one photo a line.
        photo_field: field of the photo's path below the benchmark's photos folder.
        words_field: field of its words, a list of texts.

    Returns:
        Words in lower case, harmless (`as_data`), each once.

    Raises:
        TrainingError: the file cannot be read, or a line is not of that form; names the line.
    """
    found: dict[str, tuple[str, ...]] = {}
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    photo, words = _parsed(line, photo_field, words_field, f"{file}, line {number}")
                    found[photo] = words
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{file} cannot be read ({error})", "Check --words.") from error
    return found


def _parsed(line: str, photo_field: str, words_field: str, at: str) -> tuple[str, tuple[str, ...]]:
    try:
        record = json.loads(line)
        photo, words = record[photo_field], record[words_field]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{at}: it has no fields {photo_field!r} and {words_field!r} ({error!r})",
            "Name the fields with --words-fields PHOTO,WORDS.",
        ) from error
    is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not (isinstance(photo, str) and is_list):
        raise TrainingError(
            f"{at}: {photo_field!r} must be a text and {words_field!r} a list of texts",
            "Name other fields with --words-fields PHOTO,WORDS.",
        )
    clean = (as_data(word).lower() for word in words)
    return photo, tuple(dict.fromkeys(word for word in clean if word))


def _photos_of(request: RankingRequest, profiles: BenchmarkProfiles | None) -> list[Photo]:
    if profiles is None:
        return list(request.history.photos)
    return [cell.photo for cell in profiles.profile(request).cells]


def _described(
    request: RankingRequest, photos: Mapping[str, Photo], profiles: BenchmarkProfiles
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Look up words in the library, with the model that made them."""
    known = profiles.opened(request.history).describe([photo.id for photo in photos.values()])
    for name, photo in photos.items():
        said = known.get(photo.id)
        if said is not None and said.aspect_words:
            yield name, said.aspect_words, said.model


def _draw(photo: str, numbers: list[int], most: int, seed: int) -> tuple[int, ...]:
    drawn = heapq.nsmallest(most, numbers, key=lambda number: _lot(seed, photo, number))
    return tuple(sorted(drawn))


def _lot(seed: int, photo: str, number: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{number}/{photo}".encode(), digest_size=8).digest()
