from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmark.tiny import write_tiny
from tests.evaluation.slow_ranker import SlowRanker
from tests.evaluation.toy import Ask, write_toy

from visuallens import registry
from visuallens.benchmark.folder import Benchmark
from visuallens.config import load_settings
from visuallens.errors import RunFileError
from visuallens.evaluation.controls import ControlSettings
from visuallens.evaluation.runs import Asked, write_run
from visuallens.evaluation.shuffled import ShuffledHistories
from visuallens.evaluation.truncated import truncated
from visuallens.types import Ranking, RankingRequest


def shown(request: RankingRequest) -> list[str]:
    return [photo.id for photo in request.history.photos]


@pytest.mark.parametrize(
    ("photos", "kept"),
    [(0, []), (1, ["p5"]), (2, ["p3", "p5"]), (4, ["p1", "p2", "p3", "p5"])],
)
def test_the_newest_photos_are_kept(tmp_path: Path, photos: int, kept: list[str]) -> None:
    toy = write_toy(tmp_path / "toy", {"test": [Ask("a", [1, 2, 3, 5], [4, 6], [4])]})
    (request,) = toy.requests("test")
    found = truncated(request, photos)
    assert shown(found) == kept
    assert found.history.user_id == "a"
    assert (found.id, found.seed, found.candidates) == (
        request.id, request.seed, request.candidates,
    )  # fmt: skip
    assert shown(truncated(request, 99)) == ["p1", "p2", "p3", "p5"]


class Noticing(SlowRanker):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, list[str]] = {}

    def rank(self, request: RankingRequest) -> Ranking:
        self.shown[request.id] = shown(request)
        return super().rank(request)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_ranker_knows_no_more(tmp_path: Path, shuffled: bool) -> None:
    tiny = Benchmark(write_tiny(tmp_path / "tiny", photos=False, examples=90, users=15))
    ranker = Noticing()
    asked = Asked("train", load_settings(), shuffled_history=shuffled, history_photos=3)
    manifest = write_run(ranker, tiny, tmp_path / "a.run", asked)
    assert manifest["history_photos"] == 3
    strangers = ShuffledHistories(tiny, "train", 0)
    for request in tiny.requests("train"):
        whole = strangers(request) if shuffled else request
        assert ranker.shown[request.id] == shown(whole)[-3:]
    assert max(map(len, ranker.shown.values())) == 3


@pytest.mark.parametrize("control", registry.names("controls"))
def test_controls_answer_without_any_history(tmp_path: Path, control: str) -> None:
    tiny = Benchmark(write_tiny(tmp_path / "tiny", photos=False))
    made = registry.load("controls", control)(tiny, ControlSettings())
    asked = Asked("test", load_settings(), history_photos=0)
    assert write_run(made, tiny, tmp_path / "a.run", asked)["examples"] == tiny.count("test")


def test_another_length_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"train": [Ask("a", [1], [2, 3, 4], [2])]})
    out, settings = tmp_path / "a.run", load_settings()
    assert "history_photos" not in write_run(SlowRanker(), toy, out, Asked("train", settings))
    with pytest.raises(RunFileError, match="history_photos: there null, here 0"):
        write_run(SlowRanker(), toy, out, Asked("train", settings, history_photos=0))
