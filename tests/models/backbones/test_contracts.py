"""Every registered backbone with weights keeps the contract, on tiny random weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visuallens import registry
from visuallens.config import BackboneSettings
from visuallens.errors import AdapterError, BackboneError, PromptTooLongError
from visuallens.models.backbones.adapters import (
    Lora,
    add_adapter,
    attach_adapter,
    merge_adapter,
    save_adapter,
)
from visuallens.models.backbones.family import answer_gap
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage
from visuallens.models.label_space import MOST_LABELS, LabelKind, LabelSpace

FAMILIES = [
    name
    for name in registry.names("backbones")
    if name not in ("server", "minicpm-v-2.5", "unimp")  # unimp is trained on top of another
]
PROMPTS = [
    "What is the museum the user most likely to go to next?\nA: Vulcan Park\nB: Zoo\nAnswer:",
    "Short.\nAnswer:",
    "Aspect words:\nindustrial, metal\n\nCandidates:\nA: Sloss Furnaces, iron\nB: Park\nAnswer:",
]


def grid(seed: int, side_px: int = 64) -> PromptImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    return PromptImage(Image.fromarray(pixels), grid_side=2)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / str(request.param)
    module = str(request.param).replace("-", "_").replace(".", "_")
    import_module(f"tests.models.backbones.tiny_{module}").write(path)
    return path


def opened(folder: Path, **settings: object) -> LocalBackbone:
    chosen = BackboneSettings.model_validate(
        {"name": folder.name, "model": str(folder), "device": "cpu", **settings}
    )
    backbone: LocalBackbone = registry.load("backbones", folder.name)(chosen)
    return backbone


@pytest.fixture
def backbone(folder: Path) -> LocalBackbone:
    return opened(folder)


def images_for(backbone: LocalBackbone, count: int) -> list[PromptImage | None]:
    return [grid(seed) if backbone.sees else None for seed in range(count)]


def reference(
    backbone: LocalBackbone, image: PromptImage | None, prompt: str, labels: LabelSpace
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """One forward pass over the whole prompt, written out, with all logits kept."""
    inputs = backbone.family.encode(backbone.parts, [image], [prompt])
    with torch.no_grad():
        logits = backbone.parts.model(**inputs).logits[0, -1].double()
    logs = logits - torch.logsumexp(logits, dim=0)
    return np.array([float(logs[token]) for token in labels.token_ids], np.float32)


def test_it_says_what_it_is(backbone: LocalBackbone, folder: Path) -> None:
    assert backbone.name == folder.name
    assert backbone.id.startswith(f"{folder.name}@local-")
    assert backbone.scores == "logits"
    assert not backbone.is_matcher
    assert backbone.max_tokens >= 2048


def test_scores_equal_a_reference_forward(backbone: LocalBackbone) -> None:
    labels = backbone.label_space()
    images = images_for(backbone, len(PROMPTS))
    scores = backbone.score_labels(images, PROMPTS, labels)
    assert scores.dtype == np.float32
    assert scores.shape == (len(PROMPTS), len(labels))
    assert (scores <= 0).all()
    expected = [reference(backbone, i, p, labels) for i, p in zip(images, PROMPTS, strict=True)]
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert np.ptp(scores[0]) > 0


def test_one_equals_many_and_padding_does_no_harm(backbone: LocalBackbone) -> None:
    labels = backbone.label_space()
    images = images_for(backbone, len(PROMPTS))
    together = backbone.score_labels(images, PROMPTS, labels)
    for image, prompt, row in zip(images, PROMPTS, together, strict=True):
        alone = backbone.score_labels([image], [prompt], labels)[0]
        np.testing.assert_allclose(alone, row, atol=1e-4)


def test_a_kept_prefix_changes_nothing(backbone: LocalBackbone) -> None:
    labels = backbone.label_space()
    (image,) = images_for(backbone, 1)
    base = "Aspect words:\nmetal, park\n\nCandidates:\n"
    prompts = [base + "A: Zoo\nB: Park\nAnswer:", base + "A: Sloss\nB: Zoo\nAnswer:"]
    kept = [backbone.score_labels([image], [prompt], labels)[0] for prompt in prompts]
    for prompt, row in zip(prompts, kept, strict=True):
        np.testing.assert_allclose(row, reference(backbone, image, prompt, labels), atol=1e-4)
    if backbone.sees:  # another picture behind the same words is another profile
        other = backbone.score_labels([grid(9)], prompts[:1], labels)[0]
        expected = reference(backbone, grid(9), prompts[0], labels)
        np.testing.assert_allclose(other, expected, atol=1e-4)
        assert np.abs(other - kept[0]).max() > 1e-6


def test_the_image_is_read(backbone: LocalBackbone) -> None:
    if not backbone.sees:
        pytest.skip("it reads text only")
    labels = backbone.label_space()
    scores = backbone.score_labels([grid(1), grid(2), None], [PROMPTS[0]] * 3, labels)
    assert np.abs(scores[0] - scores[1]).max() > 1e-6
    assert np.abs(scores[0] - scores[2]).max() > 1e-6


def test_it_generates_the_same_alone_and_together(backbone: LocalBackbone) -> None:
    images = images_for(backbone, len(PROMPTS))
    answers = backbone.generate(images, PROMPTS, max_new_tokens=5)
    assert len(answers) == len(PROMPTS)
    assert len(set(answers)) > 1  # else nothing below could fail
    assert not any(prompt in answer for prompt, answer in zip(PROMPTS, answers, strict=True))
    alone = [
        backbone.generate([image], [prompt], max_new_tokens=5)[0]
        for image, prompt in zip(images, PROMPTS, strict=True)
    ]
    assert answers == alone


def test_tokens_are_counted(backbone: LocalBackbone) -> None:
    texts = ["", "a park", "a park " * 50]
    grids = [PromptImage(Image.new("RGB", (896, 896)), side) for side in (8, 4)]
    for image in (None, *grids):
        counts = backbone.count_tokens(texts, image=image)
        shown = image if backbone.sees else None
        for text, count in zip(texts, counts, strict=True):
            inputs = backbone.family.encode(backbone.parts, [shown], [text])
            assert abs(count - inputs["input_ids"].shape[1]) <= 2


def test_a_prompt_that_is_too_long_is_refused(backbone: LocalBackbone) -> None:
    with pytest.raises(PromptTooLongError, match="tokens, at most"):
        backbone.score_labels([None], ["a park " * 40_000], backbone.label_space())


def test_labels_of_another_tokenizer_are_refused(backbone: LocalBackbone) -> None:
    labels = backbone.label_space()
    foreign = LabelSpace(labels.kind, labels.labels, labels.token_ids, "0" * 64)
    with pytest.raises(BackboneError, match="another tokenizer"):
        backbone.score_labels([None], ["Answer:"], foreign)


def test_letters_are_what_the_model_would_write(backbone: LocalBackbone) -> None:
    labels = backbone.label_space("letters")
    assert labels.labels[:3] == ("A", "B", "C")
    assert len(set(labels.token_ids)) == len(labels) <= 52
    # "A" or " A", by how the template itself writes an answer; the same for all letters.
    gap = answer_gap(backbone.parts.tokenizer, backbone.family.answer_start(backbone.parts))
    decoded = [backbone.parts.tokenizer.decode([token]) for token in labels.token_ids]
    assert decoded == [f"{gap}{label}" for label in labels.labels]


def kinds(backbone: LocalBackbone) -> Sequence[LabelKind]:
    try:
        backbone.label_space("reserved")
    except BackboneError:
        return ("new", "letters")
    return ("new", "reserved", "letters")


def test_an_adapter_is_trained_saved_loaded_and_merged(folder: Path, tmp_path: Path) -> None:
    for kind in kinds(opened(folder)):
        backbone = opened(folder)
        plain = backbone.parts.model
        heads = 2 - (plain.get_input_embeddings().weight is plain.get_output_embeddings().weight)
        with torch.no_grad():
            labels = add_adapter(backbone, Lora(rank=4, alpha=4, dropout=0.0), kind)
        images, before = images_for(backbone, 2), None
        if kind != "letters":
            assert len(labels) == MOST_LABELS
            assert len(set(labels.token_ids)) == MOST_LABELS
        before = backbone.score_labels(images, PROMPTS[:2], labels)
        step(backbone, images, labels, heads)
        after = backbone.score_labels(images, PROMPTS[:2], labels)
        assert (after[:, 1] > before[:, 1]).all()

        saved = tmp_path / kind
        save_adapter(backbone, saved, {"seed": 0})
        loaded = opened(folder, adapter=saved)
        assert loaded.is_matcher
        assert loaded.label_space() == labels
        again = loaded.score_labels(images, PROMPTS[:2], loaded.label_space())
        np.testing.assert_allclose(again, after, atol=1e-4)

        merge_adapter(loaded, tmp_path / f"{kind}-merged")
        merged = loaded.score_labels(images, PROMPTS[:2], labels)
        np.testing.assert_allclose(merged, after, atol=1e-4)
        alone = opened(folder, model=str(tmp_path / f"{kind}-merged"))
        assert alone.label_space() == labels
        np.testing.assert_allclose(
            alone.score_labels(images, PROMPTS[:2], labels), after, atol=1e-4
        )


def step(
    backbone: LocalBackbone,
    images: Sequence[PromptImage | None],
    labels: LabelSpace,
    heads: int = 0,
) -> None:
    """Train the second label as the answer of two prompts, for a few steps."""
    model = backbone.parts.model.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    total = sum(weight.numel() for weight in model.parameters())
    assert 0 < sum(weight.numel() for weight in weights) < total
    optimizer = torch.optim.AdamW(weights, lr=0.02)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    inputs = backbone.encode(images, PROMPTS[:2])
    for _ in range(3):
        logits = model(**backbone.training_inputs(inputs)).logits[:, -1]
        loss = -logits.log_softmax(-1)[:, labels.token_ids[1]].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    changed = {name for name, weight in model.named_parameters() if not weight.equal(before[name])}
    wanted = (*backbone.family.trained_with_lora, "lora_B")
    assert all(any(part in name for name in changed) for part in wanted)
    rows = {name for name in before if "trainable_tokens_delta" in name}
    assert rows <= changed
    assert len(rows) == (0 if labels.kind == "letters" else heads)


def test_an_adapter_holds_rows_not_vocabularies(folder: Path, tmp_path: Path) -> None:
    backbone = opened(folder)
    add_adapter(backbone, Lora(rank=2, alpha=2), "new")
    save_adapter(backbone, tmp_path, {})
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "adapter_model.safetensors")
    vocabulary = len(backbone.parts.tokenizer)
    assert all(vocabulary not in tensor.shape for tensor in tensors.values())
    assert any(MOST_LABELS in tensor.shape for tensor in tensors.values())


def test_training_goes_on_where_an_adapter_ended(folder: Path, tmp_path: Path) -> None:
    backbone = opened(folder)
    labels = add_adapter(backbone, Lora(rank=2, alpha=2, dropout=0.5), "letters", "paper")
    images = images_for(backbone, 2)
    first = backbone.score_labels(images, PROMPTS[:2], labels)
    again = backbone.score_labels(images, PROMPTS[:2], labels)
    np.testing.assert_allclose(again, first, atol=1e-5)  # no dropout
    save_adapter(backbone, tmp_path, {})
    with pytest.raises(AdapterError, match="an adapter already"):
        add_adapter(backbone, Lora(rank=2, alpha=2), "letters")
    with pytest.raises(AdapterError, match="an adapter already"):
        attach_adapter(backbone, tmp_path)
    later = opened(folder)
    plain = later.id
    attach_adapter(later, tmp_path, trainable=True)
    assert (later.style, later.id.startswith(f"{plain}+")) == ("paper", True)
    step(later, images, later.label_space())
    assert np.abs(later.score_labels(images, PROMPTS[:2], labels) - first).max() > 1e-3


def test_a_damaged_adapter_is_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    backbone = opened(folder)
    add_adapter(backbone, Lora(rank=2, alpha=2), "letters")
    save_adapter(backbone, tmp_path, {})
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(dict(list(tensors.items())[2:]), file)
    with pytest.raises(AdapterError, match="not those of this model"):
        opened(folder, adapter=tmp_path)
    file.write_bytes(b"\x00" * 100)
    with pytest.raises(AdapterError):
        opened(folder, adapter=tmp_path)
    torch.save(tensors, tmp_path / "adapter_model.bin")
    file.unlink()
    with pytest.raises(AdapterError, match="is missing"):
        opened(folder, adapter=tmp_path)


def test_a_kept_prefix_is_used_with_an_image(
    backbone: LocalBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (backbone.sees and backbone.family.keeps_prefix):
        pytest.skip("it keeps no prefix behind an image")
    read: list[int] = []
    forward = backbone.parts.model.forward

    def counted(*given: object, **inputs: object) -> object:
        ids = inputs["input_ids"]
        read.append(ids.shape[1])  # type: ignore[attr-defined]  # a tensor
        return forward(*given, **inputs)

    monkeypatch.setattr(backbone.parts.model, "forward", counted)
    (image,) = images_for(backbone, 1)
    base = "Aspect words:\nmetal, park\n\nCandidates:\n"
    for end in ("A: Zoo\nAnswer:", "A: Inn\nAnswer:"):
        backbone.score_labels([image], [base + end], backbone.label_space())
    assert read[1] < read[0] / 2


def test_prompts_with_and_without_an_image_are_encoded_apart(backbone: LocalBackbone) -> None:
    with pytest.raises(BackboneError, match="apart"):
        backbone.encode([grid(1), None], PROMPTS[:2])


def test_an_adapter_of_another_base_is_refused(folder: Path, tmp_path: Path) -> None:
    backbone = opened(folder)
    add_adapter(backbone, Lora(rank=2, alpha=2), "letters")
    save_adapter(backbone, tmp_path, {})
    record = (tmp_path / "visuallens.json").read_text()
    for wrong, found in (
        (record.replace(backbone.parts.source.id, "another/model@1"), "base model"),
        (record.replace('"prompts": "', '"prompts": "x'), "prompt version"),
        (record.replace('"tokenizer": "', '"tokenizer": "x'), "tokenizer"),
        (record.replace('"version": 1', '"version": 99'), "version 99"),
        ("{", "unreadable"),
    ):
        (tmp_path / "visuallens.json").write_text(wrong)
        with pytest.raises(AdapterError, match=found):
            opened(folder, adapter=tmp_path)
