"""The models that settings name, from the first photo to a ranking."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import tiny_encoders
from tests.models.toy_backbone import ToyBackbone
from visuallens import Candidate, VisualLens, registry
from visuallens.augment.store import Library
from visuallens.config import load_settings
from visuallens.errors import NothingIndexedError
from visuallens.models.embedded import EmbeddedModel
from visuallens.prompts import caption_prompt

PLACES = [
    Candidate("1", "The Lighthouse", "an old tower", categories=("lighthouse",)),
    Candidate("2", "Sea Light", "aaaa eeee", categories=("lighthouse",)),
    Candidate("3", "Rock", categories=("lighthouse",)),
]


class Talker(ToyBackbone):
    """Captions, names aspect words, and matches; counts how often it is opened."""

    opened = 0

    def __init__(self, settings: object = None) -> None:
        del settings
        super().__init__(in_words=self.talk)
        self.scores = "logits"
        type(self).opened += 1

    def talk(self, prompt: str) -> str:
        return "A lighthouse." if prompt == caption_prompt() else "lighthouse, sea"


class Captioner(Talker):
    """Another model."""

    opened = 0
    id = "captioner@1"

    def talk(self, prompt: str) -> str:
        assert prompt == caption_prompt()
        return "A tower by the sea."


@pytest.fixture(autouse=True)
def backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"talker": Talker, "captioner": Captioner}
    for made in known.values():
        monkeypatch.setattr(made, "opened", 0)
    monkeypatch.setattr(
        registry,
        "load",
        lambda kind, name, load=registry.load: known[name] if name in known else load(kind, name),
    )


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    for name in ("clip", "siglip2"):
        tiny_encoders.write(name, folder / name)
    return folder


def lens(library: Path, encoder: Path, *overrides: str) -> VisualLens:
    """Open a library with the preset of an encoder; only weights and backbones are toys."""
    preset = {"clip": "paper-3b", "siglip2": "local"}[encoder.name]
    toys = [f"encoder.model={encoder}", "backbone.name=talker"]
    captioner = ["captioner.name=captioner"] if encoder.name == "clip" else []
    settings = load_settings(None, [f"preset={preset}", *toys, *captioner, *overrides])
    return VisualLens(library, settings=settings)


def test_the_paper_preset_goes_from_photos_to_a_ranking(
    encoders: Path, photo_folder: Path, tmp_path: Path
) -> None:
    with lens(tmp_path, encoders / "clip") as opened:
        assert Talker.opened == Captioner.opened == 0
        assert opened.index(photo_folder).indexed == 6
        assert (Talker.opened, Captioner.opened) == (1, 1)
        answer = opened.recommend("a lighthouse", PLACES, anyway=True)
        assert [ranked.candidate.id for ranked in answer.candidates] == ["2", "1", "3"]  # vowels
        assert {cell.caption for cell in answer.profile.cells} == {"A tower by the sea."}
        assert answer.profile.aspect_words == ("lighthouse", "sea")
        assert len(answer.profile.cells) == 6
        assert isinstance(opened.backbone, Talker)
        shown = opened.backbone.images[-1]
        assert shown is not None
        assert shown.image.size == (896, 896)
        assert opened.index(photo_folder).unchanged == 6
    with Library.open(tmp_path / "library.sqlite") as library:
        assert [found.model for found in library.describers("me")] == ["captioner@1+toy@1"]


def test_a_captioner_is_not_opened_for_a_question(
    encoders: Path, photo_folder: Path, tmp_path: Path
) -> None:
    with lens(tmp_path, encoders / "clip") as opened:
        opened.index(photo_folder)
    Captioner.opened = 0
    with lens(tmp_path, encoders / "clip") as opened:
        assert opened.recommend("a lighthouse", PLACES, anyway=True).candidates
    assert Captioner.opened == 0


def test_questions_are_answered_before_anything_is_described(
    encoders: Path, photo_folder: Path, tmp_path: Path
) -> None:
    siglip2 = encoders / "siglip2"
    with lens(tmp_path, siglip2, "index.describe_by=model") as opened:
        opened.index(photo_folder)
        assert Talker.opened == 0
    with lens(tmp_path, siglip2) as opened:
        before = opened.recommend("a lighthouse", PLACES, anyway=True)
        assert len(before.candidates) == 3
        assert {cell.caption for cell in before.profile.cells} == {""}
        assert before.profile.aspect_words == ()
        alike = opened.recommend("a lighthouse", PLACES, anyway=True, ranker="similarity")
        assert len(alike.candidates) == 3
        opened.index(photo_folder)
        after = opened.recommend("a lighthouse", PLACES, anyway=True)
        assert {cell.caption for cell in after.profile.cells} == {"A lighthouse."}


@pytest.mark.parametrize("name", ["clip", "siglip2"])
def test_it_abstains_by_the_encoders_own_background(
    name: str, encoders: Path, photo_folder: Path, tmp_path: Path
) -> None:
    with lens(tmp_path, encoders / name, "index.describe_by=model") as opened:
        opened.index(photo_folder)
    asked = {}
    for rate in (0.001, 0.999):
        strictness = f"abstention.false_answer_rate={rate}"
        with lens(tmp_path, encoders / name, strictness, "index.describe_by=model") as opened:
            asked[rate] = opened.recommend("a lighthouse", PLACES)
    assert asked[0.001].abstained
    assert not asked[0.999].abstained
    standing = asked[0.001].standing
    assert 0.001 < standing.p_value <= 1
    assert standing.p_value * 251 == pytest.approx(round(standing.p_value * 251))  # 250 and itself


def test_two_encoders_live_side_by_side(
    encoders: Path, photo_folder: Path, tmp_path: Path, model: EmbeddedModel
) -> None:
    with lens(tmp_path, encoders / "clip", "captioner=none") as opened:
        opened.index(photo_folder)
    with VisualLens(tmp_path, settings=load_settings()) as embedded:
        with pytest.raises(NothingIndexedError, match="has read no photo of user 'me'"):
            embedded.profile("a lighthouse")
        embedded.index(photo_folder)
        plain = embedded.profile("a lighthouse")
        assert plain.embeddings is not None
        assert plain.embeddings.shape[1] == model.encode_texts([]).shape[1]
        assert {cell.caption for cell in plain.cells}.isdisjoint({"A lighthouse."})
        assert embedded.status().photos == 6
        assert {found.partition("@")[0] for found in embedded.status().models} == {
            "clip",
            "toy",
            "embedded-anchors/efficientnet-lite2",
        }
    with lens(tmp_path, encoders / "clip", "captioner=none") as opened:
        assert opened.index(photo_folder).unchanged == 6
        profile = opened.profile("a lighthouse")
        assert profile.embeddings is not None
        assert profile.embeddings.shape == (6, tiny_encoders.DIM)
        # The embedded model has described the photos later, but a backbone goes first.
        assert {cell.caption for cell in profile.cells} == {"A lighthouse."}


def test_the_grid_of_table_6_has_its_size(
    encoders: Path, photo_folder: Path, tmp_path: Path
) -> None:
    with lens(tmp_path, encoders / "clip", "preset=paper-8b") as opened:
        opened.index(photo_folder)
        profile = opened.profile("a lighthouse")
    assert profile.image is not None
    assert profile.image.size == (980, 980)
