from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark import page as page_module
from visuallens.benchmark.folder import Benchmark, FoundExample
from visuallens.benchmark.page import example_page
from visuallens.cli.main import visuallens
from visuallens.errors import RequestError
from visuallens.types import Question, VisualHistory

ATTACK = '<script>alert("1")</script><img src=http://evil.example/x onerror=go()>&\'"'


class Read(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[Image.Image]:
        prefix = "data:image/jpeg;base64,"
        sources = [value for name, value in self.attributes if name == "src"]
        assert all(source.startswith(prefix) for source in sources)
        return [
            Image.open(io.BytesIO(base64.b64decode(source.removeprefix(prefix))))
            for source in sources
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny")


@pytest.fixture
def found(folder: Path) -> FoundExample:
    return Benchmark(folder).find("test")


def show(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(visuallens, ["benchmark", "show", str(folder), *arguments])


def test_a_page_tells_the_whole_example(folder: Path, found: FoundExample) -> None:
    benchmark = Benchmark(folder)
    read = Read(example_page(found, benchmark, "test"))
    request = found.example.request
    for told in (
        request.id,
        request.history.user_id,
        request.question.text,
        request.question.category,
        f"{found.asked_at:%Y-%m-%d %H:%M} UTC",
        benchmark.about["checksum"],
        '"min_history": 10',
        f"seed {request.seed}",
        *(f"{photo.metadata.taken_at:%Y-%m-%d}" for photo in request.history.photos),
        *(candidate.name for candidate in request.candidates),
        *(candidate.description for candidate in request.candidates),
    ):
        assert told in read.text
    photos = sum(len(candidate.photos) for candidate in request.candidates)
    assert len(read.images()) == len(request.history) + photos
    assert {image.format for image in read.images()} == {"JPEG"}


def test_candidates_stand_in_their_order_and_only_ground_truth_is_marked(
    folder: Path, found: FoundExample
) -> None:
    page = example_page(found, Benchmark(folder), "test")
    request = found.example.request
    items = re.findall(r"<li.*?</li>", page, re.DOTALL)
    assert len(items) == len(request.candidates)
    for item, candidate in zip(items, request.candidates, strict=True):
        assert f"<b>{candidate.name}</b>" in item
        is_answer = candidate.id in found.example.ground_truth
        assert ('class="answer"' in item) == is_answer
        assert ("ground truth" in item) == is_answer
    assert "anchor" not in page


def test_what_a_dump_says_is_text_and_never_markup(folder: Path, found: FoundExample) -> None:
    request = found.example.request
    first = replace(request.candidates[0], name=ATTACK, description=ATTACK)
    attacked = replace(
        request,
        id=ATTACK,
        question=Question(ATTACK, ATTACK),
        history=VisualHistory(ATTACK, request.history.photos),
        candidates=(first, *request.candidates[1:]),
    )
    example = replace(found.example, request=attacked)
    benchmark = Benchmark(folder)
    benchmark.name = ATTACK
    read = Read(example_page(found._replace(example=example), benchmark, ATTACK))
    assert "script" not in read.tags
    assert not any(name.startswith("on") for name, _ in read.attributes)
    assert read.images()
    assert read.text.count(ATTACK) >= 8


def test_a_page_loads_nothing_and_runs_nothing(folder: Path, found: FoundExample) -> None:
    read = Read(example_page(found, Benchmark(folder), "test"))
    assert not {"script", "link", "iframe", "object", "form"} & set(read.tags)
    assert "href" not in {name for name, _ in read.attributes}
    policy = next(value for name, value in read.attributes if "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_photos_that_are_gone_are_gaps(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=12)
    found = Benchmark(folder).find("test")
    photos = found.example.request.history.photos
    Path(photos[0].path).unlink()
    Path(photos[1].path).write_bytes(b"no photo at all")
    page = example_page(found, Benchmark(folder), "test")
    assert page.count('<div class="gap">') == 2
    assert f"{photos[0].metadata.taken_at:%Y-%m-%d}" in page


def test_a_benchmark_without_any_photo_file_can_be_shown(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=12, photos=False)
    page = example_page(Benchmark(folder).find("test"), Benchmark(folder), "test")
    assert "<img" not in page
    assert "10 files are not there" in show(folder).stdout


def test_a_long_history_says_what_it_hides(
    folder: Path, found: FoundExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "MAX_HISTORY", 3)
    page = example_page(found, Benchmark(folder), "test")
    assert f"{len(found.example.request.history) - 3} older photos are not shown." in page


def test_many_photos_of_a_candidate_are_counted(
    folder: Path, found: FoundExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "MAX_EACH", 1)
    assert "photos not shown: 1" in example_page(found, Benchmark(folder), "test")


def test_show_writes_a_page(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    result = show(folder, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert out.read_text("utf-8").startswith("<!doctype html>")
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_show_on_the_terminal_lists_the_candidates(folder: Path, found: FoundExample) -> None:
    lines = show(folder).stdout.splitlines()
    request = found.example.request
    assert lines[0] == request.question.text
    listed = [line for line in lines if re.match(r" +\d+ [* ] ", line)]
    assert len(listed) == len(request.candidates)
    starred = {
        candidate.id
        for line, candidate in zip(listed, request.candidates, strict=True)
        if line[5] == "*"
    }
    assert starred == found.example.ground_truth


def test_show_as_json(folder: Path) -> None:
    found = Benchmark(folder).find("dev")
    request = found.example.request
    record = json.loads(show(folder, request.id, "--split", "dev", "--json").stdout)
    assert record["id"] == request.id
    assert record["asked_at"] == found.asked_at.isoformat()
    assert [one["id"] for one in record["history"]] == [one.id for one in request.history.photos]
    assert [one["id"] for one in record["candidates"]] == [one.id for one in request.candidates]
    answers = {one["id"] for one in record["candidates"] if one["ground_truth"]}
    assert answers == found.example.ground_truth
    assert record["page"] is None


def test_show_refuses_an_unknown_example(folder: Path) -> None:
    result = show(folder, "tiny-999")
    assert isinstance(result.exception, RequestError)
    assert "no example 'tiny-999'" in str(result.exception)


def test_terminal_codes_in_names_do_not_reach_the_terminal(
    folder: Path, found: FoundExample
) -> None:
    from visuallens.cli.benchmark.show import as_text

    request = found.example.request
    first = replace(request.candidates[0], name="\x1b[2Jgone\nnew line", description="\x07")
    attacked = replace(request, candidates=(first, *request.candidates[1:]))
    example = replace(found.example, request=attacked)
    text = as_text(found._replace(example=example), Benchmark(folder), "test")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "gone new line" in text
