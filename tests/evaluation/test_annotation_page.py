from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import piexif
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.benchmark.tiny import write_tiny
from tests.evaluation.annotated import data_of

from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import read_lists
from visuallens.benchmark.run_file import align
from visuallens.errors import EvaluationError
from visuallens.evaluation.annotation.export import read_export
from visuallens.evaluation.annotation.page import (
    MAX_BYTES,
    THUMB_PX,
    Sheet,
    annotation_page,
    thumbnail,
)
from visuallens.evaluation.annotation.sample import draw_requests, spread

ATTACK = "</script><script>alert(1)</script><!--<script><img src=x onerror=go()>&\"'\u2028$data"
SHEET = Sheet(sample=4, photos=5, seed=1)
NODE = shutil.which("node")


class Read(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open = ""
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.open = tag

    def handle_endtag(self, tag: str) -> None:
        self.open = "" if tag == self.open else self.open

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open, []).append(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny", examples=24, users=8)


def rewrite(folder: Path, file: str, **columns: Sequence[object]) -> None:
    """Put other values into columns of a table."""
    table = pq.read_table(folder / file)
    for column, values in columns.items():
        at = table.column_names.index(column)
        table = table.set_column(at, column, pa.array(values, table.schema.field(column).type))
    pq.write_table(table, folder / file)


def test_a_page_asks_what_the_requests_ask(folder: Path) -> None:
    benchmark = Benchmark(folder)
    page = annotation_page(benchmark, SHEET)
    data = data_of(page.html)
    requests = draw_requests(benchmark, "test", 4, 1)
    assert (page.examples, page.users, page.missing) == (4, 2, 0)
    assert len(data["images"]) == page.photos
    assert data["about"]["checksum"] == benchmark.about["checksum"]
    for request, asked in zip(requests, data["questions"], strict=True):
        assert asked["id"] == request.id
        assert asked["text"] == request.question.text
        assert asked["taken"] == len(request.history)
        told = [(one["id"], one["name"], one["description"]) for one in asked["candidates"]]
        assert told == [(one.id, one.name, one.description) for one in request.candidates]
        shown = [data["images"][number] for number in asked["history"]]
        assert shown == [thumbnail(one.path) for one in spread(request.history.photos, 5)]
        assert len(shown) == 5
        for one, candidate in zip(asked["candidates"], request.candidates, strict=True):
            assert set(one) == {"id", "name", "description", "photo"}
            own = None if one["photo"] is None else data["images"][one["photo"]]
            assert own == (thumbnail(candidate.photos[0]) if candidate.photos else None)


def test_the_same_arguments_give_the_same_bytes(folder: Path) -> None:
    first, second = (annotation_page(Benchmark(folder), SHEET).html for _ in range(2))
    assert first == second
    other = annotation_page(Benchmark(folder), Sheet(sample=4, photos=5, seed=2)).html
    # Progress of different pages is kept apart.
    assert data_of(other)["key"] != data_of(first)["key"]


def test_no_ground_truth_and_no_position_is_in_a_page(folder: Path) -> None:
    """Whatever the answer is and wherever the candidates lie, the page is the same."""
    benchmark = Benchmark(folder)
    before = annotation_page(benchmark, SHEET).html
    offered = [[one.id for one in request.candidates] for request in benchmark.requests("test")]
    answers = [one[:2] for one in offered]
    rewrite(
        folder,
        schema.ground_truth_file("test"),
        ground_truth=answers,
        anchor=[one[0] for one in answers],
    )
    places = pq.read_table(folder / schema.POSITIONS).num_rows
    rewrite(folder, schema.POSITIONS, position=[[1.5, 2.5]] * places)
    facts = pq.read_table(folder / schema.CANDIDATES).num_rows
    rewrite(folder, schema.CANDIDATES, rating=[4.4] * facts, rating_count=[7] * facts)
    assert [one.ground_truth for one in Benchmark(folder).examples("test")] == [
        frozenset(one) for one in answers
    ]
    assert annotation_page(Benchmark(folder), SHEET).html == before
    told = json.dumps(data_of(before))
    for secret in ("user-", "ground_truth", "anchor", "rating", "position", ".jpg", str(folder)):
        assert secret not in told


def test_a_page_loads_nothing_and_runs_only_its_own_script(folder: Path) -> None:
    html = annotation_page(Benchmark(folder), SHEET).html
    read = Read(html)
    assert not {"link", "iframe", "object", "form", "img", "base"} & {
        tag for tag, _ in read.elements
    }
    attributes = [(tag, name) for tag, own in read.elements for name in own]
    assert not [one for one in attributes if one[1] in ("src", "href", "style")]
    assert not [one for one in attributes if one[1].startswith("on")]
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|fetch\(|innerHTML", html)
    policies = [
        own["content"] for tag, own in read.elements if tag == "meta" and "http-equiv" in own
    ]
    allowed = dict(one.split(" ", 1) for one in policies[0].split("; "))
    (style,), (data, script) = read.texts["style"], read.texts["script"]
    assert data_of(html) == json.loads(data)
    assert allowed == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest(script)}'",
        "style-src": f"'sha256-{digest(style)}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # The policy stands before what it is about.
    tags = [tag for tag, _ in read.elements]
    assert tags.index("meta") < tags.index("style") < tags.index("script")


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_what_a_dump_says_is_data_and_never_markup(folder: Path) -> None:
    clean = Read(annotation_page(Benchmark(folder), SHEET).html)
    rows = pq.read_table(folder / schema.CANDIDATES).num_rows
    rewrite(folder, schema.CANDIDATES, name=[ATTACK] * rows, description=[ATTACK] * rows)
    asked = pq.read_table(folder / schema.examples_file("test")).num_rows
    rewrite(folder, schema.examples_file("test"), question=[ATTACK] * asked)
    benchmark = Benchmark(folder)
    benchmark.name = ATTACK
    html = annotation_page(benchmark, SHEET).html
    read = Read(html)
    assert read.elements == clean.elements
    assert ATTACK in "".join(read.texts["title"])
    data = data_of(html)
    assert {one["text"] for one in data["questions"]} == {ATTACK}
    told = {one["name"] for asked in data["questions"] for one in asked["candidates"]}
    assert told == {ATTACK}
    assert html.count("</script>") == 2
    assert "alert(1)</script>" not in html


def test_photos_are_small_and_say_nothing_about_themselves(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 256, (600, 900, 3), dtype=np.uint8))
    place = piexif.dump({"GPS": {piexif.GPSIFD.GPSLatitudeRef: b"N"}})
    noise.save(tmp_path / "noise.jpg", quality=100, exif=place, comment=b"secret" * 1000)
    data = thumbnail(str(tmp_path / "noise.jpg"))
    assert data is not None
    jpeg = base64.b64decode(data)
    image = Image.open(io.BytesIO(jpeg))
    assert len(jpeg) <= MAX_BYTES
    assert (image.format, max(image.size)) == ("JPEG", THUMB_PX)
    assert image.size[0] / image.size[1] == pytest.approx(1.5, abs=0.02)
    assert b"Exif" not in jpeg
    assert b"secret" not in jpeg


