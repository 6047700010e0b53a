"""The businesses that can be recommended, loaded once in each process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visuallens.benchmark.base import Distance
from visuallens.benchmark.businesses import BUSINESSES
from visuallens.benchmark.neighbours import IntArray, Neighbours, Points, search_points
from visuallens.benchmark.splits import half_of

COUNTS = "counts.parquet"
"""Reviews by business, of all buckets."""


@dataclass(frozen=True, slots=True)
class WorldPlan:
    """What a world is loaded from; equal plans share one world in a process.

    Attributes:
        folder: holds the numbered businesses and their counts.
        kept: categories that questions ask for.
        distance: what `nearest` means.
        halves: of the businesses, as the parts name them; (None,) where all are together.
        seed: decides who is in which half.
    """

    folder: Path
    kept: frozenset[str]
    distance: Distance
    halves: tuple[int | None, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class World:
    """All businesses, by number.

    Attributes:
        names: (n,) equal numbers for names that differ in letter case only.
        categories: of each, those that questions ask for.
        half: (n,) 0 or 1; all 0 where they are together.
        positions: (n, 2) degrees or (n, 1) log popularity; NaN where there is none.
        neighbours: those that can be recommended, by half and category.
    """

    names: IntArray
    categories: Sequence[tuple[str, ...]]
    half: NDArray[np.int8]
    positions: Points
    neighbours: Mapping[tuple[int | None, str], Neighbours]


@lru_cache(maxsize=1)
def load_world(plan: WorldPlan) -> World:
    """Load the businesses, and index by category those that have a name and a position.

    Choice: a business without a name or a position cannot be recommended, but what was
        photographed there belongs to histories.
    """
    columns = ["business_id", "name", "categories", "latitude", "longitude"]
    table = pq.read_table(plan.folder / BUSINESSES, columns=columns)
    categories = [
        tuple(one for one in listed if one in plan.kept)
        for listed in table.column("categories").to_pylist()
    ]
    names = _name_numbers(table.column("name").to_pylist())
    positions = _positions(plan, table)
    half = np.zeros(len(names), np.int8)
    if plan.halves != (None,):
        ids = table.column("business_id").to_pylist()
        half = np.array([half_of(one, plan.seed) for one in ids], np.int8)
    eligible = np.flatnonzero((names >= 0) & ~np.isnan(positions).any(axis=1))
    return World(
        names, categories, half, positions, _index(plan, eligible, categories, half, positions)
    )


def _index(
    plan: WorldPlan,
    eligible: IntArray,
    categories: Sequence[tuple[str, ...]],
    half: NDArray[np.int8],
    positions: Points,
) -> dict[tuple[int | None, str], Neighbours]:
    members: dict[tuple[int | None, str], list[int]] = {}
    for business in eligible.tolist():
        for which in plan.halves:
            if which is None or which == half[business]:
                for category in categories[business]:
                    members.setdefault((which, category), []).append(business)
    indexed = {}
    for key, listed in members.items():
        rows = np.array(listed, np.int64)
        indexed[key] = Neighbours(rows, search_points(positions[rows], plan.distance))
    return indexed


def _name_numbers(names: Sequence[str | None]) -> IntArray:
    """Number names without regard to letter case and spaces; -1 for no name."""
    known: dict[str, int] = {"": -1}
    keys = (" ".join((name or "").casefold().split()) for name in names)
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)


def _positions(plan: WorldPlan, table: Any) -> Points:  # noqa: ANN401 - pyarrow is untyped
    if plan.distance == "great_circle":
        degrees = (
            pa.compute.fill_null(table.column(name), np.nan).to_numpy()
            for name in ("latitude", "longitude")
        )
        return np.column_stack([np.asarray(column, np.float64) for column in degrees])
    counts = pq.read_table(plan.folder / COUNTS)
    popularity = np.full((table.num_rows, 1), np.nan)
    popularity[counts.column("business").to_numpy(), 0] = np.log(
        counts.column("reviews").to_numpy()
    )
    return popularity
