"""Captions by a backbone beside those of the model: indexing, estimating, choosing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.models.server.fake_server import FakeServer
from tests.models.toy_backbone import ToyBackbone
from visuallens import VisualLens, registry
from visuallens.augment.base import Estimate
from visuallens.augment.store import Library
from visuallens.config import load_settings
from visuallens.errors import ServerBusyError, ServerRefusedError
from visuallens.models.base import PromptImage
from visuallens.prompts import caption_prompt


class Talker(ToyBackbone):
    """Counts what it is asked, and fails after a number of captions."""

    captions = 0
    most = 1000

    def __init__(self, settings: object = None) -> None:
        del settings
        super().__init__(in_words=self._talk)

    def _talk(self, prompt: str) -> str:
        if prompt != caption_prompt():
            return "lighthouse, sea"
        Talker.captions += 1
        if Talker.captions > Talker.most:
            raise ServerBusyError("toy", "http://localhost", "it is busy. Try again later.")
        return "A lighthouse by the sea."


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch) -> type[Talker]:
    monkeypatch.setattr(Talker, "captions", 0)
    monkeypatch.setattr(Talker, "most", 1000)
    monkeypatch.setitem(
        registry.BUILT_IN["backbones"], "talker", "tests.augment.test_describing:Talker"
    )
    monkeypatch.setattr(
        registry,
        "load",
        lambda kind, name, load=registry.load: Talker if name == "talker" else load(kind, name),
    )
    return Talker


def lens(folder: Path, *overrides: str) -> VisualLens:
    settings = load_settings(
        None,
        ["backbone.name=talker", "index.describe_by=backbone", "index.batch_size=2", *overrides],
    )
    return VisualLens(folder / "library", settings=settings)


def test_both_describe_and_the_backbone_is_preferred(
    talker: type[Talker], photo_folder: Path, tmp_path: Path
) -> None:
    with lens(tmp_path) as opened:
        assert opened.index(photo_folder).indexed == 6
        assert talker.captions == 6
        profile = opened.profile("a harbour")
        assert {cell.caption for cell in profile.cells} == {"A lighthouse by the sea."}
        assert profile.aspect_words == ("lighthouse", "sea")
        assert opened.index(photo_folder).unchanged == 6
        assert talker.captions == 6
    with lens(tmp_path, "index.describe_by=model") as plain:
        assert "lighthouse" not in plain.profile("a harbour").text
    with Library.open(tmp_path / "library" / "library.sqlite") as library:
        assert [found.model for found in library.describers("me")][-1] == "toy@1"


def test_what_a_failing_server_has_described_stays(
    talker: type[Talker],
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(talker, "most", 5)
    with lens(tmp_path) as opened:
        with pytest.raises(ServerBusyError):
            opened.index(photo_folder)
        monkeypatch.setattr(talker, "most", 1000)
        monkeypatch.setattr(talker, "captions", 0)
        opened.index(photo_folder)
        assert talker.captions == 2  # only the batch that failed
        captions = {cell.caption for cell in opened.profile("a harbour").cells}
        assert captions == {"A lighthouse by the sea."}


def test_an_estimate_leaves_the_library_as_it_is(
    talker: type[Talker], photo_folder: Path, tmp_path: Path
) -> None:
    with lens(tmp_path) as opened:
        found = opened.estimate(photo_folder)
        assert found.photos == 6
        assert found.seconds > 0
        assert 0 < talker.captions <= 4
        assert not (tmp_path / "library").exists()
        opened.index(photo_folder)
        assert opened.estimate(photo_folder) == Estimate(0, 0.0)


def test_a_long_run_says_what_it_will_take(
    talker: type[Talker], photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visuallens.augment import pipeline

    class Notes:
        def __init__(self) -> None:
            self.texts: list[str] = []

        def total(self, count: int) -> None:
            pass

        def advance(self, count: int) -> None:
            pass

        def note(self, text: str) -> None:
            self.texts.append(text)

    monkeypatch.setattr(pipeline, "_LONG_RUN_S", 0.0)
    notes = Notes()
    with lens(tmp_path) as opened:
        opened.index(photo_folder, progress=notes)
    (note,) = notes.texts
    assert note.startswith("4 photos will take about")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Estimate(3, 45), "3 photos will take about 45 seconds."),
        (
            Estimate(10_000, 7200, 12.5),
            "10,000 photos will take about 2.0 hours, and cost about 12.50.",
        ),
        (Estimate(100, 600), "100 photos will take about 10 minutes."),
    ],
)
def test_an_estimate_reads_well(found: Estimate, text: str) -> None:
    assert str(found) == text


def test_one_photo_that_a_server_refuses_costs_no_other(
    talker: type[Talker], photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(
        self: Talker, images: Sequence[PromptImage | None], prompts: Sequence[str], **_: object
    ) -> list[str]:
        for image in images:
            assert image is not None
            if image.image.getpixel((0, 0)) == refused:
                raise ServerRefusedError("toy", "http://x", "it will not look.", status=400)
        return [self._talk(prompt) for prompt in prompts]

    with Image.open(photo_folder / "3.jpg") as picture:
        refused = picture.convert("RGB").getpixel((0, 0))
    monkeypatch.setattr(talker, "generate", generate)
    with lens(tmp_path) as opened:
        report = opened.index(photo_folder)
        assert report.indexed == 6
        (refusal,) = report.refused
        assert refusal.path == str(photo_folder / "3.jpg")
        assert (refusal.reason.value, "will not look" in refusal.detail) == ("not_described", True)
        described = [cell.caption for cell in opened.profile("a harbour").cells]
        assert described.count("A lighthouse by the sea.") == 5
        monkeypatch.undo()


def test_a_server_that_refuses_the_key_stops_the_run(
    talker: type[Talker], photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(*_: object, **__: object) -> list[str]:
        raise ServerRefusedError("toy", "http://x", "it refuses the key.", status=401)

    monkeypatch.setattr(talker, "generate", generate)
    with lens(tmp_path) as opened, pytest.raises(ServerRefusedError):
        opened.index(photo_folder)


def test_an_estimate_is_the_same_when_its_answers_are_kept(
    photo_folder: Path, tmp_path: Path
) -> None:
    with FakeServer() as fake:
        overrides = (
            "backbone.name=server",
            f"backbone.server.url={fake.url}",
            "backbone.server.price_in=1000",
        )
        costs = []
        for _ in range(2):
            with lens(tmp_path, *overrides) as opened:
                costs.append(opened.estimate(photo_folder).cost)
        asked = len(fake.chats())
        with lens(tmp_path, *overrides) as opened:
            opened.index(photo_folder)
        # six photos, two answers of ten tokens each, at 1,000 a million: 0.12
        assert costs == [pytest.approx(0.12)] * 2
        assert len(fake.chats()) < asked + 12  # what was estimated is not paid again


def test_what_is_done_once_is_not_extrapolated(
    talker: type[Talker], photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, clock = talker._talk, time.perf_counter
    slept_s = 0.0

    def slow_at_first(self: Talker, prompt: str) -> str:
        nonlocal slept_s
        if not talker.captions:
            slept_s = 10_000.0  # as if loading took that long, on however busy a machine
        return talk(self, prompt)

    monkeypatch.setattr(talker, "_talk", slow_at_first)
    monkeypatch.setattr("visuallens.augment.pipeline.time.perf_counter", lambda: clock() + slept_s)
    with lens(tmp_path) as opened:
        assert opened.estimate(photo_folder).seconds < 10_000
        assert slept_s > 0
        one = opened.estimate(photo_folder / "0.jpg")
        assert (one.photos, one.seconds > 0) == (1, True)
