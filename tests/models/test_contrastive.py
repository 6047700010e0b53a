"""CLIP and SigLIP 2 against forward passes written by hand, on tiny weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.models import tiny_encoders
from tests.models.tiny_encoders import SIDE_PX

from visuallens import registry
from visuallens.config import load_settings
from visuallens.errors import BackboneError, WeightsMissingError
from visuallens.models.contrastive import ContrastiveModel
from visuallens.types import PhotoMetadata

Weights = dict[str, torch.Tensor]
NAMES = ("clip", "siglip2")
OPENAI_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
OPENAI_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    for name in NAMES:
        tiny_encoders.write(name, folder / name)
    return folder


def opened(name: str, folder: Path) -> ContrastiveModel:
    settings = load_settings(None, [f"index.model={name}", f"encoder.model={folder}"])
    model: ContrastiveModel = registry.load("models", name)(settings)
    return model


def noise(seed: int, side_px: int = SIDE_PX) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def linear(weights: Weights, name: str, rows: torch.Tensor) -> torch.Tensor:
    result = rows @ weights[f"{name}.weight"].T
    bias = weights.get(f"{name}.bias")
    return result if bias is None else result + bias


def norm(weights: Weights, name: str, rows: torch.Tensor, epsilon: float) -> torch.Tensor:
    centred = rows - rows.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Four heads over rows that have 32 numbers each."""
    heads = [part.reshape(len(part), 4, 8).transpose(0, 1) for part in (query, key, value)]
    scores = heads[0] @ heads[1].transpose(1, 2) / 8**0.5
    return (scores.softmax(-1) @ heads[2]).transpose(0, 1).reshape(len(query), 32)


