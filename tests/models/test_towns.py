from __future__ import annotations

import pytest

from visuallens.models.towns import nearest_town, without_town
from visuallens.types import GeoPoint

LISBON = GeoPoint(38.72, -9.14)


def test_a_position_has_a_town() -> None:
    town = nearest_town(LISBON)
    assert town is not None
    assert town.endswith("Portugal")
    assert nearest_town(None) is None


@pytest.mark.parametrize("said", ["Palace, June 2019", "Palace", ""])
def test_the_town_is_taken_out_of_a_caption(said: str) -> None:
    caption = f"{said}, {nearest_town(LISBON)}".lstrip(", ")
    assert without_town(caption, LISBON) == said
    assert without_town(said, LISBON) == said


def test_a_caption_of_a_photo_without_a_position_stays() -> None:
    assert without_town("A street in Lisbon, Portugal", None) == "A street in Lisbon, Portugal"
