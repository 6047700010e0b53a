"""Rows as the dumps really have them, and datasets opened for tests."""

from __future__ import annotations

import json
from pathlib import Path

from visuallens import registry
from visuallens.benchmark.base import Dataset, Rules
from visuallens.config import BenchmarkSettings

GOOGLE_REVIEW = {
    "user_id": "108991152262655788985", "name": "Song Ro", "time": 1609909927056, "rating": 5,
    "text": "Love there korean rice cake.", "pics": None, "resp": None,
    "gmap_id": "0x80c2c778e3b73d33:0xbdc58662a4a97d49",
}  # fmt: skip
GOOGLE_BUSINESS = {
    "name": "Porter Pharmacy", "address": "Porter Pharmacy, 129 N Second St, Cochran, GA 31014",
    "gmap_id": "0x88f16e41928ff687:0x883dad4fd048e8f8", "description": None, "latitude": 32.3883,
    "longitude": -83.3571, "category": ["Pharmacy"], "avg_rating": 4.9, "num_of_reviews": 16,
    "price": None, "hours": [["Friday", "8AM-6PM"]], "MISC": {"Accessibility": ["Parking lot"]},
    "state": "Open ⋅ Closes 6PM", "relative_results": None, "url": "https://www.google.com/maps",
}  # fmt: skip
YELP_REVIEW = {
    "review_id": "KU_O5udG6zpxOg-VcAEodg", "user_id": "mh_-eMZ6K5RLWhZyISBhwA",
    "business_id": "XQfwVwDr-v0ZS3_CbbE5Xw", "stars": 3.0, "useful": 0, "funny": 0, "cool": 0,
    "text": "If you decide to eat here", "date": "2018-07-07 22:09:11",
}  # fmt: skip
YELP_BUSINESS = {
    "business_id": "M-6AXSgmDMYcWsF442mzzA", "name": "Seither's Seafood", "city": "New Orleans",
    "latitude": 29.9409121, "longitude": -90.1945607, "stars": 4.5, "review_count": 338,
    "is_open": 1, "attributes": None, "categories": "Seafood, Restaurants", "hours": None,
}  # fmt: skip
YELP_PHOTO = {
    "photo_id": "zsvj7vloL4L5jhYyPIuVwg", "business_id": "Nk-SJhPlDBkAZvfsADtccA",
    "caption": "Nice rock artwork", "label": "inside",
}  # fmt: skip
FILM = {
    "id": 1, "title": "Toy Story (1995)", "year": 1995,
    "genres": ["Animation", "Children's", "Comedy"], "plot": "A cowboy doll is jealous.",
    "country": "USA", "language": "English", "runtime": "81 min", "awards": "20 nominations.",
    "imdbrating": "8.3", "director": "John Lasseter",
}  # fmt: skip


def opened(name: str, raw: Path = Path("raw"), *, genre_words: bool = False) -> Dataset:
    kind = registry.load("datasets", name)
    rules = Rules.resolve(BenchmarkSettings(genre_words=genre_words), kind.defaults)
    dataset: Dataset = kind(raw, rules)
    return dataset


def line(row: object, **changes: object) -> bytes:
    """Write a row as the dumps do; a change to the text "absent" takes a field away."""
    whole = {**row, **changes} if isinstance(row, dict) else row
    if isinstance(whole, dict):
        whole = {name: value for name, value in whole.items() if value != "absent"}
    return json.dumps(whole).encode() + b"\n"
