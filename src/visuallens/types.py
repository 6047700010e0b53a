"""The nouns of VisualLens: immutable records that every other room passes around.

Words follow the paper (§3, §4); the symbol is given where the paper has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

FloatArray = NDArray[np.float32]
"""float32 array; the docstring of each use gives its shape."""


class RefusalReason(StrEnum):
    """Why a file is not in the visual history. The value is what users and JSON see."""

    EMPTY_FILE = "empty_file"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    TOO_MANY_PIXELS = "too_many_pixels"
    DECODE_FAILED = "decode_failed"
    MISSING = "missing"
    NO_PERMISSION = "no_permission"
    SYMLINK_LOOP = "symlink_loop"
    UNREADABLE = "unreadable"
    SIDE_FILE = "side_file"
    NOT_DESCRIBED = "not_described"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One file that could not become a photo, and why.

    Attributes:
        path: for display, always valid text (bytes that are not UTF-8 are escaped).
        reason: the named reason.
        detail: one sentence with the facts and, where there is one, the way out.
    """

    path: str
    reason: RefusalReason
    detail: str


class DateSource(StrEnum):
    """Where a photo's date comes from, best first. FILE is a last resort and often wrong."""

    EXIF = "exif"
    GPS = "gps"
    MANIFEST = "manifest"
    FILE = "file"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A place on earth in degrees (WGS 84)."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class PhotoMetadata:
    """What a photo file says about itself.

    Attributes:
        taken_at: with an offset where the file gives one, else naive local time.
        width_px: after the EXIF turn.
        height_px: after the EXIF turn.
    """

    taken_at: datetime | None = None
    date_source: DateSource = DateSource.NONE
    location: GeoPoint | None = None
    width_px: int = 0
    height_px: int = 0

    @property
    def taken_at_s(self) -> float | None:
        """Seconds since 1970, to sort by; a date without an offset is read as UTC."""
        if self.taken_at is None:
            return None
        aware = self.taken_at if self.taken_at.tzinfo else self.taken_at.replace(tzinfo=UTC)
        return aware.timestamp()


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a visual history (i in the paper). A record, not pixels.

    Attributes:
        id: sha256 of the file's bytes, hex; a moved or copied file is the same photo.
        path: where the file was last seen, for display and for the grid.
        moment: photos of one user with the same number show one picture or one burst and
            together fill one cell of the grid.
    """

    id: str
    path: str
    metadata: PhotoMetadata = field(default_factory=PhotoMetadata)
    moment: int = 0


@dataclass(frozen=True, slots=True)
class VisualHistory:
    """All photos of one user, oldest first (H_u). Photos without a date come first."""

    user_id: str
    photos: Sequence[Photo]

    def __len__(self) -> int:
        return len(self.photos)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Caption and aspect words of one photo (§4.1).

    Attributes:
        model: model id and revision that made it, as `id@revision`.
        prompt_version: version of the prompt or template.
        round: refinement round j of W_i^(j); 0 is unrefined.
        caption: at most 30 words; empty when nothing was recognised.
        aspect_words: most certain first; empty when nothing was recognised.
    """

    photo_id: str
    model: str
    prompt_version: str
    round: int
    caption: str
    aspect_words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A recommendation question (q) and the category (c) it asks for."""

    text: str
    category: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that can be recommended (s = (x_s, I_s), §3).

    Attributes:
        name: shown to the reader; data, never an instruction.
        description: text about it; may be empty.
        categories: most important first; may be empty.
        photos: paths of images of the candidate; may be empty.
        rating: on the file's own scale, or None.
    """

    id: str
    name: str
    description: str = ""
    categories: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()
    location: GeoPoint | None = None
    rating: float | None = None
    rating_count: int | None = None


@dataclass(frozen=True, slots=True)
class RankingRequest:
    """All that a ranker may see. It has no ground truth, so leakage is a type error.

    Attributes:
        near: where the user is, if they said so; benchmark requests never set it.
        seed: decides every random draw made for this request.
        places: of the candidates in the list that they come from, where they are shown in another
            order (`evaluation/orders.py`); only to break ties by. Empty: as they are shown.
    """

    id: str
    question: Question
    history: VisualHistory
    candidates: tuple[Candidate, ...]
    near: GeoPoint | None = None
    seed: int = 0
    places: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """A request together with its answer (S^GT); only evaluation and training see it."""

    request: RankingRequest
    ground_truth: frozenset[str]


@dataclass(frozen=True, slots=True)
class ProfileCell:
    """One numbered cell of the grid.

    Attributes:
        number: 1-based, in reading order; the same number as in the captions.
        similarity: cosine of the photo to the category embedding.
    """

    number: int
    photo: Photo
    similarity: float
    caption: str
    aspect_words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """A user's preference profile for one question: (i_{u,q}, x_{u,q}) of §4.2.

    Attributes:
        cells: retrieved photos, most similar first.
        aspect_words: of all cells together, most telling first.
        text: x_{u,q}: aspect words and numbered captions.
        grid_side: d; the grid has d * d cells.
        image_side_px: h; the grid image is h x h.
        embeddings: (cells, dim) float32, unit-length rows, for rankers; never saved.
        image: the grid, or None until it is drawn.
    """

    user_id: str
    question: Question
    cells: tuple[ProfileCell, ...]
    aspect_words: tuple[str, ...]
    text: str
    grid_side: int
    image_side_px: int
    embeddings: FloatArray = field(repr=False, compare=False)
    image: Image.Image | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One photo that speaks for a candidate.

    Attributes:
        photo: its path.
        cell: its number in the grid, from 1.
        similarity: cosine of the photo to the candidate's text.
    """

    photo: str
    cell: int
    similarity: float


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate with its place in the answer.

    Attributes:
        rank: 1-based.
        score: higher is better; comparable within one ranking only.
        evidence: photos that speak for it, strongest first; empty for rankers that use none.
        aspect_words: words of the user's photos that speak for it.
    """

    rank: int
    candidate: Candidate
    score: float
    evidence: tuple[Evidence, ...] = ()
    aspect_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer of a ranker: every candidate of the request, best first.

    Attributes:
        notes: sentences that the reader of this ranking should know.
        counts: of what was cut, repaired or missing, by name; nothing of it is silent.
    """

    request_id: str
    ranker: str
    candidates: tuple[RankedCandidate, ...]
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
