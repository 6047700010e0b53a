"""The shared photos with what people said about them, split once into development and test.

A photo belongs to the development half when the md5 of "folder/name" is even. Everything was chosen
on the development half; the test half is only ever reported.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visuallens.images import open_photo
from visuallens.models.embedded import EmbeddedModel
from visuallens.types import FloatArray

SPACES: tuple[Literal["anchors", "concatenated", "conse"], ...] = (
    "anchors",
    "concatenated",
    "conse",
)
SCENES = ("buildings", "forest", "glacier", "mountain", "sea", "street")
_BATCH = 16


@dataclass(frozen=True)
class Photos:
    """Photos of one dataset, read by the classifier.

    Attributes:
        names: "folder/name" of each photo.
        features: (photos, 1280) float32.
        logits: (photos, 1000) float32.
    """

    names: tuple[str, ...]
    features: FloatArray
    logits: FloatArray

    @property
    def is_test(self) -> NDArray[np.bool_]:
        """Whether each photo is in the test half."""
        digests = (hashlib.md5(n.encode(), usedforsecurity=False) for n in self.names)
        return np.array([int(digest.hexdigest(), 16) % 2 == 1 for digest in digests])

    def where(self, mask: NDArray[np.bool_]) -> Photos:
        """Keep some photos."""
        kept = tuple(name for name, keep in zip(self.names, mask, strict=True) if keep)
        return Photos(kept, self.features[mask], self.logits[mask])


def read(model: EmbeddedModel, paths: Sequence[Path]) -> Photos:
    """Run the classifier over photo files."""

    def prepare(path: Path) -> FloatArray:
        opened = open_photo(path, min_side_px=model.input_side_px, max_pixels=10**8)
        return model.prepare(opened.image)

    features, logits = [], []
    with ThreadPoolExecutor(2) as threads:
        for start in range(0, len(paths), _BATCH):
            batch = list(threads.map(prepare, paths[start : start + _BATCH]))
            some_features, some_logits = model.classify(batch)
            features.append(some_features)
            logits.append(some_logits)
    names = tuple(f"{path.parent.name}/{path.name}" for path in paths)
    return Photos(names, np.concatenate(features), np.concatenate(logits))


def flickr_captions(data: Path) -> dict[str, list[str]]:
    """Read the five captions of each Flickr8k photo, by "images/name"."""
    captions: dict[str, list[str]] = {}
    with (data / "flickr8k/captions.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            captions.setdefault(f"images/{row['image']}", []).append(row["caption"])
    return captions


def food_records(data: Path) -> dict[str, dict[str, object]]:
    """Read the tags of each food photo, by "images/name"."""
    lines = (data / "food_aspects/photos.jsonl").read_text(encoding="utf-8").splitlines()
    return {f"images/{record['id']}": record for record in map(json.loads, lines)}


def tags(record: dict[str, object], *kinds: str) -> list[str]:
    """List the tags of some kinds of one food photo."""
    found = []
    for kind in kinds:
        values = record.get(kind, [])
        found += [str(value) for value in values] if isinstance(values, list) else []
    return found


def load_all(model: EmbeddedModel, data: Path) -> dict[str, Photos]:
    """Read Flickr8k, the food photos and the scenes."""
    return {
        "flickr": read(model, sorted((data / "flickr8k/images").glob("*.jpg"))),
        "food": read(model, sorted((data / "food_aspects/images").iterdir())),
        "scenes": read(model, sorted((data / "scenes").glob("*/*.jpg"))),
    }
