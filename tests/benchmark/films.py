"""A small seeded dump in the schema of `movielens-v`: real in form, drawn in content.

Most people rate in sittings over many days and like some genres more than others; one in twelve
types everything in one second, as many do in the genuine data. The same arguments give the same
bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GENRES = ("Action", "Children's", "Comedy", "Drama", "Film-Noir", "Romance", "Sci-Fi", "Western")
AT_ONCE = 12
"""One user in so many rates everything in one second."""

_RATINGS = (50, 90)
_PER_SITTING = 5
_DAY_S = 86_400
_BEGIN_S = 946_684_800  # 2000-01-01
_YEARS_S = 3 * 365 * _DAY_S
_COUNTRIES = ("USA", "France", "Japan", "")
_NOUNS = "River|Clock|Fox|Letter|Winter|Road|Garden|Stranger|Island|Song"
_PLOTS = "looks for|runs from|falls in love with|forgets|sells|dreams of"
_POSTER_PX = (36, 54)

Ints = NDArray[np.int64]


def write_films(folder: Path, *, users: int = 60, films: int = 400, seed: int = 0) -> Path:
    """Write ratings.csv, movies.jsonl and posters/ID.jpg.

    Args:
        folder: made if it is not there.
        users: with 50 to 89 ratings each, as far as there are films.
        films: one in fifty has no poster.
        seed: of every draw.

    Returns:
        The folder.
    """
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.sort(generator.choice(10 * films, films, replace=False)) + 1
    genres = [
        generator.choice(len(GENRES), generator.integers(1, 4), replace=False) for _ in range(films)
    ]
    _write_films(generator, folder / "movies.jsonl", ids, genres)
    _write_ratings(generator, folder / "ratings.csv", users, ids, genres)
    _draw_posters(generator, folder / "posters", ids)
    return folder


def _write_films(generator: np.random.Generator, path: Path, ids: Ints, genres: list[Ints]) -> None:
    nouns = _NOUNS.split("|")
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for film, own in zip(ids.tolist(), genres, strict=True):
            year = int(generator.integers(1930, 2018))
            one, other = generator.choice(nouns, 2, replace=False)
            verb = generator.choice(_PLOTS.split("|"))
            row = {
                "id": film,
                "title": f"The {one} and the {other} No. {film} ({year})",
                "year": year,
                "genres": sorted(GENRES[at] for at in own),
                "plot": f"The {one.lower()} {verb} the {other.lower()}.",
                "country": str(generator.choice(_COUNTRIES)),
                "language": "English",
                "runtime": f"{generator.integers(70, 180)} min",
                "awards": "",
                "imdbrating": f"{generator.uniform(3, 9):.1f}",
                "director": "",
            }
            file.write(json.dumps(row) + "\n")


def _write_ratings(
    generator: np.random.Generator, path: Path, users: int, ids: Ints, genres: list[Ints]
) -> None:
    popularity = 1 / np.arange(3, len(ids) + 3) ** 0.7
    popularity = generator.permutation(popularity)
    belongs = np.zeros((len(ids), len(GENRES)))
    for film, own in enumerate(genres):
        belongs[film, own] = 1
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("userId,movieId,rating,timestamp\n")
        for user in range(users):
            taste = generator.gamma(0.6, size=len(GENRES)) + 0.1
            liked = popularity * (belongs @ taste)
            count = min(int(generator.integers(*_RATINGS)), len(ids))
            seen = generator.choice(len(ids), count, replace=False, p=liked / liked.sum())
            times = _times(generator, count, at_once=user % AT_ONCE == AT_ONCE - 1)
            stars = generator.integers(1, 11, count) / 2
            for film, star, at_s in zip(seen, stars, times.tolist(), strict=True):
                file.write(f"films-2000/{user + 1},{ids[film]},{star:.1f},{at_s}\n")


def _times(generator: np.random.Generator, count: int, *, at_once: bool) -> Ints:
    """Draw when a user rates: a few films in a sitting, and days between sittings."""
    begin = _BEGIN_S + int(generator.integers(_YEARS_S))
    if at_once:
        return np.full(count, begin)
    sitting = np.arange(count) // _PER_SITTING
    pauses = generator.integers(1, 40, sitting[-1] + 1).cumsum() * _DAY_S
    times: Ints = begin + pauses[sitting] + np.arange(count) % _PER_SITTING * 7
    return times


def _draw_posters(generator: np.random.Generator, folder: Path, ids: Ints) -> None:
    """Draw posters of coarse noise; no two are alike."""
    folder.mkdir(exist_ok=True)
    for number, film in enumerate(ids.tolist()):
        if number % 50 != 49:
            pixels = generator.integers(0, 256, (6, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(_POSTER_PX).save(folder / f"{film}.jpg", quality=85)
