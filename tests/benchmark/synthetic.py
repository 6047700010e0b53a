"""Seeded raw dumps in the genuine schemas of Google Local (2021) and Yelp, at any size.

People have a home town; most write little and a few write a lot. Places crowd in towns, and a few
of them get most of the reviews. The ordinary dirt of such dumps is in it: repeated rows, nulls,
places without coordinates or tags, reviews of places nobody knows, years written up in one second.
The same arguments give the same bytes.

    python tests/benchmark/synthetic.py google OUT --reviews 1000000 --businesses 50000
"""

from __future__ import annotations

import argparse
import gzip as gzip_format
import io
import json
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from tqdm import tqdm

if __name__ == "__main__":
    # Run by its path, a script does not see the package that it is part of.
    sys.path.append(str(Path(__file__).parents[2]))

from tests.benchmark.synthetic_draws import (
    Ints,
    Places,
    Visits,
    draw_places,
    draw_visits,
    mixed_bits,
)

Row = dict[str, object]

_CHUNK = 20_000
_GOOGLE_TAGS = (
    "Restaurant|American restaurant|Mexican restaurant|Italian restaurant|Pizza restaurant"
    "|Steak house|Fast food restaurant|Seafood restaurant|Bar|Coffee shop|Cafe|Bakery|Sports bar",
    "Tourist attraction|Museum|Park|Historical landmark|Art museum|Nature preserve|City park"
    "|Art gallery|Zoo|Botanical garden|Hiking area|Beach",
    "Gift shop|Clothing store|Grocery store|Department store|Supermarket|Book store|Florist"
    "|Convenience store|Shopping mall|Pharmacy|Gas station",
    "Hotel|Motel|Lodge|Inn|Campground|RV park|Bed & breakfast|Beauty salon|Hair salon|Spa|Gym"
    "|Car wash|Baptist church|Church|Public library|Dentist",
)
_YELP_TAGS = (
    "Restaurants|Food|Nightlife|Bars|Sandwiches|Breakfast & Brunch|American (Traditional)"
    "|Coffee & Tea|Pizza|Burgers|Mexican|Seafood|Desserts|Sushi Bars|Chicken Wings|Tex-Mex",
    "Arts & Entertainment|Music Venues|Museums|Beer|Wine & Spirits|Breweries|Local Flavor",
    "Shopping|Fashion|Books, Mags, Music & Video|Grocery|Drugstores|Health Markets|Food Trucks",
    "Event Planning & Services|Hotels|Caterers|Venues & Event Spaces|Hotels & Travel",
)
_PEOPLE = 'Ann|Bob|Carla|José|D. "Doc" O\'Neil|Эмма|Frank|Gül|Hana|Ivan|Jo|Kim|Lee|Max|小明|🙂'
_WORDS = (
    'great place the food was good service and "friendly" staff\n\nwe will be back love this view '
    "clean room quick too loud parking is hard 10/10 ok 😀 kids liked it best in town"
)
# Share of rows where a field is null: what is normal, and what is dirt.
_GOOGLE_NULLS = {"description": 0.7, "price": 0.6, "hours": 0.2, "MISC": 0.2, "state": 0.2}
_GOOGLE_DIRT = {
    "name": 0.005, "address": 0.02, "gmap_id": 0.0005, "latitude": 0.01, "longitude": 0.01,
    "category": 0.02, "avg_rating": 0.01, "num_of_reviews": 0.01, "relative_results": 0.1,
    "url": 0.01,
}  # fmt: skip
_YELP_NULLS = {"attributes": 0.1, "hours": 0.2}
_YELP_DIRT = {"categories": 0.01, "latitude": 0.005, "longitude": 0.005, "address": 0.01}


