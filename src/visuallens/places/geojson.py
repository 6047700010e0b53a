"""Turns one GeoJSON feature into a flat record: its properties, its id and its position.

Source: RFC 7946, section 3; positions are longitude, latitude. No section of the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from visuallens.errors import PlacesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def flatten_feature(path: Path, number: int, feature: Mapping[str, object]) -> dict[str, object]:
    """Merge the properties of a feature with its id and its position.

    Args:
        path: of the file, for messages.
        number: row number of the feature, 1-based.
        feature: a GeoJSON object with type "Feature".

    Returns:
        The properties, plus `id` where they have none, plus `latitude` and `longitude` in degrees
        as the file gives them (range is not checked here). Without a geometry, no position.

    Raises:
        PlacesError: the geometry has no usable coordinates.

    Choice: a line or an area stands at the middle of its bounding box, since maps draw parks and
    museums as areas and a recommendation needs one point.
    """
    properties = feature.get("properties")
    record: dict[str, object] = {"id": feature.get("id")}
    record.update(properties if isinstance(properties, dict) else {})
    geometry = feature.get("geometry")
    if geometry is None:
        return record
    coordinates = geometry.get("coordinates") if isinstance(geometry, dict) else None
    positions = list(_positions(coordinates))
    if not positions:
        problem = "the geometry has no coordinates"
        advice = 'Write it as {"type": "Point", "coordinates": [longitude, latitude]}.'
        raise PlacesError(path, problem, advice, row=number, column="geometry")
    longitudes, latitudes = zip(*positions, strict=True)
    return record | {"latitude": _middle(latitudes), "longitude": _middle(longitudes)}


def _middle(values: tuple[float, ...]) -> float:
    return values[0] if len(values) == 1 else (min(values) + max(values)) / 2


def _positions(coordinates: object) -> Iterator[tuple[float, float]]:
    """Walk nested coordinate lists down to their (longitude, latitude) pairs."""
    if not isinstance(coordinates, list):
        return
    if len(coordinates) >= 2 and all(_is_number(value) for value in coordinates[:2]):
        yield float(coordinates[0]), float(coordinates[1])
        return
    for inner in coordinates:
        yield from _positions(inner)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
