from __future__ import annotations

from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from visuallens.drawn import (
    COLOURS,
    KINDS,
    MOODS,
    SIDE_PX,
    THINGS,
    Scene,
    draw_scene,
    read_mood,
    read_skyline,
    read_thing,
    skyline,
)


def photographed(scene: Scene, seed: int = 0, quality: int = 92) -> np.ndarray:
    """Draw a scene and send it through a JPEG file."""
    file = BytesIO()
    draw_scene(scene, np.random.default_rng(seed)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_drawn_is_read_again(kind: str, colour: str) -> None:
    for number, (thing, mood) in enumerate(zip((*THINGS, None), (None, *MOODS), strict=True)):
        pixels = photographed(Scene(kind, colour, thing, mood), number)
        assert (read_thing(pixels), read_mood(pixels)) == (thing, mood)
        np.testing.assert_array_equal(read_skyline(pixels), skyline(kind))


def test_a_skyline_by_hand() -> None:
    # Heights 1 2 3 4 4 3 2 1 in a skyline of four rows: the lowest row is dark everywhere, the
    # highest where the height is 4.
    rows = ["".join("#" if dark else "." for dark in row) for row in skyline("garden")]
    assert rows == ["...##...", "..####..", ".######.", "########"]


def test_two_signs_differ_in_half_of_their_squares() -> None:
    plain = {word: photographed(Scene("cafe", "jade", word)) for word in THINGS}
    for one, other in combinations(THINGS, 2):
        changed = abs(plain[one].astype(int) - plain[other]).mean(axis=2)[40:56, 24:40] > 100
        assert 0.4 < changed.mean() < 0.6


def test_a_small_cell_shows_the_colour_and_no_sign() -> None:
    # 16 px, as the small backbone sees a cell.
    def small(scene: Scene) -> np.ndarray:
        image = Image.fromarray(photographed(scene))
        return np.asarray(image.resize((16, 16), Image.Resampling.BOX)).astype(int)

    colours = [small(Scene("cafe", colour, "piano", "quiet")) for colour in COLOURS]
    signs = [
        small(Scene("cafe", "jade", thing, mood)) for thing, mood in zip(THINGS, MOODS, strict=True)
    ]
    between_colours = min(abs(a - b).mean() for a, b in combinations(colours, 2))
    between_signs = max(abs(a - b).mean() for a, b in combinations(signs, 2))
    assert between_signs < 0.02 * between_colours


def test_nothing_is_read_from_a_picture_that_is_not_drawn() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    for pixels in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
        assert read_thing(pixels) is None
        assert read_mood(pixels) is None


def test_no_two_photos_have_the_same_bytes() -> None:
    generator = np.random.default_rng(0)
    one, other = (draw_scene(Scene("cafe", "jade"), generator) for _ in range(2))
    assert one.tobytes() != other.tobytes()
