from __future__ import annotations

import numpy as np
import pyarrow as pa

from visuallens.benchmark.left import PhotosLeft


def _three() -> PhotosLeft:
    left = PhotosLeft(10)
    left.add(["a", "b"], [["park", "bar"], None], [True, True])
    left.add(["gone"], [["park"]], [False])
    assert left.close()
    return left


def test_photos_that_are_gone_or_unknown_have_no_kind() -> None:
    kinds = _three().kinds(pa.array(["b", "gone", "a", "unknown", None, "b"]))
    assert (kinds >= 0).tolist() == [True, False, True, False, False, True]
    assert kinds[0] == kinds[5] != kinds[2]


def test_a_photo_shows_its_own_categories_only() -> None:
    left = _three()
    kinds = left.kinds(pa.array(["a", "a", "a", "b"]))
    asked = ["park", "bar", "zoo"]
    assert left.shows(kinds, asked, np.array([0, 1, 2, 0])).tolist() == [True, True, False, False]


def test_no_photos_at_all_are_looked_up() -> None:
    assert len(_three().kinds(pa.array([], pa.string()))) == 0


def test_an_id_that_occurs_twice_is_noticed() -> None:
    left = PhotosLeft(2)
    left.add(["a", "a"], [[], []], [True, False])
    assert not left.close()
