"""Writing to the library: what an index run reads first, and what it adds."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visuallens import __version__
from visuallens.augment.duplicates import burst_groups, find_moments, picture_groups
from visuallens.augment.schema import translated
from visuallens.augment.store import Library, signed, unsigned
from visuallens.config import IndexSettings
from visuallens.images import SAME_PICTURE_BITS
from visuallens.models.base import Description, PhotoReader
from visuallens.models.towns import nearest_town
from visuallens.types import (
    DateSource,
    FloatArray,
    GeoPoint,
    PhotoMetadata,
    Refusal,
    RefusalReason,
)

_PEOPLE = "people"
"""Instead of a version, where a caption is not a model's."""

_TRUSTED_DATES = (DateSource.EXIF.value, DateSource.GPS.value, DateSource.MANIFEST.value)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file of a user that shows a photo."""

    user_id: str
    path: Path
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Made:
    """What one model made of one photo.

    Attributes:
        embedding: (dim,) float32, unit length, or None.
    """

    reader: PhotoReader
    embedding: FloatArray | None
    description: Description | None


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """All that an index run learned about one file.

    Attributes:
        placed_by_source: the location is what the source says, so it replaces a known one.
        caption: what the source says of the photo, in the place of what models say.
    """

    photo_id: str
    sighting: Sighting
    metadata: PhotoMetadata
    fingerprint: int
    made: tuple[Made, ...]
    placed_by_source: bool = False
    caption: str | None = None


class Known(NamedTuple):
    """What the library knows of a file.

    Attributes:
        taken_at: ISO 8601, or None.
        place: latitude and longitude, each may be None.
    """

    photo_id: str
    size_bytes: int
    modified_ns: int
    taken_at: str | None
    place: tuple[float | None, float | None]


def known_sightings(library: Library) -> dict[tuple[str, bytes], Known]:
    """Load which files are known, by (user, path)."""
    rows = library.connection.execute(
        "SELECT s.user_id, s.path, p.id, s.size_bytes, s.modified_ns, p.taken_at, p.latitude, "
        "p.longitude FROM sightings s JOIN photos p ON p.number = s.photo"
    )
    return {
        (user, path): Known(photo, size, time, taken_at, (latitude, longitude))
        for user, path, photo, size, time, taken_at, latitude, longitude in rows
    }


def agreed_captions(library: Library) -> dict[str, str]:
    """Load the captions of the photos of which all models say the same, by photo id."""
    rows = library.connection.execute(
        "SELECT p.id, MIN(a.caption) FROM augmentations a JOIN photos p ON p.number = a.photo "
        "GROUP BY a.photo HAVING COUNT(DISTINCT a.caption) = 1"
    )
    return dict(rows.fetchall())


def photos_read_by(library: Library, reader: PhotoReader) -> set[str]:
    """Load the ids of the photos for which a reader has nothing left to do."""
    complete: set[str] | None = None
    if reader.encodes:
        rows = library.connection.execute(
            "SELECT p.id FROM embeddings e JOIN photos p ON p.number = e.photo "
            "JOIN models d ON d.number = e.model WHERE d.id = ?",
            (reader.id,),
        )
        complete = {photo for (photo,) in rows}
    if reader.describes:
        rows = library.connection.execute(
            "SELECT p.id FROM augmentations a JOIN photos p ON p.number = a.photo "
            "JOIN models d ON d.number = a.model "
            "WHERE d.id = ? AND a.prompt_version = ? AND a.round = 0",
            (reader.id, reader.prompt_version),
        )
        described = {photo for (photo,) in rows}
        complete = described if complete is None else complete & described
    return complete or set()


def save_photos(library: Library, records: Sequence[PhotoRecord]) -> None:
    """Write a batch of photos, all or nothing; see `Library.transaction` for what can fail."""
    with library.transaction() as connection:
        for record in records:
            number = _photo_number(connection, record)
            _save_sighting(connection, record.sighting, number)
            for made in record.made:
                _save_made(connection, number, made)
            _save_news(connection, record, number)


def save_refusals(library: Library, user_id: str, refusals: Iterable[Refusal]) -> None:
    """Remember why files are not in the library; side files are not worth remembering."""
    rows = [
        (user_id, refusal.path, refusal.reason.value, refusal.detail)
        for refusal in refusals
        if refusal.reason is not RefusalReason.SIDE_FILE
    ]
    with library.transaction() as connection:
        connection.executemany("INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?)", rows)


def forget_refusals(library: Library, user_id: str, paths: Iterable[str]) -> None:
    """Drop the refusals of files that are tried again."""
    with library.transaction() as connection:
        connection.executemany(
            "DELETE FROM refusals WHERE user_id = ? AND path = ?",
            [(user_id, path) for path in paths],
        )


def users_to_group(library: Library, model: str) -> set[str]:
    """List the users with photos that have no moment yet, whichever run added them."""
    with translated(library.path):
        rows = library.connection.execute(_UNGROUPED_USERS, (model,)).fetchall()
    return {user for (user,) in rows}


def has_unseen_photos(library: Library) -> bool:
    """Tell whether there are photos that no file shows any more."""
    with translated(library.path):
        ((found,),) = library.connection.execute(_HAS_UNSEEN).fetchall()
    return bool(found)


def drop_unseen_photos(connection: sqlite3.Connection) -> int:
    """Delete photos that no file of anybody shows any more, with all that was made of them."""
    unseen = "(SELECT number FROM photos WHERE number NOT IN (SELECT photo FROM sightings))"
    for table in ("embeddings", "augmentations", "moments"):
        connection.execute(f"DELETE FROM {table} WHERE photo IN {unseen}")  # noqa: S608 - constants
    return connection.execute(f"DELETE FROM photos WHERE number IN {unseen}").rowcount  # noqa: S608


def save_moments(library: Library, user_id: str, model: str, settings: IndexSettings) -> None:
    """Work out which photos of a user belong together, and write it down."""
    rows = library.connection.execute(_DATED_PHOTOS, (user_id,)).fetchall()
    stored = library.history(user_id, model)
    row_of = {photo.id: row for row, photo in enumerate(stored.history.photos)}
    rows = [row for row in rows if row[1] in row_of]
    if not rows:
        return
    fingerprints = unsigned(np.array([row[2] for row in rows], dtype=np.int64))
    taken_at_s = np.array(
        [row[3] if row[4] in _TRUSTED_DATES else None for row in rows], dtype=np.float64
    )
    embeddings = stored.embeddings[[row_of[row[1]] for row in rows]]
    moments = find_moments(
        picture_groups(fingerprints, SAME_PICTURE_BITS),
        burst_groups(
            taken_at_s,
            embeddings,
            within_s=settings.burst_seconds,
            similarity=settings.burst_similarity,
        ),
    )
    with library.transaction() as connection:
        connection.execute("DELETE FROM moments WHERE user_id = ?", (user_id,))
        connection.executemany(
            "INSERT INTO moments VALUES (?, ?, ?, ?, ?)",
            [
                (user_id, row[0], int(picture), int(burst), int(moment))
                for row, picture, burst, moment in zip(
                    rows, moments.picture, moments.burst, moments.moment, strict=True
                )
            ],
        )


def _photo_number(connection: sqlite3.Connection, record: PhotoRecord) -> int:
    metadata, location = record.metadata, record.metadata.location
    connection.execute(
        _INSERT_PHOTO,
        (
            record.photo_id,
            metadata.width_px,
            metadata.height_px,
            None if metadata.taken_at is None else metadata.taken_at.isoformat(),
            metadata.taken_at_s,
            metadata.date_source.value,
            None if location is None else location.latitude,
            None if location is None else location.longitude,
            signed(record.fingerprint),
        ),
    )
    ((number,),) = connection.execute(
        "SELECT number FROM photos WHERE id = ?", (record.photo_id,)
    ).fetchall()
    return int(number)


def _save_news(connection: sqlite3.Connection, record: PhotoRecord, number: int) -> None:
    """Let what a source says about a known photo replace what was there."""
    metadata, location = record.metadata, record.metadata.location
    if metadata.taken_at is not None and metadata.date_source is DateSource.MANIFEST:
        connection.execute(
            "UPDATE photos SET taken_at = ?, taken_at_s = ?, date_source = ? WHERE number = ?",
            (
                metadata.taken_at.isoformat(),
                metadata.taken_at_s,
                metadata.date_source.value,
                number,
            ),
        )
    if location is not None and record.placed_by_source:
        _rename_town(connection, number, location)
        connection.execute(
            "UPDATE photos SET latitude = ?, longitude = ? WHERE number = ?",
            (location.latitude, location.longitude, number),
        )
    if record.caption is not None:
        connection.execute(_SET_CAPTION, (record.caption, _PEOPLE, number))


def _rename_town(connection: sqlite3.Connection, number: int, location: GeoPoint) -> None:
    """Let captions of models that end with the town of an old position name that of the new one."""
    ((latitude, longitude),) = connection.execute(
        "SELECT latitude, longitude FROM photos WHERE number = ?", (number,)
    )
    if latitude is None or longitude is None or location == GeoPoint(latitude, longitude):
        return
    old, new = nearest_town(GeoPoint(latitude, longitude)), nearest_town(location)
    if old is None or new is None or old == new:
        return
    captions = connection.execute(
        "SELECT rowid, caption FROM augmentations WHERE photo = ? AND made_by != ?",
        (number, _PEOPLE),
    ).fetchall()
    connection.executemany(
        "UPDATE augmentations SET caption = ? WHERE rowid = ?",
        [
            (caption.removesuffix(old) + new, row)
            for row, caption in captions
            if caption.endswith(old)
        ],
    )


def _save_sighting(connection: sqlite3.Connection, sighting: Sighting, number: int) -> None:
    """Write where a photo was seen, and mark it as not yet grouped.

    The missing moment is what tells a later run that this one was killed before it grouped.
    """
    connection.execute(
        "DELETE FROM moments WHERE user_id = ? AND photo = ?", (sighting.user_id, number)
    )
    connection.execute(
        "INSERT OR REPLACE INTO sightings VALUES (?, ?, ?, ?, ?)",
        (
            sighting.user_id,
            os.fsencode(sighting.path),
            number,
            sighting.size_bytes,
            sighting.modified_ns,
        ),
    )


def _save_made(connection: sqlite3.Connection, number: int, made: Made) -> None:
    reader = made.reader
    connection.execute("INSERT OR IGNORE INTO models (id) VALUES (?)", (reader.id,))
    ((model,),) = connection.execute("SELECT number FROM models WHERE id = ?", (reader.id,))
    if made.embedding is not None:
        connection.execute(
            "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
            (number, model, made.embedding.astype(np.float32).tobytes()),
        )
    if made.description is not None:
        connection.execute(
            "INSERT OR REPLACE INTO augmentations VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
            (
                number,
                model,
                reader.prompt_version,
                made.description.caption,
                json.dumps(made.description.aspect_words, ensure_ascii=False),
                datetime.now(UTC).isoformat(timespec="seconds"),
                __version__,
            ),
        )


_INSERT_PHOTO = """
INSERT INTO photos (id, width_px, height_px, taken_at, taken_at_s, date_source, latitude,
                    longitude, fingerprint)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
"""
# By model as well, for that is how the table is found.
_SET_CAPTION = """
UPDATE augmentations SET caption = ?, made_by = ?
WHERE model IN (SELECT number FROM models) AND photo = ?
"""
_UNGROUPED_USERS = """
SELECT DISTINCT s.user_id
FROM sightings s JOIN embeddings e ON e.photo = s.photo
LEFT JOIN moments m ON m.user_id = s.user_id AND m.photo = s.photo
WHERE e.model = (SELECT number FROM models WHERE id = ?) AND m.photo IS NULL
"""
_HAS_UNSEEN = """
SELECT EXISTS (
    SELECT 1 FROM photos p WHERE NOT EXISTS (SELECT 1 FROM sightings s WHERE s.photo = p.number)
)
"""
_DATED_PHOTOS = """
SELECT p.number, p.id, p.fingerprint, p.taken_at_s, p.date_source
FROM photos p WHERE p.number IN (SELECT photo FROM sightings WHERE user_id = ?)
"""