def write_google(
    folder: Path,
    *,
    reviews: int,
    businesses: int,
    users: int | None = None,
    states: Sequence[str] = ("Alabama", "Alaska"),
    seed: int = 0,
    gzip: bool = True,
    dirt: float = 1.0,
) -> None:
    """Write review-STATE.json.gz and meta-STATE.json.gz of every state.

    Args:
        folder: made if it is not there.
        reviews: rows of all states together, before some are repeated.
        businesses: of all states together, before some are repeated.
        users: one for every ten reviews if not given.
        states: names in the files.
        seed: of every draw.
        gzip: compress the files and end their names with .gz.
        dirt: 0 is a clean dump, 1 an ordinary one, 10 a bad one.
    """
    rng = np.random.default_rng(seed)
    places = draw_places(rng, businesses, len(states), _GOOGLE_TAGS, _google_id)
    visits = draw_visits(rng, places, reviews, users, home_share=0.85)
    folder.mkdir(parents=True, exist_ok=True)
    end = ".json.gz" if gzip else ".json"
    for number, state in enumerate(states):
        here = np.flatnonzero(places.town % len(states) == number)
        with _opened(folder / f"meta-{state}{end}") as file:
            rows = _google_businesses(places, visits, here, state)
            file.writelines(_soiled(rng, rows, _GOOGLE_NULLS, _GOOGLE_DIRT, dirt))
        chosen = np.flatnonzero(places.town[visits.business] % len(states) == number)
        with _opened(folder / f"review-{state}{end}") as file:
            for start in tqdm(range(0, len(chosen), _CHUNK), desc=state, disable=None):
                part = chosen[start : start + _CHUNK]
                file.write("".join(_google_reviews(rng, places, visits, part, dirt)))


def write_yelp(
    folder: Path,
    *,
    reviews: int,
    businesses: int,
    users: int | None = None,
    photos: int | None = None,
    draw: bool = False,
    seed: int = 0,
    dirt: float = 1.0,
) -> None:
    """Write the business, review and photo files of the Yelp Open Dataset.

    Args:
        folder: made if it is not there.
        reviews: rows, before some are repeated.
        businesses: rows, before some are repeated.
        users: one for every ten reviews if not given.
        photos: six for each business if not given; much visited ones have most of them.
        draw: also draw photos/PHOTO_ID.jpg.
        seed: of every draw.
        dirt: 0 is a clean dump, 1 an ordinary one, 10 a bad one.
    """
    rng = np.random.default_rng(seed)
    places = draw_places(rng, businesses, 4, _YELP_TAGS, _yelp_id)
    visits = draw_visits(rng, places, reviews, users, home_share=0.95)
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(folder / "yelp_academic_dataset_business.json") as file:
        rows = _yelp_businesses(places, visits)
        file.writelines(_soiled(rng, rows, _YELP_NULLS, _YELP_DIRT, dirt))
    with _opened(folder / "yelp_academic_dataset_review.json") as file:
        for start in tqdm(range(0, reviews, _CHUNK), desc="reviews", disable=None):
            part = np.arange(start, min(start + _CHUNK, reviews))
            file.write("".join(_yelp_reviews(rng, places, visits, part, dirt)))
    shown = rng.choice(visits.business, 6 * businesses if photos is None else photos).tolist()
    ids = [_yelp_id(number) for number in mixed_bits(np.arange(len(shown)), 5)]
    with _opened(folder / "photos.json") as file:
        kinds = rng.choice(("food", "inside", "outside", "drink", "menu"), len(shown)).tolist()
        for photo_id, one, kind in zip(ids, shown, kinds, strict=True):
            caption = "" if kind in {"food", "menu"} else places.names[one]
            row = {"photo_id": photo_id, "business_id": places.ids[one], "caption": caption}
            file.write(json.dumps({**row, "label": kind}) + "\n")
    if draw:
        (folder / "photos").mkdir(exist_ok=True)
        for photo_id in tqdm(ids, desc="photos", disable=None):
            pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((64, 48)).save(folder / "photos" / f"{photo_id}.jpg")


