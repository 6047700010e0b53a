from __future__ import annotations

from pathlib import Path

import pytest
from tests.models.backbones import tiny_causal
from tests.models.backbones.tiny import byte_tokenizer

from visuallens import registry
from visuallens.config import BackboneSettings
from visuallens.errors import PromptTooLongError
from visuallens.models.backbones.family import answer_gap, render_chat
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.local import _shared as shared


@pytest.fixture
def backbone(tmp_path: Path) -> LocalBackbone:
    tiny_causal.write(tmp_path / "tiny")
    settings = BackboneSettings(name="causal", model=str(tmp_path / "tiny"))
    opened: LocalBackbone = registry.load("backbones", "causal")(settings)
    return opened


def test_tokens_in_common_by_hand() -> None:
    assert shared([1, 2, 3, 4], [1, 2, 5, 6]) == 2
    assert shared([1, 2], [1, 2, 3]) == 2
    assert shared([1, 2, 3], [1, 2, 3]) == 2  # the last one is read again, it gives the answer
    assert shared([1, 2, 3], [1]) == 0
    assert shared([], [1, 2]) == 0


def test_a_second_question_reads_only_what_is_new(
    backbone: LocalBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    forward = backbone.parts.model.forward

    def counted(**inputs: object) -> object:
        ids = inputs["input_ids"]
        read.append(ids.shape[1])  # type: ignore[attr-defined]  # a tensor
        return forward(**inputs)

    monkeypatch.setattr(backbone.parts.model, "forward", counted)
    labels = backbone.label_space()
    profile = "Captions:\n" + "Image 1: A park. " * 20 + "\n\nCandidates:\n"
    for candidates in ("A: Zoo\nB: Inn", "A: Tate\nB: Bar"):
        backbone.score_labels([None], [f"{profile}{candidates}\n\nAnswer:"], labels)
    assert read[1] < read[0] / 3
    backbone.forget_prefix()
    backbone.score_labels([None], [f"{profile}A: Zoo\n\nAnswer:"], labels)
    assert read[2] > read[0] / 2


def test_keeping_can_be_switched_off(
    backbone: LocalBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        backbone, "settings", backbone.settings.model_copy(update={"keep_prefix": False})
    )
    backbone.score_labels([None], ["Answer:"], backbone.label_space())
    assert backbone._kept is None


def test_no_prompts_give_no_rows(backbone: LocalBackbone) -> None:
    labels = backbone.label_space()
    assert backbone.score_labels([], [], labels).shape == (0, len(labels))
    assert backbone.generate([], []) == []


def test_changed_weights_are_noticed(backbone: LocalBackbone) -> None:
    import torch

    labels = backbone.label_space()
    prompt = "Captions:\nImage 1: A park.\n\nAnswer:"
    before = backbone.score_labels([None], [prompt], labels)
    with torch.no_grad():
        backbone.parts.model.model.layers[0].mlp.down_proj.weight.mul_(3)
    changed = backbone.score_labels([None], [prompt], labels)
    backbone.forget_prefix()
    anew = backbone.score_labels([None], [prompt], labels)
    assert abs(before - changed).max() > 1e-4
    assert abs(anew - changed).max() < 1e-5


def test_a_prompt_is_no_longer_than_the_model_has_places(backbone: LocalBackbone) -> None:
    assert backbone.max_tokens == 4096  # the tiny model's, below the 16,384 of its family
    fits = "a" * 3950
    backbone.score_labels([None], [fits], backbone.label_space())
    with pytest.raises(PromptTooLongError):
        backbone.generate([None], [fits], max_new_tokens=200)


def test_a_template_shows_how_an_answer_begins() -> None:
    spaced = byte_tokenizer(
        [],
        chat_template="{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
    )
    assert answer_gap(spaced, render_chat(spaced, "Answer:")) == " "
    plain = byte_tokenizer([], chat_template=tiny_causal.TEMPLATE, bos_token="<s>")  # noqa: S106
    assert answer_gap(plain, render_chat(plain, "Answer:")) == ""
    bare = byte_tokenizer([])
    assert (answer_gap(bare, "Answer:"), answer_gap(bare, "Answer:\n")) == (" ", "")
