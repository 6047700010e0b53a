"""The page that a person fills in: the questions of a sample with their photos, in one file (§6.3).

It loads nothing and sends nothing. What the raw dump says is data inside it: the script writes it
as text, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from PIL import Image
from tqdm import tqdm

from visuallens import __version__
from visuallens.benchmark.folder import Benchmark
from visuallens.config import ImageSettings
from visuallens.errors import EvaluationError
from visuallens.evaluation.annotation.export import FORMAT, VERSION
from visuallens.evaluation.annotation.sample import draw_requests, spread
from visuallens.images import open_pixels
from visuallens.types import Candidate, Photo, RankingRequest

SAMPLE = 50
"""Source: §6.3, "50 examples"."""

PHOTOS = 64
"""Photos of a history. Choice: as many as the paper's method sees, an 8 x 8 grid."""

THUMB_PX = 128
"""Longer side of a photo in the page."""

MAX_BYTES = 4096
"""Of a photo in the page, as JPEG, so that a sample of 50 stays openable on a phone."""

_QUALITIES = (75, 60, 45, 30, 15)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is asked of a person.

    Attributes:
        split: whose questions.
        sample: how many.
        photos: how many of each history are shown, at most.
        seed: draws the questions.
    """

    split: str = "test"
    sample: int = SAMPLE
    photos: int = PHOTOS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class AnnotationPage:
    """A page and what is in it.

    Attributes:
        html: the whole document.
        examples: questions.
        users: who ask them.
        photos: different ones that the page holds, of histories and of candidates.
        missing: those whose files cannot be read; the page shows gaps.
    """

    html: str
    examples: int
    users: int
    photos: int
    missing: int


@dataclass(frozen=True, slots=True)
class _Asked:
    request: RankingRequest
    history: tuple[Photo, ...]


def annotation_page(benchmark: Benchmark, sheet: Sheet) -> AnnotationPage:
    """Write the questions of a sample as a page that a person fills in.

    Args:
        benchmark: that asks.
        sheet: what is asked.

    Returns:
        The page; the same arguments give the same bytes.

    Raises:
        EvaluationError: the split has fewer questions, or no photo of their histories can be read.

    Choice: a person sees what a ranker may see: the question, photos, and the candidates with name
        and description in the request's shuffled order, each with its first photo. Ratings, dates,
        who asks, and everything of `positions.parquet` and of the ground truth are not in the page.
    """
    requests = draw_requests(benchmark, sheet.split, sheet.sample, sheet.seed)
    asked = [_Asked(one, spread(one.history.photos, sheet.photos)) for one in requests]
    paths = list(dict.fromkeys(path for one in asked for path in _paths(one)))
    images = [thumbnail(path) for path in tqdm(paths, "reading photos", unit="photo", disable=None)]
    numbers = {path: at for at, path in enumerate(paths)}
    seen = {numbers[photo.path] for one in asked for photo in one.history}
    if all(images[at] is None for at in seen):
        raise EvaluationError(
            f"no photo of these questions can be read below {benchmark.photos_folder}",
            "Put the photo files there, or fetch them: visuallens benchmark fetch",
        )
    about = _about(benchmark, sheet)
    record = {
        "about": about,
        "key": _key(about, requests),
        "images": images,
        "questions": [_question(one, numbers) for one in asked],
    }
    users = len({one.history.user_id for one in requests})
    missing = sum(image is None for image in images)
    return AnnotationPage(
        _document(record, benchmark.name), len(requests), users, len(images) - missing, missing
    )


def thumbnail(path: str) -> str | None:
    """Read a photo, small.

    Args:
        path: of a file that may be of any kind.

    Returns:
        A JPEG of at most `MAX_BYTES` bytes and `THUMB_PX` pixels a side, without metadata, in
        base 64; None where the file is no photo that can be read.
    """
    image = open_pixels(path, min_side_px=THUMB_PX, max_pixels=ImageSettings().max_pixels)
    if image is None:
        return None
    side = THUMB_PX
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in _QUALITIES:
            jpeg = io.BytesIO()
            image.save(jpeg, "JPEG", quality=quality)
            if jpeg.tell() <= MAX_BYTES:
                return base64.b64encode(jpeg.getvalue()).decode("ascii")
        side //= 2


def _paths(asked: _Asked) -> Iterable[str]:
    yield from (photo.path for photo in asked.history)
    for candidate in asked.request.candidates:
        yield from candidate.photos[:1]


# Any, here and below: JSON that the page's script reads.
def _about(benchmark: Benchmark, sheet: Sheet) -> dict[str, Any]:
    """Say what is asked; the export repeats it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "visuallens": __version__,
        "benchmark": benchmark.name,
        "checksum": benchmark.about["checksum"],
        "split": sheet.split,
        "sample": sheet.sample,
        "photos": sheet.photos,
        "seed": sheet.seed,
    }


def _key(about: dict[str, Any], requests: Sequence[RankingRequest]) -> str:
    """Name the page, for a browser keeps the progress of several under their names."""
    told = json.dumps([about, [one.id for one in requests]], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _question(asked: _Asked, numbers: dict[str, int]) -> dict[str, Any]:
    return {
        "id": asked.request.id,
        "text": asked.request.question.text,
        "taken": len(asked.request.history),
        "history": [numbers[photo.path] for photo in asked.history],
        "candidates": [_candidate(one, numbers) for one in asked.request.candidates],
    }


def _candidate(candidate: Candidate, numbers: dict[str, int]) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "name": candidate.name,
        "description": candidate.description,
        "photo": numbers[candidate.photos[0]] if candidate.photos else None,
    }


def _document(record: dict[str, Any], name: str) -> str:
    """Fill the template in.

    Choice: a policy that allows the two inline blocks by their hashes and data: images, and nothing
        else, so that even markup that slipped in could neither run nor load.
    """
    page, style, script = (_template(f"page.{kind}") for kind in ("html", "css", "js"))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return Template(page).substitute(
        policy=policy, title=escape(name), style=style, script=script, data=_embedded(record)
    )


def _template(name: str) -> str:
    return (files("visuallens.evaluation.annotation") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _embedded(record: dict[str, Any]) -> str:
    """Write JSON that cannot end the element that holds it, nor begin another."""
    text = json.dumps(record, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
