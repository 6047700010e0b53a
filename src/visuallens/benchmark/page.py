"""One example on one page: question, history, candidates, ground truth; nothing outside the file.

For looking at what a benchmark asks (§6.1). Everything that comes from the raw dump is escaped, the
page holds no script and loads nothing.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from datetime import UTC
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tqdm import tqdm

from visuallens.config import ImageSettings
from visuallens.images import open_pixels

if TYPE_CHECKING:
    from visuallens.benchmark.folder import Benchmark, FoundExample
    from visuallens.types import Candidate, Photo

MAX_HISTORY = 500
"""Photos of a history that a page shows; they are inside the page, which has to open."""

MAX_EACH = 4
"""Photos of a candidate that a page shows."""

_THUMB_PX = 128
_QUALITY = 75
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
.sheet { display: flex; flex-wrap: wrap; gap: 6px }
figure { margin: 0; width: 128px; font-size: 11px }
figure img, .gap { width: 128px; height: 128px; object-fit: cover; display: block }
.gap { border: 1px dashed; box-sizing: border-box; display: grid; place-items: center; opacity: .6 }
ol { padding-left: 2.5rem }
li { margin: .8rem 0; padding: .3rem .6rem; border-left: 4px solid transparent }
li.answer { border-color: #2a8a3e }
.mark { background: #2a8a3e; color: #fff; border-radius: 3px; padding: 0 .4rem; font-size: 12px }
footer { margin-top: 2rem; border-top: 1px solid; font-size: 12px; overflow-wrap: anywhere }
pre { white-space: pre-wrap }
"""


def example_page(found: FoundExample, benchmark: Benchmark, split: str) -> str:
    """Write one example as a page of HTML that holds its photos.

    Args:
        found: the example, with its ground truth and the time of its question.
        benchmark: whose example it is; the foot of the page says how it was built.
        split: of the example.

    Returns:
        A whole document without scripts. The history runs from the oldest photo to the newest,
        candidates stand in the order in which rankers see them, and a photo whose file cannot be
        read is a gap.

    Choice: the place around which the candidates were drawn is not marked: it is one of the ground
        truth and no better than the others.
    """
    request, answers = found.example.request, found.example.ground_truth
    asked_at = f"{found.asked_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    settings = json.dumps(benchmark.about.get("settings", {}), indent=1, ensure_ascii=False)
    photos = request.history.photos
    shown = photos[-MAX_HISTORY:]
    older = len(photos) - len(shown)
    question = _text(request.question.text)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{_text(request.id)}: {question}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{question}</h1>
<p>User {_text(request.history.user_id)} asked on {asked_at} UTC
for the category <b>{_text(request.question.category)}</b>.</p>
<h2>History: {len(photos):,} photos, oldest first</h2>
{f"<p>{older:,} older photos are not shown.</p>" if older else ""}
<div class="sheet">
{_lines(_history_photo(photo) for photo in _watched(shown))}
</div>
<h2>Candidates: {len(request.candidates):,}, of which {len(answers):,} are ground truth
</h2>
<ol>
{_lines(_candidate(one, one.id in answers) for one in request.candidates)}
</ol>
<footer>
<p>Example {_text(request.id)} of the {_text(split)} split of {_text(benchmark.name)},
seed {request.seed}. Checksum of the benchmark: {_text(benchmark.about["checksum"])}.</p>
<details><summary>Settings</summary><pre>{_text(settings)}</pre></details>
</footer>
</body>
</html>
"""


def write_page(page: str, path: Path) -> None:
    """Write a page, whole or not at all; its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(path.name + ".part")
    waiting.write_text(page, encoding="utf-8")
    waiting.replace(path)


def _watched(photos: Sequence[Photo]) -> Iterable[Photo]:
    return tqdm(photos, desc="reading photos", unit="photo", disable=None, leave=False)


def _history_photo(photo: Photo) -> str:
    taken_at = photo.metadata.taken_at
    date = "" if taken_at is None else f"{taken_at:%Y-%m-%d}"
    return f"<figure>{_thumbnail(photo.path)}<figcaption>{date}</figcaption></figure>"


def _candidate(candidate: Candidate, is_answer: bool) -> str:
    mark = ' <span class="mark">ground truth</span>' if is_answer else ""
    rating = "" if candidate.rating is None else f"rated {candidate.rating:g}"
    if candidate.rating_count is not None:
        rating = f"{rating} ({candidate.rating_count:,})".strip()
    hidden = len(candidate.photos) - MAX_EACH
    facts = [
        f"<b>{_text(candidate.name)}</b>{mark}",
        _text(candidate.description),
        _text(rating),
        f"photos not shown: {hidden:,}" if hidden > 0 else "",
    ]
    photos = "".join(f"<figure>{_thumbnail(path)}</figure>" for path in candidate.photos[:MAX_EACH])
    kind = ' class="answer"' if is_answer else ""
    told = "<br>".join(fact for fact in facts if fact)
    return f'<li{kind}>{told}<div class="sheet">{photos}</div></li>'


def _thumbnail(path: str) -> str:
    """Write a photo into the page, small; a gap where it cannot be read."""
    image = open_pixels(path, min_side_px=_THUMB_PX, max_pixels=ImageSettings().max_pixels)
    if image is None:
        return '<div class="gap">no photo</div>'
    image.thumbnail((2 * _THUMB_PX, 2 * _THUMB_PX), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=_QUALITY)
    data = base64.b64encode(jpeg.getvalue()).decode("ascii")
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def _text(text: str) -> str:
    return escape(text, quote=True)
