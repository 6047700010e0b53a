"""VisualLens: recommendations from the photos a person has taken.

>>> from visuallens import VisualLens
>>> lens = VisualLens("my-library")
>>> lens.index("~/Pictures")
>>> lens.recommend("a museum nearby", "places.csv").candidates[0].candidate.name

Names are imported when they are first used, so that `import visuallens` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visuallens.answer import Answer
    from visuallens.api import VisualLens
    from visuallens.config import Settings, load_settings
    from visuallens.errors import VisualLensError
    from visuallens.places import bundled_city, read_places
    from visuallens.profile.grid import gridify
    from visuallens.profile.saved import load_profile, save_profile
    from visuallens.types import (
        Candidate,
        Evidence,
        GeoPoint,
        Photo,
        Profile,
        Question,
        RankedCandidate,
        Ranking,
        RankingRequest,
        Refusal,
        VisualHistory,
    )

__version__ = "0.1.0"

_HOMES = {
    "Answer": "answer",
    "Candidate": "types",
    "Evidence": "types",
    "GeoPoint": "types",
    "Photo": "types",
    "Profile": "types",
    "Question": "types",
    "RankedCandidate": "types",
    "Ranking": "types",
    "RankingRequest": "types",
    "Refusal": "types",
    "Settings": "config",
    "VisualHistory": "types",
    "VisualLens": "api",
    "VisualLensError": "errors",
    "bundled_city": "places",
    "gridify": "profile.grid",
    "load_profile": "profile.saved",
    "load_settings": "config",
    "read_places": "places",
    "save_profile": "profile.saved",
}

__all__ = [
    "Answer",
    "Candidate",
    "Evidence",
    "GeoPoint",
    "Photo",
    "Profile",
    "Question",
    "RankedCandidate",
    "Ranking",
    "RankingRequest",
    "Refusal",
    "Settings",
    "VisualHistory",
    "VisualLens",
    "VisualLensError",
    "bundled_city",
    "gridify",
    "load_profile",
    "load_settings",
    "read_places",
    "save_profile",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'visuallens' has no attribute {name!r}")
    return getattr(import_module(f"visuallens.{_HOMES[name]}"), name)
