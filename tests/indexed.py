"""A tiny benchmark whose photos are indexed by their colours, and tiny backbones to train on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.augment.reader import ColourReader
from visuallens import registry
from visuallens.augment.pipeline import index
from visuallens.augment.store import Library
from visuallens.benchmark.folder import Benchmark
from visuallens.config import Settings, load_settings
from visuallens.models.base import PhotoModel
from visuallens.profiles import BenchmarkProfiles
from visuallens.sources import find_files
from visuallens.types import FloatArray
from visuallens.users import open_user

if TYPE_CHECKING:
    from visuallens.models.backbones.local import LocalBackbone

# Workers import this module for its colours; what needs torch is imported where it is used.

USER = "all"

_DIM = 192

SMALL = (
    "index.model=colours",
    "retrieval.max_photos=4",
    "profile.grid_side=2",
    "profile.image_side_px=64",
    "matching.max_tokens=1200",
    "training.lora.rank=4",
    "training.lora.dropout=0",
)


class ColourModel(ColourReader):
    """Embeds texts among colours, by their bytes; see `PhotoModel`."""

    def __init__(self, settings: object = None) -> None:
        del settings
        super().__init__()

    def load(self) -> None:
        """Nothing is to be loaded."""

    @property
    def sentences(self) -> ColourModel:
        return self

    @cached_property
    def unrelated(self) -> FloatArray:
        return self.encode_texts([f"thing {number}" for number in range(40)])

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        seeds = [np.frombuffer(text.encode(), np.uint8).tolist() for text in texts]
        rows = [np.random.default_rng(seed).random(_DIM) for seed in seeds]
        found = np.array(rows, np.float32).reshape(len(texts), _DIM)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    def encode_categories(self, categories: Sequence[str]) -> FloatArray:
        return self.encode_texts(categories)


def small_settings(*overrides: str) -> Settings:
    """Resolve settings that make everything small."""
    return load_settings(None, [*SMALL, *overrides])


def index_photos(library: Path, photos: Path | Sequence[Path]) -> None:
    """Index photos as those of `USER`."""
    with Library.open(library, create=True, writable=True) as opened:
        found = find_files(list(photos) if isinstance(photos, Sequence) else photos)
        index(opened, found, [ColourModel()], user_id=USER, settings=small_settings())


def open_profiles(benchmark: Path, library: Path, settings: Settings) -> BenchmarkProfiles:
    """Open the profiles of an indexed benchmark; the library stays open."""
    model: PhotoModel = ColourModel()
    indexed = open_user(Library.open(library), USER, model, settings)
    return BenchmarkProfiles(Benchmark(benchmark), indexed, model, settings)


def write_nano(folder: Path) -> Path:
    """Save a tiny nano; the folder is made once."""
    from tests.models.backbones import tiny_nano

    if not folder.exists():
        tiny_nano.write(folder)
    return folder


def open_tiny(name: str, folder: Path, settings: Settings) -> LocalBackbone:
    """Open tiny weights as a registered backbone, with a trainable adapter."""
    from visuallens.training.adapted import open_adapted

    chosen = settings.backbone.model_copy(update={"name": name, "model": str(folder)})
    training = settings.training
    style = settings.matching.style
    return open_adapted(chosen, training.lora, training.joint.labels, style, seed=settings.seed)


def open_trained(folder: Path, settings: Settings, adapter: Path) -> LocalBackbone:
    """Open a tiny nano with a saved adapter, as for ranking."""
    update = {"name": "nano", "model": str(folder), "adapter": adapter}
    chosen = settings.backbone.model_copy(update=update)
    backbone: LocalBackbone = registry.load("backbones", "nano")(chosen)
    return backbone
