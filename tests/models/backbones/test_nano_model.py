"""The projector of nano: soft words worked by hand, and what is left to learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visuallens.models.backbones.nano_model import (
    NanoConfig,
    NanoForConditionalGeneration,
    initialise,
)

LN3 = float(np.log(3.0))


@pytest.fixture
def model() -> NanoForConditionalGeneration:
    """Two features, two classes, embeddings of two numbers; all word embeddings have length 5."""
    config = NanoConfig(
        vocab_size=6,
        hidden_size=2,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        feature_dim=2,
        classes=2,
        image_token_id=5,
    )
    made = NanoForConditionalGeneration(config)
    with torch.no_grad():
        made.model.embed_tokens.weight.copy_(torch.tensor([[3.0, 4.0]] * 6))
    names = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
    initialise(made, torch.eye(2), torch.tensor([0.0, LN3]), names)
    return made


def test_a_piece_is_the_mean_of_its_class_names(model: NanoForConditionalGeneration) -> None:
    # The names become (5, 0) and (0, 5), as long as words. Of the features (ln 3, 0) the logits are
    # (ln 3, 0 + ln 3), the probabilities 1/2 and 1/2, so the piece is (2.5, 2.5). Of (0, 0) they
    # are (0, ln 3), so 1/4 and 3/4: (1.25, 3.75).
    with torch.no_grad():
        pieces = model.projector(torch.tensor([[LN3, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(pieces, [[2.5, 2.5], [1.25, 3.75]], rtol=1e-5)


def test_what_the_names_miss_can_be_learned(model: NanoForConditionalGeneration) -> None:
    """The second path begins at zero and still has a gradient, and so do names and classes."""
    projector = model.projector
    features = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    projector(features).square().sum().backward()
    for weight in (projector.project.weight, projector.name.weight, projector.classify.weight):
        assert weight.grad is not None
        assert float(weight.grad.abs().max()) > 0
    assert float(projector.project.weight.detach().abs().max()) == 0
    assert float(projector.expand.weight.detach().abs().min()) > 0


def test_each_image_token_takes_the_next_piece(model: NanoForConditionalGeneration) -> None:
    ids = torch.tensor([[5, 0, 5]])
    features = torch.tensor([[LN3, 0.0], [0.0, 0.0]])
    with torch.no_grad():
        shown = model(input_ids=ids, image_features=features).logits
        words = model.get_input_embeddings()(ids)
        words[0, [0, 2]] = model.projector(features)
        expected = model(inputs_embeds=words).logits
    np.testing.assert_allclose(shown, expected, rtol=1e-6)
