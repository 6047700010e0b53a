"""Does the untrained `similarity` ranker find what a person with a taste would choose?

A simulated user has 8 photos of one kind of food, 12 of other food and 40 of everyday life; the
candidates are real Yelp businesses, 5 of the kind and 55 of others. Chance is exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import comb
from pathlib import Path

import numpy as np
from photos import SPACES, Photos, food_records, load_all, tags

from visuallens.config import EmbeddedSettings, ProfileSettings, RetrievalSettings
from visuallens.models.embedded import EmbeddedModel
from visuallens.profile.builder import build_profile
from visuallens.profile.opened import OpenHistory
from visuallens.rankers.base import RankerResources
from visuallens.rankers.similarity import SimilarityRanker
from visuallens.types import Candidate, FloatArray, Photo, Question, RankingRequest, VisualHistory

TASTES = {
    "Pizza": "pizza",
    "Burgers": "burger hamburger cheeseburger",
    "Sushi Bars": "sushi",
    "Ice Cream & Frozen Yogurt": "gelato sundae cream",
    "Coffee & Tea": "coffee cappuccino espresso latte",
    "Mexican": "mexican burrito taco tacos nachos",
    "Salad": "salad",
    "Seafood": "shrimp seafood fish lobster crab",
    "Bakeries": "bread croissant muffin bagel cake",
    "Breakfast & Brunch": "pancake pancakes waffle omelette egg eggs",
    "Wine Bars": "wine",
    "Noodles": "noodles ramen noodle",
    "Steakhouses": "steak",
    "Desserts": "dessert chocolate",
}
_USERS_PER_TASTE = 16
_RELEVANT, _OTHERS = 5, 55


def section(data: Path, photos: dict[str, Photos]) -> Iterator[str]:
    """Write the table."""
    businesses = _businesses(data)
    yield "| space | half | users | MRR | chance MRR | Hit@3 | chance Hit@3 |"
    yield "|---|---|---|---|---|---|---|"
    chance_mrr, chance_hit = _chance()
    for half in ("development", "test"):
        for space in SPACES:
            model = EmbeddedModel(EmbeddedSettings(space=space))
            ranks = np.array(list(_ranks(model, data, photos, businesses, half)))
            yield (
                f"| {space} | {half} | {len(ranks)} | {100 * (1 / ranks).mean():.1f} | "
                f"{100 * chance_mrr:.1f} | {100 * (ranks <= 3).mean():.1f} | "
                f"{100 * chance_hit:.1f} |"
            )


def _businesses(data: Path) -> list[dict[str, str]]:
    rows = map(json.loads, (data / "yelp/business.json").open(encoding="utf-8"))
    return [row for row in rows if "Restaurants" in (row["categories"] or "")]


def _ranks(
    model: EmbeddedModel,
    data: Path,
    photos: dict[str, Photos],
    businesses: list[dict[str, str]],
    half: str,
) -> Iterator[int]:
    generator = np.random.default_rng(1)
    kept = {n: p.where(p.is_test if half == "test" else ~p.is_test) for n, p in photos.items()}
    images = {n: model.space.images(p.features, p.logits) for n, p in kept.items()}
    records = food_records(data)
    words = [
        set(
            " ".join([str(records[n]["title"]), *tags(records[n], "isTags", "containsTags")])
            .lower()
            .replace(",", " ")
            .split()
        )
        for n in kept["food"].names
    ]
    for category, telling in TASTES.items():
        shows = np.array([bool(found & set(telling.split())) for found in words])
        if shows.sum() < _RELEVANT:
            continue
        of_kind = [b for b in businesses if category in _categories(b)]
        others = [b for b in businesses if category not in (b["categories"] or "")]
        for _ in range(_USERS_PER_TASTE):
            liked = generator.choice(np.flatnonzero(shows), min(8, shows.sum()), replace=False)
            other = generator.choice(np.flatnonzero(~shows), 12, replace=False)
            life = generator.choice(len(images["flickr"]), 40, replace=False)
            history = np.concatenate(
                [images["food"][liked], images["food"][other], images["flickr"][life]]
            )
            chosen = [of_kind[i] for i in generator.choice(len(of_kind), _RELEVANT, replace=False)]
            chosen += [others[i] for i in generator.choice(len(others), _OTHERS, replace=False)]
            relevant = {b["business_id"] for b in chosen[:_RELEVANT]}
            yield _first_relevant(model, history, chosen, relevant)


def _first_relevant(
    model: EmbeddedModel,
    embeddings: FloatArray,
    businesses: list[dict[str, str]],
    relevant: set[str],
) -> int:
    history = VisualHistory("user", tuple(Photo(str(i), "") for i in range(len(embeddings))))
    opened = OpenHistory(history, embeddings, np.arange(len(embeddings)), None, {}, lambda _ids: {})
    request = RankingRequest(
        "taste",
        Question("a restaurant", "restaurant"),
        history,
        tuple(Candidate(b["business_id"], b["name"], "", _categories(b)) for b in businesses),
    )
    resources = RankerResources(
        profile=lambda asked: build_profile(
            opened,
            asked.question,
            model.encode_categories([asked.question.category])[0],
            RetrievalSettings(),
            ProfileSettings(),
        ),
        texts=model,
        sentences=model.sentences,
        images=lambda _paths: {},
    )
    ranking = SimilarityRanker(resources).rank(request)
    return next(r.rank for r in ranking.candidates if r.candidate.id in relevant)


def _categories(business: dict[str, str]) -> tuple[str, ...]:
    return tuple(part.strip() for part in (business["categories"] or "").split(","))


def _chance() -> tuple[float, float]:
    """Expected MRR and Hit@3 of a random order (hypergeometric)."""
    total = _RELEVANT + _OTHERS
    first = [
        comb(total - rank, _RELEVANT - 1) / comb(total, _RELEVANT) for rank in range(1, total + 1)
    ]
    return sum(p / rank for rank, p in enumerate(first, start=1)), sum(first[:3])


if __name__ == "__main__":
    import sys

    encoder = EmbeddedModel()
    folder = Path(sys.argv[1])
    for line in section(folder, load_all(encoder, folder)):
        print(line)
