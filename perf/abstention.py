"""How often does VisualLens answer when it should not, and when it should?

A library is drawn from one dataset or from all; a question asks for a category of which the
library has no photo (a false answer if it is answered), or of which it has at least five. A photo
counts as of a category when what people wrote about it says so; photos that might show it are kept
out of the libraries that must have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from photos import SPACES, Photos, flickr_captions, food_records, load_all, tags

from visuallens.config import EmbeddedSettings
from visuallens.models.embedded import EmbeddedModel
from visuallens.profile.evidence import NullDistribution
from visuallens.types import FloatArray

_SIZES = (30, 100, 300)
_DRAWS = 4
_LEAST_PHOTOS = 5
_RATES = (0.02, 0.05, 0.1)

# category: (words of photos that may show it, words of photos that surely do)
CATEGORIES = {
    "forest": ("forest wood tree trail", "forest"),
    "mountain": ("mountain glacier snow cliff rock hill climb peak ski", "mountain"),
    "beach": ("beach sea ocean sand surf wave shore", "beach sea$"),
    "street": ("street building city sidewalk road urban", "street building"),
    "glacier": ("glacier snow ice mountain ski", "glacier"),
    "restaurant": ("food restaurant eat table drink meal", "restaurant"),
    "pizza": ("pizza italian", "pizza"),
    "coffee shop": (
        "coffee espresso cappuccino latte cup tea drink cafe breakfast",
        "coffee cappuccino espresso",
    ),
    "ice cream shop": ("ice.cream dessert gelato frozen sundae", "ice.cream"),
    "bakery": ("bread cake pastr bak dessert croissant muffin cookie toast", "bread cake muffin"),
    "burger restaurant": ("burger sandwich", "burger"),
    "dog park": ("dog puppy animal", "dog"),
    "swimming pool": ("swim pool water", "swimming.pool pool"),
    "ski resort": ("ski snow slope mountain glacier", "skier skis skiing snowboard"),
    "bicycle shop": ("bicycle bike bik cycl", "bicycle bike"),
    "salad bar": ("salad vegetable lettuce food", "salad"),
    "soccer field": ("soccer football ball", "soccer"),
    "skate park": ("skateboard skate ramp", "skateboard"),
    "basketball court": ("basketball", "basketball"),
}

# Nothing in the photos is of these.
ABSENT = (
    "museum", "library", "car dealer", "hair salon", "aquarium", "concert hall", "piano store",
    "airport", "casino", "bowling alley", "furniture store", "bookstore", "jewelry store",
    "pharmacy", "computer store", "tattoo parlor", "golf course", "cinema", "tailor", "shoe shop",
    "winery", "brewery", "butcher", "dentist", "train station", "hardware store",
)  # fmt: skip


@dataclass(frozen=True)
class _Pool:
    """All photos of one half, with what people wrote about each."""

    embeddings: FloatArray
    texts: tuple[str, ...]
    datasets: NDArray[np.str_]

    def that_say(self, words: str) -> NDArray[np.bool_]:
        pattern = re.compile("|".join(rf"\b{word}" for word in words.split()))
        return np.array([pattern.search(text) is not None for text in self.texts])


def section(data: Path, photos: dict[str, Photos]) -> Iterator[str]:
    """Write the table."""
    yield (
        "| space | half | allowed rate | false answers | answered when photos are there "
        "| libraries without, with |"
    )
    yield "|---|---|---|---|---|---|"
    for half in ("development", "test"):
        for space in SPACES:
            model = EmbeddedModel(EmbeddedSettings(space=space))
            without, having = _p_values(model, _pool(model, data, photos, half))
            for rate in _RATES:
                false = 100 * np.mean(without <= rate)
                right = 100 * np.mean(having <= rate)
                counts = f"{len(without)}, {len(having)}"
                yield f"| {space} | {half} | {rate} | {false:.1f} % | {right:.1f} % | {counts} |"


def _pool(model: EmbeddedModel, data: Path, photos: dict[str, Photos], half: str) -> _Pool:
    captions, foods = flickr_captions(data), food_records(data)
    embeddings, texts, datasets = [], [], []
    for name, dataset in photos.items():
        kept = dataset.where(dataset.is_test if half == "test" else ~dataset.is_test)
        embeddings.append(model.space.images(kept.features, kept.logits))
        datasets += [name] * len(kept.names)
        for photo in kept.names:
            if name == "flickr":
                texts.append(" ".join(captions[photo]).lower())
            elif name == "food":
                words = tags(foods[photo], "isTags", "containsTags", "descriptiveTags", "rawTags")
                texts.append(f"{foods[photo]['title']} {' '.join(words)} food restaurant".lower())
            else:
                texts.append(photo.split("/")[0])
    return _Pool(np.concatenate(embeddings), tuple(texts), np.array(datasets))


def _p_values(model: EmbeddedModel, pool: _Pool) -> tuple[FloatArray, FloatArray]:
    generator = np.random.default_rng(0)
    without, having = [], []
    for category, (possible, certain) in CATEGORIES.items():
        vector = model.encode_categories([category])[0]
        may_show, shows = pool.that_say(possible), pool.that_say(certain)
        for size in _SIZES:
            for _ in range(_DRAWS):
                library = _draw(pool, ~may_show, size, generator)
                without.append(_p_value(model, pool.embeddings[library], vector))
                own = np.flatnonzero(shows)
                count = min(len(own), max(_LEAST_PHOTOS, size // 10))
                added = generator.choice(own, count, replace=False)
                mixed = np.concatenate([_draw(pool, ~may_show, size, generator), added])
                having.append(_p_value(model, pool.embeddings[mixed], vector))
    everything = np.ones(len(pool.texts), dtype=np.bool_)
    for category in ABSENT:
        vector = model.encode_categories([category])[0]
        for size in _SIZES:
            for _ in range(_DRAWS // 2):
                library = _draw(pool, everything, size, generator)
                without.append(_p_value(model, pool.embeddings[library], vector))
    return np.array(without, np.float32), np.array(having, np.float32)


def _draw(
    pool: _Pool, allowed: NDArray[np.bool_], size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw a library from one dataset, or from all of them."""
    dataset = generator.choice(["flickr", "food", "scenes", "all"])
    rows = np.flatnonzero(allowed & ((pool.datasets == dataset) | (dataset == "all")))
    if len(rows) < size:
        rows = np.flatnonzero(allowed)
    return generator.choice(rows, min(size, len(rows)), replace=False)


def _p_value(model: EmbeddedModel, embeddings: FloatArray, category: FloatArray) -> float:
    nulls = NullDistribution.of(embeddings, model.unrelated, _LEAST_PHOTOS)
    return nulls.standing(embeddings @ category, 0.05).p_value


if __name__ == "__main__":
    import sys

    encoder = EmbeddedModel()
    folder = Path(sys.argv[1])
    for line in section(folder, load_all(encoder, folder)):
        print(line)
