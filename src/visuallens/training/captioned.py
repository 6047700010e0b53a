"""Photos with captions that people wrote, the data of multi-image caption pretraining (§5.1).

Read are DOCCI's folder (`docci_descriptions.jsonlines` beside `images/`) and plain tables, CSV or
JSON lines, of one caption a row. Photos lie in `images/` beside the table, or beside it themselves.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from visuallens.errors import PhotoError, SourceError, TrainingError
from visuallens.images import display_path, open_photo
from visuallens.prompts import as_data

DOCCI = "docci_descriptions.jsonlines"
TABLES = (DOCCI, "captions.csv", "captions.jsonl", "photos.jsonl")
"""Looked for in a folder, in this order."""

_IMAGE = ("image", "image_file", "id")
_CAPTION = ("caption", "description")
_TRAINED = "train"
_LOOKED_AT_PX = 32
_CHUNK = 512
_LEAST_PHOTOS = 4

# Any: a cell holds whatever the table holds; each is validated in this module, once.
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CaptionedPhoto:
    """A photo with what people wrote about it.

    Attributes:
        id: sha256 of the file's bytes, hex.
        path: of the file.
        captions: at least one, each one line without special tokens.
        aspects: those of them that are tags joined by comma.
    """

    id: str
    path: Path
    captions: tuple[str, ...]
    aspects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Text:
    """A caption, or tags that stand for one."""

    text: str
    is_tags: bool = False


@dataclass(slots=True)
class Captioned:
    """What was read, and what was left out.

    Attributes:
        photos: each picture file once, sorted by id.
        left_out: reason → number of rows or photos.
    """

    photos: tuple[CaptionedPhoto, ...]
    left_out: Counter[str] = field(default_factory=Counter)


def read_captioned(
    places: Sequence[Path],
    *,
    max_pixels: int,
    tags: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Captioned:
    """Read photos and captions from tables or their folders.

    Args:
        places: tables, or folders that hold one of `TABLES`.
        max_pixels: larger photos are left out.
        tags: columns whose tags are joined by comma into a caption, for rows that have none.
        progress: is told how many photos of how many were looked at.

    Returns:
        The photos that can be opened. A file that is listed more than once, or in several copies,
        is one photo with all its captions.

    Raises:
        SourceError: a table cannot be read, or has no photo with a caption.

    Choice: where a table has a column `split`, only its rows "train" are read, so that DOCCI's test
        photos stay unseen. Every photo is opened once beforehand, much reduced: in the middle of a
        night's training is a bad time to learn that a file is damaged.
    """
    left_out: Counter[str] = Counter()
    captions: dict[Path, list[_Text]] = {}
    for place in places:
        table = _table_of(place)
        found = _captions_of(table, tags, left_out)
        for path, text in found:
            captions.setdefault(path, []).append(text)
    photos = _opened(captions, max_pixels, left_out, progress)
    if not photos:
        named = ", ".join(display_path(place) for place in places)
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise SourceError(
            named,
            f"no photo with a caption is left ({reasons or 'the table is empty'})",
            "Give columns 'image' and 'caption', and the photos in images/ beside the table.",
        )
    return Captioned(photos, left_out)


def split_dev(
    photos: Sequence[CaptionedPhoto], share: float, seed: int
) -> tuple[tuple[CaptionedPhoto, ...], tuple[CaptionedPhoto, ...]]:
    """Keep some photos for dev; they are shown in no training grid.

    Args:
        photos: at least four, each once.
        share: of the photos, for dev; at least two are.
        seed: decides which.

    Returns:
        Training photos, dev photos.

    Raises:
        TrainingError: there are fewer than four photos.
    """
    if len(photos) < _LEAST_PHOTOS:
        problem = f"there are {len(photos)} photos with captions"
        raise TrainingError(problem, f"Give at least {_LEAST_PHOTOS}: --data.")
    order = np.random.default_rng((seed, 1)).permutation(len(photos))
    held = max(2, round(share * len(photos)))
    dev, train = sorted(order[:held]), sorted(order[held:])
    return tuple(photos[at] for at in train), tuple(photos[at] for at in dev)


def _table_of(place: Path) -> Path:
    if not place.is_dir():
        return place
    found = next((place / name for name in TABLES if (place / name).is_file()), None)
    if found is None:
        problem = f"the folder has none of {', '.join(TABLES)}"
        raise SourceError(display_path(place), problem, "Name the table itself.")
    return found


def _captions_of(
    table: Path, tags: Sequence[str], left_out: Counter[str]
) -> Iterator[tuple[Path, _Text]]:
    """Read a table's captions one by one, each with the path of its photo."""
    folder = table.parent / "images"
    folder = folder if folder.is_dir() else table.parent
    read = _csv_rows if table.suffix.lower() == ".csv" else _json_rows
    try:
        for row in read(table):
            if row is None:
                left_out["rows cannot be read"] += 1
            elif (split := row.get("split")) and split != _TRAINED:
                left_out["rows are of another split"] += 1
            elif not (name := _image_of(row)) or not (texts := _texts_of(row, tags)):
                left_out["rows have no image or no caption"] += 1
            elif not (folder / name).is_file():
                left_out["rows name a photo that is missing"] += 1
            else:
                path = (folder / name).resolve()
                yield from ((path, text) for text in texts)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        advice = "Give a CSV file or JSON lines, in UTF-8."
        raise SourceError(display_path(table), f"it cannot be read ({error})", advice) from error


