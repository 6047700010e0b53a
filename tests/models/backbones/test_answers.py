"""How likely answers are: branches of one row are what answers are one by one, for every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.models.backbones.test_contracts import backbone as backbone  # noqa: PLC0414 - a fixture
from tests.models.backbones.test_contracts import folder as folder  # noqa: PLC0414 - a fixture
from tests.models.backbones.test_contracts import grid

from visuallens.models.backbones.adapters import Lora, add_adapter
from visuallens.models.backbones.answers import (
    UntrainedScores,
    _one_by_one,
    answer_ids,
    log_likelihoods,
    score_answers,
)
from visuallens.models.backbones.local import LocalBackbone
from visuallens.types import FloatArray

PROMPT = "Where does the user go?\n\nAnswer:"
NAMES = ["Tate", "The Museum of Rusted Metal", "Zoo"]


def test_answers_read_together_are_those_read_alone(backbone: LocalBackbone) -> None:
    image = grid(0) if backbone.sees else None
    rows = [answer_ids(backbone, name) for name in NAMES]
    with torch.no_grad():
        others = [rows[0], rows[1][:2]]
        prompts = [f"Much longer than the other one. {PROMPT}", PROMPT]
        first, together = log_likelihoods(backbone, [image] * 2, prompts, [others, rows])
        alone = _one_by_one(backbone, image, PROMPT, rows)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert first.shape[0] == len(others)
    written = [len(row) for row in rows]
    assert (together != 0).sum(dim=1).tolist() == written
    assert float(together.max()) <= 0


def test_an_answer_does_not_depend_on_the_others(backbone: LocalBackbone) -> None:
    image = grid(0) if backbone.sees else None
    scores = backbone.score_answers(image, PROMPT, NAMES)
    back = backbone.score_answers(image, PROMPT, NAMES[::-1])
    np.testing.assert_allclose(scores, back[::-1], atol=1e-4)
    alone = [backbone.score_answers(image, PROMPT, [name])[0] for name in NAMES]
    np.testing.assert_allclose(scores, alone, atol=1e-4)
    assert np.ptp(scores) > 0


def test_gradients_flow_through_branches(backbone: LocalBackbone) -> None:
    rows = [answer_ids(backbone, name) for name in NAMES]
    (logs,) = log_likelihoods(backbone, [None], [PROMPT], [rows])
    logs.sum().backward()
    weights = backbone.parts.model.parameters()
    assert any(one.grad is not None and float(one.grad.abs().sum()) > 0 for one in weights)


def test_what_the_untrained_model_said_is_remembered(
    backbone: LocalBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = backbone.score_answers(None, PROMPT, NAMES)
    add_adapter(backbone, Lora(2, 2, 0.0), "letters")
    with torch.no_grad():
        for name, weight in backbone.parts.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    assert np.abs(backbone.score_answers(None, PROMPT, NAMES) - before).max() > 1e-3
    untrained = backbone.score_answers(None, PROMPT, NAMES, untrained=True)
    np.testing.assert_allclose(untrained, before, atol=1e-4)
    monkeypatch.setattr("visuallens.models.backbones.answers.log_likelihoods", None)
    again = backbone.score_answers(None, PROMPT, [NAMES[1], NAMES[1]], untrained=True)
    np.testing.assert_array_equal(again, untrained[[1, 1]])


def test_what_the_untrained_model_says_does_not_depend_on_what_was_asked_before(
    backbone: LocalBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding depends on what is computed together; in bfloat16 rankings were not repeatable."""
    asked = []

    def score(backbone: LocalBackbone, image: None, prompt: str, answers: list[str]) -> FloatArray:
        asked.append(answers)
        return score_answers(backbone, image, prompt, answers)

    monkeypatch.setattr("visuallens.models.backbones.answers.score_answers", score)
    together = UntrainedScores(backbone)(PROMPT, NAMES)
    later = UntrainedScores(backbone)
    later(PROMPT, NAMES[1:])
    np.testing.assert_array_equal(later(PROMPT, NAMES), together)
    assert asked == [[name] for name in (*NAMES, *NAMES[1:], NAMES[0])]


def test_an_answer_without_tokens_says_nothing(backbone: LocalBackbone) -> None:
    with torch.no_grad():
        rows = [[], answer_ids(backbone, "Zoo")]
        (logs,) = log_likelihoods(backbone, [None], [PROMPT], [rows])
    assert logs[0].tolist() == [0] * logs.shape[1]
    assert float(logs[1].sum()) == pytest.approx(
        backbone.score_answers(None, PROMPT, ["Zoo"])[0], abs=1e-4
    )
