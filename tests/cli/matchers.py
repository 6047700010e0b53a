"""Folders of matchers that fit photos indexed by their colours."""

from __future__ import annotations

from pathlib import Path

from tests.indexed import ColourModel, small_settings
from tests.models.matcher import draw_matcher

from visuallens.models.attention_folder import save_matcher


def write_matcher(folder: Path, *, bias: float = 0.0) -> Path:
    """Save a small matcher, as `visuallens train attention` does; another bias, other weights."""
    (dim,) = ColourModel().encode_texts(["any"])[0].shape
    matcher = draw_matcher(dim, dim)
    for value in matcher.head.state_dict().values():
        value.add_(bias)
    save_matcher(matcher, folder, small_settings().model_dump(mode="json"))
    return folder