def _csv_rows(table: Path) -> Iterator[Row | None]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _json_rows(table: Path) -> Iterator[Row | None]:
    with table.open(encoding="utf-8-sig") as file:
        for line in filter(str.strip, file):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield row if isinstance(row, dict) else None


def _image_of(row: Row) -> str:
    """Give the file name of a row's photo; empty where there is none that can be used."""
    for column in _IMAGE:
        name = row.get(column)
        if isinstance(name, str) and name.strip() and "\0" not in name:
            return name.strip()
    return ""


def _texts_of(row: Row, tags: Sequence[str]) -> list[_Text]:
    """Give a row's captions, else one of its tags."""
    for column in _CAPTION:
        if texts := _texts(row.get(column)):
            return [_Text(text) for text in texts]
    # In lower case, as aspect words are; some tables list a tag twice, once as a title.
    words = [word.lower() for column in tags for word in _texts(row.get(column))]
    return [_Text(", ".join(dict.fromkeys(words)), is_tags=True)] if words else []


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = [as_data(one) for one in values if isinstance(one, str)]
    return [text for text in texts if any(sign.isalnum() for sign in text)]


def _opened(
    captions: Mapping[Path, Sequence[_Text]],
    max_pixels: int,
    left_out: Counter[str],
    progress: Callable[[int, int], None] | None,
) -> tuple[CaptionedPhoto, ...]:
    """Open each photo once; join those of the same bytes."""

    def identify(path: Path) -> tuple[Path, str | None, str]:
        try:
            opened = open_photo(path, min_side_px=_LOOKED_AT_PX, max_pixels=max_pixels)
        except PhotoError as error:
            return path, None, error.refusal.reason.value
        return path, opened.id, ""

    by_id: dict[str, tuple[Path, dict[_Text, None]]] = {}
    done = 0
    with ThreadPoolExecutor() as pool:
        for paths in _chunks(captions):
            for path, photo_id, reason in pool.map(identify, paths):
                if photo_id is None:
                    left_out[f"photos cannot be opened: {reason}"] += 1
                    continue
                by_id.setdefault(photo_id, (path, {}))[1].update(dict.fromkeys(captions[path]))
            done += len(paths)
            if progress is not None:
                progress(done, len(captions))
    return tuple(
        CaptionedPhoto(
            photo_id,
            path,
            tuple(text.text for text in texts),
            tuple(text.text for text in texts if text.is_tags),
        )
        for photo_id, (path, texts) in sorted(by_id.items())
    )


def _chunks(paths: Iterable[Path]) -> Iterator[list[Path]]:
    left = iter(paths)
    while chunk := list(islice(left, _CHUNK)):
        yield chunk