def _google_businesses(places: Places, visits: Visits, here: Ints, state: str) -> Iterator[Row]:
    counts = np.bincount(visits.business, minlength=len(places.ids))
    sums = np.bincount(visits.business, weights=visits.rating, minlength=len(places.ids))
    means = np.round(sums / np.maximum(counts, 1), 1).tolist()
    for one in here.tolist():
        gmap_id, name, (lat, lon) = places.ids[one], places.names[one], places.position[one]
        yield {
            "name": name,
            "address": f"{name}, {one} Main St, Town {places.town[one]}, {state} {10_000 + one}",
            "gmap_id": gmap_id,
            "description": f"{places.tags[one][0]} with a <view> & more.",
            "latitude": float(lat),
            "longitude": float(lon),
            "category": places.tags[one],
            "avg_rating": means[one],
            "num_of_reviews": int(counts[one]),
            "price": "$" * (1 + one % 3),
            "hours": [["Thursday", "6:30AM–6PM"], ["Friday", "Closed"]],  # noqa: RUF001 - as there
            "MISC": {"Service options": ["Dine-in"], "Accessibility": ["Wheelchair ramp"]},
            "state": "Open ⋅ Closes 6PM",
            "relative_results": [places.ids[one - 1], places.ids[one - 2]],
            "url": f"https://www.google.com/maps/place//data=!4m2!3m1!1s{gmap_id}?authuser=-1&hl=en",
        }


def _google_reviews(
    rng: np.random.Generator, places: Places, visits: Visits, part: Ints, dirt: float
) -> list[str]:
    """Write rows of some reviews, some of them twice; the second may have lost its photos."""
    part, again = _with_repeats(rng, part, dirt)
    texts, names = _texts(), [json.dumps(name) for name in _PEOPLE.split("|")]
    lost = rng.integers(0, round(8_000 / dirt) if dirt else 1 << 62, len(part)).tolist()
    users = visits.user[part]
    return [
        '{"user_id": '
        + (f'"1{user_id:020d}"' if odd != 1 else "null")
        + f', "name": {names[user % len(names)] if odd > 40 else "null"}, "time": '
        + (f"{time_s * 1000 + time_s % 997}" if odd != 2 else "null")
        + f', "rating": {rating if odd > 20 else "null"}, "text": {texts[number % len(texts)]}'
        + f', "pics": {_pics(number, photos) if photos and not repeated else "null"}, "resp": '
        + (
            f'{{"time": {(time_s + 86_400) * 1000}, "text": "Thank you!"}}'
            if user % 9 == 0
            else "null"
        )
        + (f', "gmap_id": "{_google_id(number) if 40 < odd < 80 else places.ids[place]}"}}\n')
        for user_id, user, place, time_s, rating, photos, number, repeated, odd in zip(
            mixed_bits(users, 2),
            users.tolist(),
            visits.business[part].tolist(),
            visits.time_s[part].tolist(),
            visits.rating[part].tolist(),
            visits.photos[part].tolist(),
            mixed_bits(part, 3),
            again,
            lost,
            strict=True,
        )
    ]


def _pics(number: int, count: int) -> str:
    """Write the photos of a review; now and then one of them twice, or two sizes in one entry."""
    url = f"https://lh5.googleusercontent.com/p/AF1QipM{number:016x}"
    entries = [f'{{"url": ["{url}{photo}=w150-h150-k-no-p"]}}' for photo in range(count)]
    if number % 40 == 0:
        entries.append(f'{{"url": ["{url}0=w600-h450-p-k-no"]}}')
    if number % 40 == 1:
        entries[0] = f'{{"url": ["{url}0=w150-h150-k-no-p", "{url}0=s1200"]}}'
    return f"[{', '.join(entries)}]"


def _yelp_businesses(places: Places, visits: Visits) -> Iterator[Row]:
    counts = np.bincount(visits.business, minlength=len(places.ids)).tolist()
    sums = np.bincount(visits.business, weights=visits.rating, minlength=len(places.ids))
    stars = (np.round(2 * sums / np.maximum(counts, 1)) / 2).tolist()
    for one, business_id in enumerate(places.ids):
        yield {
            "business_id": business_id,
            "name": places.names[one],
            "address": f"{one} Main St",
            "city": f"Town {places.town[one]}",
            "state": ("PA", "FL", "LA", "TN")[int(places.town[one]) % 4],
            "postal_code": str(10_000 + one),
            "latitude": float(places.position[one, 0]),
            "longitude": float(places.position[one, 1]),
            "stars": stars[one],
            "review_count": counts[one],
            "is_open": int(one % 5 > 0),
            "attributes": {"BusinessAcceptsCreditCards": "True", "WiFi": "u'no'"},
            "categories": ", ".join(places.tags[one]),
            "hours": {"Monday": "0:0-0:0", "Tuesday": "8:0-18:30"},
        }


