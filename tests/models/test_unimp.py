"""UniMP on tiny language models: a causal one with loose ends, nano with tied ones, a GPT-NeoX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.tiny_unimp import (
    PROMPTS,
    SHAPE,
    built,
    open_gates,
    opened,
    photos,
    scored,
    write_languages,
)

from visuallens.config import BackboneSettings
from visuallens.errors import AdapterError, BackboneError
from visuallens.models.backbones.adapters import Lora, add_label_tokens
from visuallens.models.base import Backbone, PromptImage
from visuallens.models.label_space import LabelKind
from visuallens.models.unimp import build_unimp
from visuallens.models.unimp_folder import (
    unimp,
)
from visuallens.training.hardware import recompute_activations


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_languages(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def folder(folders: dict[str, Path]) -> Path:
    return folders["causal"]


@pytest.mark.parametrize("name", ["causal", "nano", "neox"])
@pytest.mark.parametrize("labels", ["new", "letters"])
def test_with_shut_gates_it_is_the_language_model_alone(
    folders: dict[str, Path], name: str, labels: LabelKind
) -> None:
    alone = opened(folders[name])
    if labels == "new":
        add_label_tokens(alone.parts)
    space = alone.label_space(labels)
    expected = alone.score_labels([None, None], PROMPTS, space)
    model = built(folders[name], labels=labels)
    assert model.label_space() == space
    np.testing.assert_allclose(scored(model, photos(3)), expected, atol=1e-5)
    # What it was put into answers as before when it is asked without photos.
    again = model.language.score_labels([None, None], PROMPTS, space)
    np.testing.assert_allclose(again, expected, atol=1e-5)


def test_with_open_gates_photos_decide(folder: Path) -> None:
    model = open_gates(built(folder))
    difference = scored(model, photos(3, seed=1)) - scored(model, photos(3, seed=2))
    assert np.abs(difference).max() > 1e-3


def test_the_order_of_photos_says_nothing(folder: Path) -> None:
    model = open_gates(built(folder))
    shown = photos(5)
    turned = np.ascontiguousarray(shown[::-1])
    np.testing.assert_allclose(scored(model, shown), scored(model, turned), atol=1e-5)


def test_padding_is_ignored(folder: Path) -> None:
    model = open_gates(built(folder))
    histories = [photos(1, seed=1), photos(4, seed=2), photos(0)]
    prompt = PROMPTS[0]
    with torch.no_grad():
        together = model.logits([prompt] * 3, histories)
        alone = [model.logits([prompt], [one])[0] for one in histories]
    for row, one in zip(together, alone, strict=True):
        torch.testing.assert_close(row, one, atol=1e-5, rtol=1e-5)


def test_nothing_is_seen_in_an_empty_history(folder: Path) -> None:
    without = scored(built(folder), photos(0))
    model = open_gates(built(folder), attention=2.0, feed=0.0)
    np.testing.assert_allclose(scored(model, photos(0)), without, atol=1e-5)
    assert np.abs(scored(model, photos(2)) - without).max() > 1e-3


@pytest.mark.parametrize("name", ["causal", "nano"])
@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=2, dropout=0)])
def test_gradients_reach_what_is_trained_and_nothing_else(
    folders: dict[str, Path], name: str, lora: Lora | None
) -> None:
    model = open_gates(built(folders[name], replace(SHAPE, lora=lora)))
    before = {name: weight.clone() for name, weight in model.network.named_parameters()}
    logits = model.logits(["<I1> Park\n<I2> Zoo\nAnswer:"] * 2, [photos(2), photos(3)])
    ids = model.label_space().token_ids
    (logits.log_softmax(-1)[:, ids[0]]).sum().backward()
    reached = {
        key
        for key, weight in model.network.named_parameters()
        if weight.grad is not None and bool(weight.grad.abs().max() > 0)
    }
    trained = {key for key, weight in model.network.named_parameters() if weight.requires_grad}
    assert reached <= trained
    # LoRA's first factor waits for its second, which begins at zero.
    assert trained - reached == {key for key in trained if "lora_A" in key}
    language = {key for key in trained if key.startswith("language.")}
    assert all("lora_" in key for key in language)
    assert bool(language) == (lora is not None)
    parts = {key.split(".")[0] for key in reached}
    assert parts >= {"labels", "projector", "blocks"}
    torch.optim.SGD([w for w in model.network.parameters() if w.requires_grad], lr=0.1).step()
    moved = {
        key
        for key, weight in model.network.named_parameters()
        if not torch.equal(weight, before[key])
    }
    assert moved == reached


def test_with_shut_gates_only_the_gates_and_labels_move(folder: Path) -> None:
    model = built(folder)
    model.logits(PROMPTS, [photos(2), photos(3)]).sum().backward()
    reached = {
        name
        for name, weight in model.network.named_parameters()
        if weight.grad is not None and bool(weight.grad.abs().max() > 0)
    }
    assert {name for name in reached if name.startswith("blocks")} == {
        f"blocks.{number}.{gate}" for number in (0, 1) for gate in ("gate", "feed_gate")
    }


def test_photos_alone_teach_which_label_to_name(folders: dict[str, Path]) -> None:
    # The words are the same for both, so only the photos can tell the two apart.
    model = built(folders["nano"])
    prompts = ["<I1> Park\n<I2> Zoo\nAnswer:"] * 2
    histories = [photos(3, seed=1), photos(5, seed=2)]
    wanted = torch.tensor(model.label_space().token_ids[:2])
    trained = [weight for weight in model.network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=3e-2)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model.logits(prompts, histories), wanted)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert float(loss.detach()) < 0.1
    with torch.no_grad():
        assert model.logits(prompts, histories).argmax(dim=-1).tolist() == wanted.tolist()


def test_tied_ends_share_their_label_rows(folders: dict[str, Path]) -> None:
    rows = {
        name: [key for key, _ in built(folders[name]).network.named_parameters() if "labels" in key]
        for name in ("nano", "causal")
    }
    assert rows == {"nano": ["labels.read"], "causal": ["labels.read", "labels.written"]}


def test_a_written_row_moves_its_own_label_alone(folder: Path) -> None:
    model = built(folder)
    space = model.label_space()
    with torch.no_grad():
        before = model.logits(PROMPTS, [photos(1)] * 2)
        assert model.network.labels is not None
        model.network.labels.written[4] += 1
        after = model.logits(PROMPTS, [photos(1)] * 2)
    changed = (before - after).abs().amax(dim=0).nonzero().flatten().tolist()
    assert changed == [space.token_ids[4]]


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is:FutureWarning")
def test_computing_activations_twice_gives_the_same_gradients(folder: Path) -> None:
    found = []
    for twice in (False, True):
        model = open_gates(built(folder))
        if twice:
            recompute_activations(model.network)
        model.network.train()
        model.logits(PROMPTS, [photos(2), photos(3)])[:, 5].sum().backward()
        weights = model.network.named_parameters()
        found.append({name: one.grad for name, one in weights if one.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-5, rtol=1e-4)


def test_cross_attention_stands_before_every_so_many_th_layer(folders: dict[str, Path]) -> None:
    counts = [
        len(built(folders["neox"], replace(SHAPE, every=every)).network.blocks)
        for every in (1, 2, 3, 4)
    ]
    assert counts == [4, 2, 1, 1]
    with pytest.raises(BackboneError, match=r"Lower training\.unimp\.every"):
        built(folders["neox"], replace(SHAPE, every=5))


def test_lora_that_cannot_adapt_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(AdapterError, match="Leave LoRA off"):
        built(folders["neox"], replace(SHAPE, lora=Lora(rank=2)))


def test_it_says_what_it_cannot_do(folder: Path, folders: dict[str, Path]) -> None:
    model = built(folder)
    as_backbone: Backbone = model.showing(photos(1))
    assert not as_backbone.sees
    with pytest.raises(BackboneError, match="Choose --ranker unimp"):
        model.score_labels([None], ["Answer:"], model.label_space())
    with pytest.raises(BackboneError, match="only matches candidates"):
        as_backbone.generate([None], ["Hello"])
    with pytest.raises(BackboneError, match="embeddings of 12 numbers, these have 7"):
        model.showing(np.zeros((2, 7), np.float32))
    other = built(folders["neox"]).label_space()
    with pytest.raises(BackboneError, match="belong to another tokenizer"):
        as_backbone.score_labels([None], ["Answer:"], other)
    with pytest.raises(BackboneError, match="it has to be trained first"):
        unimp(BackboneSettings(name="unimp"))
    image = PromptImage(Image.new("RGB", (28, 28)))
    assert as_backbone.count_tokens(["one two"], image=image) == model.language.count_tokens(
        ["one two"], image=None
    )
    assert as_backbone.score_labels([], [], model.label_space()).shape == (0, 100)


def test_numbers_that_overflow_are_refused(folder: Path) -> None:
    model = built(folder)
    with torch.no_grad():
        for weight in model.network.projector.parameters():
            weight.fill_(torch.nan)
    with pytest.raises(BackboneError, match="its numbers overflow"):
        scored(open_gates(model), photos(2))


def test_a_language_model_in_bfloat16_is_trained_in_float32(folder: Path) -> None:
    language = opened(folder, dtype="bfloat16")
    model = build_unimp(language, SHAPE, "new", "fenced", encoder="eyes@1", seed=3)
    trained = [weight for weight in model.network.parameters() if weight.requires_grad]
    assert {weight.dtype for weight in trained} == {torch.float32}
    model.logits(PROMPTS, [photos(2), photos(0)]).float().sum().backward()
    assert model.network.labels is not None
    assert model.network.labels.written.grad is not None
    expected = scored(open_gates(built(folder)), photos(2))
    np.testing.assert_allclose(scored(open_gates(model), photos(2)), expected, atol=0.1)


def test_the_same_seed_gives_the_same_weights(folder: Path) -> None:
    one, language = built(folder), opened(folder)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    two = build_unimp(language, SHAPE, "new", "fenced", encoder="eyes@1", seed=3)
    assert torch.equal(state, torch.get_rng_state())
    for (name, weight), other in zip(
        one.network.named_parameters(), two.network.parameters(), strict=True
    ):
        assert torch.equal(weight, other), name
