from __future__ import annotations

from pathlib import Path

import pytest
from tests.models.backbones import tiny_causal

from visuallens import registry
from visuallens.config import BackboneSettings
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
        read.append(ids.shape[1])  # type: ignore[attr-defined]
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
