"""Answers behind prompts: the same numbers as when the model writes them, for every family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.models.backbones.test_contracts import backbone as backbone  # noqa: PLC0414 - a fixture
from tests.models.backbones.test_contracts import folder as folder  # noqa: PLC0414 - a fixture
from tests.models.backbones.test_contracts import grid, images_for
from transformers import LogitsProcessor, LogitsProcessorList

from visuallens.errors import BackboneError, PromptTooLongError, TrainingError
from visuallens.models.backbones.answers import answer_ids
from visuallens.models.backbones.local import LocalBackbone
from visuallens.training.answers import (
    NOT_ASKED,
    answer_losses,
    continuation_scores,
    with_answer,
)

PROMPTS = ["What is in Image 1?", "Describe the park and the rusted metal structure.", "Go."]
ANSWERS = ["Image 1: A park, Image 2: metal", "statue", "A large museum."]


class Forced(LogitsProcessor):
    """Makes a model write given tokens, and notes how likely it found them."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self._rows, self._at = rows, 0
        self.logs: list[list[float]] = [[] for _ in rows]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - transformers' signature
        forced = torch.full_like(scores, -torch.inf)
        for number, row in enumerate(self._rows):
            token = row[min(self._at, len(row) - 1)]
            forced[number, token] = 0
            if self._at < len(row):
                logs = scores[number].double().log_softmax(-1)
                self.logs[number].append(float(logs[token]))
        self._at += 1
        return forced


def written_token_by_token(
    backbone: LocalBackbone, rows: Sequence[Sequence[int]], prompts: Sequence[str]
) -> list[list[float]]:
    """Let the model generate the rows, one token after the other."""
    forced = Forced(rows)
    inputs = backbone.encode(images_for(backbone, len(prompts)), prompts)
    with torch.no_grad():
        backbone.parts.model.generate(
            **inputs,
            max_new_tokens=max(map(len, rows)),
            do_sample=False,
            repetition_penalty=1.0,
            pad_token_id=0,
            logits_processor=LogitsProcessorList([forced]),
        )
    return forced.logs


def test_the_loss_is_that_of_writing_the_answer_token_by_token(backbone: LocalBackbone) -> None:
    images = images_for(backbone, len(PROMPTS))
    inputs, targets = with_answer(backbone, images, PROMPTS, ANSWERS)
    with torch.no_grad():
        losses = answer_losses(backbone, inputs, targets)
    rows = [row[row != NOT_ASKED].tolist() for row in targets]
    logs = written_token_by_token(backbone, rows, PROMPTS)
    np.testing.assert_allclose(losses, [-np.mean(row) for row in logs], rtol=1e-4, atol=1e-4)
    assert np.ptp(losses.numpy()) > 0


def test_an_answer_is_what_the_model_would_write_and_an_end(backbone: LocalBackbone) -> None:
    images = images_for(backbone, len(PROMPTS))
    inputs, targets = with_answer(backbone, images, PROMPTS, ANSWERS)
    asked = targets != NOT_ASKED
    assert (inputs["input_ids"][asked] == targets[asked]).all()
    assert inputs["attention_mask"][asked].all()
    tokenizer = backbone.parts.tokenizer
    for row, answer in zip(targets, ANSWERS, strict=True):
        *body, end = row[row != NOT_ASKED].tolist()
        assert tokenizer.decode(body).strip() == answer
        assert tokenizer.convert_ids_to_tokens(end) in tokenizer.all_special_tokens
        assert body == answer_ids(backbone, answer)


def test_an_example_has_the_same_loss_alone_and_in_a_batch(backbone: LocalBackbone) -> None:
    images = images_for(backbone, len(PROMPTS))
    with torch.no_grad():
        together = answer_losses(backbone, *with_answer(backbone, images, PROMPTS, ANSWERS))
        for row in zip(images, PROMPTS, ANSWERS, together, strict=True):
            image, prompt, answer, expected = row
            alone = answer_losses(backbone, *with_answer(backbone, [image], [prompt], [answer]))
            np.testing.assert_allclose(alone, [expected], rtol=1e-4, atol=1e-4)


def test_a_loss_reaches_the_weights_in_training(backbone: LocalBackbone) -> None:
    backbone.parts.model.train()
    inputs, targets = with_answer(backbone, images_for(backbone, 3), PROMPTS, ANSWERS)
    answer_losses(backbone, inputs, targets).sum().backward()
    gradients = [
        weight.grad for weight in backbone.parts.model.parameters() if weight.grad is not None
    ]
    assert any(float(gradient.abs().sum()) > 0 for gradient in gradients)


def test_continuations_are_scored_as_they_are_written(backbone: LocalBackbone) -> None:
    image = grid(0) if backbone.sees else None
    pairs = [("Image 2:", " A park"), ("Image 1:", " metal structure and a statue"), ("", "Zoo")]
    scores = continuation_scores(backbone, image, PROMPTS[0], pairs)
    rows = [answer_ids(backbone, before + text) for before, text in pairs]
    begun = [len(answer_ids(backbone, before)) if before else 0 for before, _ in pairs]
    for row, start, score in zip(rows, begun, scores, strict=True):
        (logs,) = written_token_by_token(backbone, [row], [PROMPTS[0]])
        np.testing.assert_allclose(score, np.mean(logs[start:]), rtol=1e-3, atol=1e-4)


def test_an_answer_that_does_not_fit_is_refused(backbone: LocalBackbone) -> None:
    with pytest.raises(PromptTooLongError, match="at most"):
        with_answer(backbone, images_for(backbone, 1), ["Go."], ["a park " * 40_000])


def test_an_image_token_in_an_answer_is_refused(backbone: LocalBackbone) -> None:
    token = backbone.parts.image_token_id
    if token is None:
        pytest.skip("it reads text only")
    text = backbone.parts.tokenizer.convert_ids_to_tokens(token)
    with pytest.raises(BackboneError, match="stands for an image"):
        with_answer(backbone, images_for(backbone, 1), ["Go."], [f"a {text} park"])


def test_an_empty_continuation_is_refused(backbone: LocalBackbone) -> None:
    with pytest.raises(TrainingError, match="empty"):
        continuation_scores(backbone, None, "Go.", [("Image 1:", "")])
