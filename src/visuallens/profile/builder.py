"""Builds a preference profile: retrieve, describe, and draw the grid (§4.2, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from visuallens.config import ProfileSettings, RetrievalSettings
from visuallens.profile.grid import gridify
from visuallens.profile.opened import OpenHistory
from visuallens.profile.retriever import Retrieval, draw_by_chance, retrieve
from visuallens.profile.text import profile_text, telling_words
from visuallens.types import (
    Augmentation,
    FloatArray,
    Photo,
    Profile,
    ProfileCell,
    Question,
)


def build_profile(
    opened: OpenHistory,
    question: Question,
    category: FloatArray,
    retrieval: RetrievalSettings,
    layout: ProfileSettings,
    *,
    seed: int = 0,
) -> Profile:
    """Retrieve the photos that the question brings up and put their words together.

    Args:
        opened: the user's history.
        question: goes into the profile.
        category: (dim,) float32, unit length, v_c.
        retrieval: how many photos, and whether recent ones count more.
        layout: the grid's shape.
        seed: draws the photos where retrieval is switched off.

    Returns:
        The profile without its image; `draw` adds it. An empty history gives an empty profile.
    """
    found = _found(opened, category, retrieval, seed)
    photos = [opened.history.photos[int(index)] for index in found.indices]
    cells = _cells(photos, found.similarities, opened.describe([photo.id for photo in photos]))
    words = telling_words(cells, opened.word_shares)
    return Profile(
        user_id=opened.history.user_id,
        question=question,
        cells=cells,
        aspect_words=words,
        text=profile_text(cells, words),
        grid_side=layout.grid_side,
        image_side_px=layout.image_side_px,
        embeddings=opened.embeddings[found.indices],
    )


def draw(profile: Profile, open_image: Callable[[Photo], Image.Image | None]) -> Profile:
    """Add the grid image i_{u,q} to a profile.

    Args:
        profile: with or without an image.
        open_image: returns the photo's pixels, or None when its file cannot be opened any more.

    Returns:
        The same profile with its image.
    """
    images = [open_image(cell.photo) for cell in profile.cells]
    grid = gridify(images, grid_side=profile.grid_side, image_side_px=profile.image_side_px)
    return replace(profile, image=grid)


def _found(
    opened: OpenHistory, category: FloatArray, retrieval: RetrievalSettings, seed: int
) -> Retrieval:
    if not retrieval.by_category:
        return draw_by_chance(
            opened.embeddings,
            category,
            max_photos=retrieval.max_photos,
            generator=np.random.default_rng((seed, 3)),
            moments=opened.moments,
        )
    return retrieve(
        opened.embeddings,
        category,
        max_photos=retrieval.max_photos,
        moments=opened.moments,
        age_days=opened.age_days,
        half_life_days=retrieval.half_life_days,
    )


def _cells(
    photos: Sequence[Photo], similarities: FloatArray, described: Mapping[str, Augmentation]
) -> tuple[ProfileCell, ...]:
    cells = []
    for number, (photo, similarity) in enumerate(zip(photos, similarities, strict=True), start=1):
        said = described.get(photo.id)
        caption, words = (said.caption, said.aspect_words) if said else ("", ())
        cells.append(ProfileCell(number, photo, float(similarity), caption, words))
    return tuple(cells)