def _yelp_reviews(
    rng: np.random.Generator, places: Places, visits: Visits, part: Ints, dirt: float
) -> list[str]:
    part, _ = _with_repeats(rng, part, dirt)
    texts = [text if text != "null" else '"ok"' for text in _texts()]
    unknown = (rng.random(len(part)) < 0.005 * dirt).tolist()
    users = [_yelp_id(number) for number in mixed_bits(visits.user[part], 2)]
    dates = visits.time_s[part].astype("datetime64[s]").astype(str).tolist()
    return [
        f'{{"review_id":"{_yelp_id(number)}","user_id":"{user_id}","business_id":"'
        f'{_yelp_id(number ^ 1) if is_unknown else places.ids[place]}","stars":{rating:.1f},'
        f'"useful":{number % 3},"funny":0,"cool":{number % 2},'
        f'"text":{texts[number % len(texts)]},"date":"{date.replace("T", " ")}"}}\n'
        for number, user_id, place, rating, date, is_unknown in zip(
            mixed_bits(part, 3),
            users,
            visits.business[part].tolist(),
            visits.rating[part].tolist(),
            dates,
            unknown,
            strict=True,
        )
    ]


def _with_repeats(rng: np.random.Generator, part: Ints, dirt: float) -> tuple[Ints, list[bool]]:
    """Repeat some reviews after the others; says of each whether it is a poorer repetition."""
    repeats = part[rng.random(len(part)) < 0.01 * dirt]
    poorer = np.concatenate([np.zeros(len(part), bool), rng.random(len(repeats)) < 0.5])
    return np.concatenate([part, repeats]), poorer.tolist()


def _soiled(
    rng: np.random.Generator,
    rows: Iterator[Row],
    nulls: dict[str, float],
    dirty_nulls: dict[str, float],
    dirt: float,
) -> Iterator[str]:
    """Write rows as lines, with nulls in some and the first of each hundred repeated."""
    shares = {**nulls, **{name: share * dirt for name, share in dirty_nulls.items()}}
    names, limits = tuple(shares), np.array(list(shares.values()))
    for row in rows:
        missing = np.flatnonzero(rng.random(len(names)) < limits).tolist()
        line = json.dumps({**row, **{names[one]: None for one in missing}}) + "\n"
        yield line
        if rng.random() < 0.01 * dirt:
            yield line


@cache
def _texts() -> list[str]:
    """Texts of reviews as JSON, two fifths of them null."""
    rng, words = np.random.default_rng(0), _WORDS.split(" ")
    texts = [" ".join(rng.choice(words, size)) for size in rng.integers(1, 40, 600)]
    return [json.dumps(text) for text in texts] + ["null"] * 400


def _google_id(number: int) -> str:
    return f"0x{number:x}:0x{number * 0x9E3779B97F4A7C15 % (1 << 64):x}"


def _yelp_id(number: int) -> str:
    other = number * 0x9E3779B97F4A7C15 % (1 << 64)
    return urlsafe_b64encode(number.to_bytes(8) + other.to_bytes(8))[:22].decode()


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Open a text file for writing; gzip without a time or a name in its header."""
    if path.suffix != ".gz":
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    with (
        path.open("wb") as raw,
        gzip_format.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        yield file


def main() -> None:
    """Write a dump from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("google", "yelp"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--reviews", type=int, default=100_000)
    parser.add_argument("--businesses", type=int, default=5_000)
    parser.add_argument("--users", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dirt", type=float, default=1.0)
    chosen = vars(parser.parse_args())
    if chosen.pop("kind") == "google":
        write_google(chosen.pop("out"), **chosen)
    else:
        write_yelp(chosen.pop("out"), **chosen)


if __name__ == "__main__":
    main()
