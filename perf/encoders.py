"""Which space of image and text is best? Retrieval by text and by example, on both halves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from photos import SCENES, Photos, flickr_captions, food_records, load_all, tags

from visuallens.models.embedded import EmbeddedModel
from visuallens.models.labels import imagenet_labels
from visuallens.models.spaces import (
    AnchorSpace,
    ConcatenatedSpace,
    ConseSpace,
    JoinedSpace,
    ProjectionSpace,
    Space,
    fit_projection,
    unit_length,
)
from visuallens.profile.category import category_embedding
from visuallens.types import FloatArray

_RIDGE = 300.0
_PRECISION_AT = 20
_RECALL_AT = 10
_EXAMPLES = 5
_DRAWS = 5


def section(model: EmbeddedModel, data: Path, photos: dict[str, Photos]) -> Iterator[str]:
    """Write the table."""
    texts = _Texts(model, data, photos)
    yield (
        "| space | may ship | half | scenes P@20 by text | by 5 example photos "
        "| Flickr8k caption to photo R@10 | food title to photo R@10 |"
    )
    yield "|---|---|---|---|---|---|---|"
    for half in ("development", "test"):
        for name, ships, space in _spaces(model, photos, texts, half):
            figures = _figures(space, photos, texts, half)
            row = " | ".join(f"{100 * figure:.1f}" for figure in figures)
            yield f"| {name} | {ships} | {half} | {row} |"
        yield f"| chance | | {half} | {_chance(photos, half)} |"


class _Texts:
    """Sentence embeddings of all that is asked."""

    def __init__(self, model: EmbeddedModel, data: Path, photos: dict[str, Photos]) -> None:
        encode = model.sentences.encode_texts
        captions, foods = flickr_captions(data), food_records(data)
        self.scenes = encode([f"things you see at a {name}" for name in SCENES])
        self.captions = encode([c for n in photos["flickr"].names for c in captions[n]])
        self.titles = encode([str(foods[name]["title"]) for name in photos["food"].names])
        self.foods = encode(
            [
                ", ".join(
                    [
                        str(foods[n]["title"]),
                        *tags(foods[n], "isTags"),
                        *tags(foods[n], "containsTags")[:4],
                    ]
                )
                for n in photos["food"].names
            ]
        )
        self.free = np.array(
            [str(foods[n]["license"]).lower() == "public domain" for n in photos["food"].names]
        )


def _spaces(
    model: EmbeddedModel, photos: dict[str, Photos], texts: _Texts, half: str
) -> Iterator[tuple[str, str, Space]]:
    anchors = model.anchors
    yield "anchors (default)", "yes", AnchorSpace(anchors)
    yield "ConSE", "yes", ConseSpace(anchors)
    yield "labels joined as text", "yes", JoinedSpace(imagenet_labels(), model.sentences)
    yield (
        "anchors + ConSE side by side",
        "yes",
        ConcatenatedSpace(AnchorSpace(anchors), ConseSpace(anchors)),
    )
    yield "projection, public domain food", "yes", _public_projection(photos, texts, half)
    projection = _projection(photos, texts, half)
    yield "projection, Flickr8k + food", "no", projection
    yield (
        "anchors + that projection side by side",
        "no",
        ConcatenatedSpace(AnchorSpace(anchors), projection),
    )


def _other_half(photos: Photos, half: str) -> NDArray[np.bool_]:
    return ~photos.is_test if half == "test" else photos.is_test


def _projection(photos: dict[str, Photos], texts: _Texts, half: str) -> ProjectionSpace:
    """Fit on the half that is not reported."""
    flickr, food = photos["flickr"], photos["food"]
    use_flickr, use_food = _other_half(flickr, half), _other_half(food, half)
    captions = unit_length(texts.captions.reshape(len(flickr.names), -1, 384).mean(axis=1))
    return fit_projection(
        np.concatenate([flickr.features[use_flickr], food.features[use_food]]),
        np.concatenate([captions[use_flickr], texts.foods[use_food]]),
        _RIDGE,
    )


def _public_projection(photos: dict[str, Photos], texts: _Texts, half: str) -> ProjectionSpace:
    use = _other_half(photos["food"], half) & texts.free
    return fit_projection(photos["food"].features[use], texts.foods[use], _RIDGE)


def _figures(
    space: Space, photos: dict[str, Photos], texts: _Texts, half: str
) -> tuple[float, float, float, float]:
    masks = {n: p.is_test if half == "test" else ~p.is_test for n, p in photos.items()}
    images = {
        n: space.images(p.where(masks[n]).features, p.where(masks[n]).logits)
        for n, p in photos.items()
    }
    scene_names = photos["scenes"].where(masks["scenes"]).names
    truth = np.array([SCENES.index(name.split("/")[0]) for name in scene_names])
    of_photo = np.repeat(np.arange(len(photos["flickr"].names)), 5)
    asked = masks["flickr"][of_photo]
    positions = np.cumsum(masks["flickr"]) - 1
    captions = space.texts(texts.captions[asked])
    titles = space.texts(texts.titles[masks["food"]])
    return (
        _precision(images["scenes"] @ space.texts(texts.scenes).T, truth),
        _precision_by_example(images["scenes"], truth),
        _recall(captions @ images["flickr"].T, positions[of_photo[asked]]),
        _recall(titles @ images["food"].T, np.arange(len(titles))),
    )


def _precision(similarities: FloatArray, truth: NDArray[np.int64]) -> float:
    best = np.argsort(-similarities, axis=0)[:_PRECISION_AT]
    return float((truth[best] == np.arange(similarities.shape[1])).mean())


def _precision_by_example(images: FloatArray, truth: NDArray[np.int64]) -> float:
    generator = np.random.default_rng(0)
    hits = []
    for scene in range(len(SCENES)):
        for _ in range(_DRAWS):
            examples = generator.choice(np.flatnonzero(truth == scene), _EXAMPLES, replace=False)
            similarities = images @ category_embedding(images[examples])
            similarities[examples] = -1
            best = np.argsort(-similarities)[:_PRECISION_AT]
            hits.append((truth[best] == scene).mean())
    return float(np.mean(hits))


def _recall(similarities: FloatArray, wanted: NDArray[np.int64]) -> float:
    own = similarities[np.arange(len(wanted)), wanted][:, None]
    return float(((similarities > own).sum(axis=1) < _RECALL_AT).mean())


def _chance(photos: dict[str, Photos], half: str) -> str:
    kept = {n: p.where(p.is_test if half == "test" else ~p.is_test) for n, p in photos.items()}
    scenes = 100 / len(SCENES)
    flickr = 100 * _RECALL_AT / len(kept["flickr"].names)
    food = 100 * _RECALL_AT / len(kept["food"].names)
    return f"{scenes:.1f} | {scenes:.1f} | {flickr:.1f} | {food:.1f}"


if __name__ == "__main__":
    import sys

    encoder = EmbeddedModel()
    folder = Path(sys.argv[1])
    for line in section(encoder, folder, load_all(encoder, folder)):
        print(line)