def layers(
    weights: Weights,
    tower: str,
    rows: torch.Tensor,
    epsilon: float,
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    for number in range(2):
        layer = f"{tower}.encoder.layers.{number}"
        inner = norm(weights, f"{layer}.layer_norm1", rows, epsilon)
        parts = [linear(weights, f"{layer}.self_attn.{p}_proj", inner) for p in ("q", "k", "v")]
        rows = rows + linear(weights, f"{layer}.self_attn.out_proj", attend(*parts))
        inner = norm(weights, f"{layer}.layer_norm2", rows, epsilon)
        inner = activation(linear(weights, f"{layer}.mlp.fc1", inner))
        rows = rows + linear(weights, f"{layer}.mlp.fc2", inner)
    return rows


def patches(weights: Weights, pixels: torch.Tensor) -> torch.Tensor:
    """Cut a (3, 32, 32) image in 4 x 4 patches of 8 px, row by row, and project each."""
    kernel = weights["vision_model.embeddings.patch_embedding.weight"]
    cut = [
        pixels[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8].reshape(-1)
        for row in range(4)
        for col in range(4)
    ]
    result = torch.stack(cut) @ kernel.reshape(32, -1).T
    bias = weights.get("vision_model.embeddings.patch_embedding.bias")
    return result if bias is None else result + bias


def by_hand_clip(weights: Weights, pixels: torch.Tensor) -> torch.Tensor:
    first = weights["vision_model.embeddings.class_embedding"][None]
    rows = torch.cat([first, patches(weights, pixels)])
    rows = rows + weights["vision_model.embeddings.position_embedding.weight"]
    rows = norm(weights, "vision_model.pre_layrnorm", rows, 1e-5)
    rows = layers(weights, "vision_model", rows, 1e-5, lambda x: x * torch.sigmoid(1.702 * x))
    pooled = norm(weights, "vision_model.post_layernorm", rows[:1], 1e-5)
    return linear(weights, "visual_projection", pooled)[0]


def gelu(rows: torch.Tensor) -> torch.Tensor:
    inner = (2 / torch.pi) ** 0.5 * (rows + 0.044715 * rows**3)
    return 0.5 * rows * (1 + torch.tanh(inner))


def by_hand_siglip2(weights: Weights, pixels: torch.Tensor) -> torch.Tensor:
    rows = patches(weights, pixels) + weights["vision_model.embeddings.position_embedding.weight"]
    rows = layers(weights, "vision_model", rows, 1e-6, gelu)
    rows = norm(weights, "vision_model.post_layernorm", rows, 1e-6)
    head = "vision_model.head"
    asked = torch.cat([weights[f"{head}.probe"][0], rows])
    both = asked @ weights[f"{head}.attention.in_proj_weight"].T
    both = both + weights[f"{head}.attention.in_proj_bias"]
    query, key, value = both[:1, :32], both[1:, 32:64], both[1:, 64:]
    pooled = linear(weights, f"{head}.attention.out_proj", attend(query, key, value))
    inner = norm(weights, f"{head}.layernorm", pooled, 1e-6)
    inner = gelu(linear(weights, f"{head}.mlp.fc1", inner))
    return (pooled + linear(weights, f"{head}.mlp.fc2", inner))[0]


@pytest.mark.parametrize(
    ("name", "by_hand"), [("clip", by_hand_clip), ("siglip2", by_hand_siglip2)]
)
def test_image_embeddings_equal_a_forward_pass_by_hand(
    name: str, by_hand: Callable[[Weights, torch.Tensor], torch.Tensor], folders: Path
) -> None:
    model = opened(name, folders / name)
    image = noise(1)
    pixels = np.asarray(image, np.float32) / 255  # of the model's own size: nothing is resized
    mean, deviation = (OPENAI_MEAN, OPENAI_DEVIATION) if name == "clip" else (0.5, 0.5)
    prepared = model.prepare(image)
    assert prepared.shape == (3, SIDE_PX, SIDE_PX)
    assert prepared.dtype == np.float32
    expected = ((pixels - mean) / deviation).transpose(2, 0, 1)
    np.testing.assert_allclose(prepared, expected, atol=1e-5)
    found = by_hand(load_file(folders / name / "model.safetensors"), torch.from_numpy(expected))
    found = found / found.norm()
    (row,) = model.encode_images([image])
    np.testing.assert_allclose(row, found.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_equals_many(name: str, folders: Path) -> None:
    model = opened(name, folders / name)
    images = [noise(seed, 40) for seed in range(18)]
    alone = np.concatenate([model.encode_images([image]) for image in images])
    np.testing.assert_allclose(model.encode_images(images), alone, atol=1e-5)
    inputs = [model.prepare(image) for image in images]
    readings = model.read(inputs, [PhotoMetadata()] * 18)
    assert readings.descriptions is None
    assert readings.embeddings is not None
    np.testing.assert_allclose(readings.embeddings, alone, atol=1e-5)
    texts = ["a zoo", "the long history of a museum of trains", ""] * 6
    texts = [f"{text} {number}" for number, text in enumerate(texts)]
    single = opened(name, folders / name)
    alone = np.concatenate([single.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(model.encode_texts(texts), alone, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_gives_no_rows_of_the_right_width(name: str, folders: Path) -> None:
    model = opened(name, folders / name)
    width = model.encode_texts(["a zoo"]).shape[1]
    assert model.encode_texts([]).shape == model.encode_images([]).shape == (0, width)


def given_to_the_text_tower(model: ContrastiveModel, text: str) -> dict[str, Any]:
    tower, seen = model._parts.model.text_model, {}
    handle = tower.register_forward_pre_hook(
        lambda _, __, arguments: seen.update(arguments), with_kwargs=True
    )
    model.encode_texts([text])
    handle.remove()
    return seen


def test_siglip_2_reads_lower_case_and_full_length(folders: Path) -> None:
    model = opened("siglip2", folders / "siglip2")
    tokens = given_to_the_text_tower(model, "A Zoo")["input_ids"][0].tolist()
    ids = model._parts.tokenizer.get_vocab()
    assert tokens[:6] == [ids["a"], ids["Ġ"], ids["z"], ids["o"], ids["o"], ids["<eos>"]]
    assert tokens[6:] == [ids["<pad>"]] * 58
    assert given_to_the_text_tower(model, "a park")["attention_mask"] is None
    np.testing.assert_array_equal(model.encode_texts(["A ZOO"]), model.encode_texts(["a zoo"]))


@pytest.mark.parametrize(
    ("name", "most", "last"), [("clip", 77, "<|endoftext|>"), ("siglip2", 64, "<eos>")]
)
def test_a_long_text_is_cut_before_its_end_token(
    name: str, most: int, last: str, folders: Path
) -> None:
    model = opened(name, folders / name)
    tokens = given_to_the_text_tower(model, "castle " * 200)["input_ids"][0].tolist()
    assert len(tokens) == most
    assert tokens[-1] == model._parts.tokenizer.token_to_id(last)


@pytest.mark.parametrize("name", NAMES)
def test_text_embeddings_are_those_of_the_whole_model(name: str, folders: Path) -> None:
    model = opened(name, folders / name)
    seen = given_to_the_text_tower(model, "an old lighthouse")
    image = torch.from_numpy(model.prepare(noise(2)))[None]
    with torch.inference_mode():
        output = model._parts.model(
            input_ids=seen["input_ids"], attention_mask=seen["attention_mask"], pixel_values=image
        )
    np.testing.assert_allclose(
        model.encode_texts(["an old lighthouse"]), output.text_embeds.numpy(), atol=1e-5
    )
    np.testing.assert_allclose(
        model.encode_images([noise(2)]), output.image_embeds.numpy(), atol=1e-5
    )


def test_a_category_is_asked_for_as_a_photo(folders: Path) -> None:
    model = opened("clip", folders / "clip")
    np.testing.assert_array_equal(
        model.encode_categories(["zoo"]), model.encode_texts(["a photo of a zoo"])
    )
    assert model.unrelated.shape == (250, tiny_encoders.DIM)
    np.testing.assert_array_equal(opened("clip", folders / "clip").unrelated, model.unrelated)


def test_an_encoder_is_known_by_its_weights(folders: Path) -> None:
    ids = {opened(name, folders / name).id for name in NAMES}
    assert len(ids) == 2
    assert all("@local-" in found for found in ids)
    assert opened("clip", folders / "clip").input_side_px == SIDE_PX


def test_missing_weights_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = registry.load("models", "clip")(load_settings(None, ["encoder.revision=refs/pr/1"]))
    with pytest.raises(WeightsMissingError, match=r"encoder\.model=FOLDER") as caught:
        model.load()
    assert "visuallens models pull clip --revision refs/pr/1" in str(caught.value)


def test_weights_of_another_architecture_are_refused(folders: Path) -> None:
    with pytest.raises(BackboneError, match="of type 'siglip', not 'clip'"):
        opened("clip", folders / "siglip2").load()


@pytest.mark.parametrize(
    "file", ["model.safetensors", "tokenizer.json", "preprocessor_config.json"]
)
def test_an_incomplete_folder_is_named(file: str, tmp_path: Path) -> None:
    tiny_encoders.write_siglip2(tmp_path / "model")
    (tmp_path / "model" / file).unlink()
    with pytest.raises(WeightsMissingError, match="incomplete"):
        opened("siglip2", tmp_path / "model").load()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_that_ends_early_is_named(file: str, tmp_path: Path) -> None:
    tiny_encoders.write_clip(tmp_path / "model")
    path = tmp_path / "model" / file
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsMissingError, match="models pull clip"):
        opened("clip", tmp_path / "model").load()


def test_absent_tensors_are_not_left_random(tmp_path: Path) -> None:
    tiny_encoders.write_clip(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text())
    config["vision_config"]["num_hidden_layers"] = 3
    file.write_text(json.dumps(config))
    with pytest.raises(WeightsMissingError, match=r"layers\.2"):
        opened("clip", tmp_path / "model").load()
