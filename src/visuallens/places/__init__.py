"""Where candidates come from: a file of places, or a city that comes with the package.

A places file replaces the nearby businesses of the benchmarks (§6.1) for everyday use: it is read
by `formats`, understood by `fields` and narrowed down by `filter`.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from visuallens.errors import PlacesError, UnknownNameError
from visuallens.places.fields import ACCEPTED_NAMES, to_candidates
from visuallens.places.filter import (
    around,
    category_counts,
    distance_km,
    distances_km,
    in_categories,
    in_category,
    nearest,
    within,
)
from visuallens.places.formats import read_records

if TYPE_CHECKING:
    from visuallens.types import Candidate

__all__ = [
    "ACCEPTED_NAMES",
    "around",
    "bundled_cities",
    "bundled_city",
    "candidates_named",
    "category_counts",
    "distance_km",
    "distances_km",
    "in_categories",
    "in_category",
    "nearest",
    "read_places",
    "within",
]


def read_places(path: Path) -> tuple[Candidate, ...]:
    """Read a file of places.

    Args:
        path: a CSV, JSON, JSON Lines, GeoJSON or Parquet file, gzip allowed. `ACCEPTED_NAMES`
            lists the columns that are understood; all others are ignored.

    Returns:
        The places in the file's order; at least one.

    Raises:
        PlacesError: the file cannot be read or understood, or holds no places. It names the row
            and column where the problem is in one.

    Choice: one bad row refuses the file, since a place left out in silence would look like a
    place that is not liked.
    """
    candidates = to_candidates(read_records(path), path)
    if not candidates:
        raise PlacesError(path, "the file holds no places", "Add at least one row.")
    return candidates


def bundled_cities() -> tuple[str, ...]:
    """List the cities that come with the package, sorted, in lower case."""
    folder = files(__name__).joinpath("cities")
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".csv") for name in names if name.endswith(".csv")))


def bundled_city(name: str) -> tuple[Candidate, ...]:
    """Read the well-known places of a bundled city.

    Args:
        name: one of `bundled_cities()`, in any letter case.

    Returns:
        The city's places, without ratings and photos.

    Raises:
        UnknownNameError: that city is not bundled.

    Choice: no ratings, because figures that we made up would steer the answers.
    """
    known = bundled_cities()
    wanted = name.strip().lower()
    if wanted not in known:
        raise UnknownNameError("bundled city", name, known)
    with as_file(files(__name__).joinpath("cities", f"{wanted}.csv")) as path:
        return read_places(path)


def candidates_named(name: str) -> tuple[Candidate, ...]:
    """Read the places that a user named: a bundled city, or else a file.

    Args:
        name: name of a bundled city, or a path; a file of that name wins.

    Returns:
        The places; at least one.

    Raises:
        PlacesError: there is neither, or the file cannot be understood.
    """
    path = Path(name)
    if not path.exists() and name.strip().lower() in bundled_cities():
        return bundled_city(name)
    return read_places(path)