def test_a_photo_that_stays_too_large_loses_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visuallens.evaluation.annotation.page.MAX_BYTES", 1200)
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(
        tmp_path / "noise.png"
    )
    data = thumbnail(str(tmp_path / "noise.png"))
    assert data is not None
    jpeg = base64.b64decode(data)
    assert len(jpeg) <= 1200
    assert Image.open(io.BytesIO(jpeg)).size == (THUMB_PX // 2, THUMB_PX // 2)


def test_photos_that_cannot_be_read_are_gaps(folder: Path) -> None:
    benchmark = Benchmark(folder)
    photos = draw_requests(benchmark, "test", 4, 1)[0].history.photos
    Path(photos[-1].path).unlink()
    Path(photos[0].path).write_bytes(b"no photo at all")
    page = annotation_page(benchmark, SHEET)
    data = data_of(page.html)
    history = [data["images"][number] for number in data["questions"][0]["history"]]
    assert (history[0], history[-1]) == (None, None)
    assert all(history[1:-1])
    assert page.missing == data["images"].count(None)


def test_a_benchmark_without_photo_files_is_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "bare", examples=12, users=4, photos=False)
    with pytest.raises(EvaluationError, match="no photo of these questions can be read"):
        annotation_page(Benchmark(folder), Sheet(sample=2))


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_script_is_javascript() -> None:
    script = files("visuallens.evaluation.annotation") / "page.js"
    checked = subprocess.run(
        [str(NODE), "--check", str(script)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_what_the_page_exports_is_read(folder: Path, tmp_path: Path) -> None:
    benchmark = Benchmark(folder)
    path = tmp_path / "page.html"
    path.write_text(annotation_page(benchmark, SHEET).html, encoding="utf-8")
    # In the first question the third candidate is taken back; the page is then opened again, where
    # the last question is, and its first choice put one down.
    actions = [[0, [4, 0, 2, 2]], [3, [1, 5, 6]]]
    driver = Path(__file__).with_name("page_driver.cjs")
    done = subprocess.run(
        [str(NODE), str(driver), str(path), json.dumps(actions)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    export = tmp_path / "ada.json"
    export.write_bytes(done.stdout)
    run = read_export(export)
    requests = draw_requests(benchmark, "test", 4, 1)
    assert run.tag == "Ada"
    assert run.example_ids == (requests[0].id, requests[3].id)
    for at, places in ((0, [4, 0]), (3, [5, 1, 6])):
        scores = run.scores_of(requests[at].id)
        ids = [one.id for one in requests[at].candidates]
        assert list(scores)[: len(places)] == [ids[place] for place in places]
        assert list(scores.values())[: len(places)] == list(range(len(places), 0, -1))
        assert set(scores) == set(ids)
        assert sum(scores.values()) == len(places) * (len(places) + 1) / 2
    align(run, read_lists(benchmark, "test"), benchmark)
