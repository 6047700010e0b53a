from __future__ import annotations

import numpy as np

from visuallens.models.embedded import EmbeddedModel
from visuallens.models.minilm import MiniLM


def test_openvino_and_torch_agree(model: EmbeddedModel) -> None:
    texts = ["a museum with paintings", "pizza", ""]
    torch_rows = MiniLM("torch").encode_texts(texts)
    np.testing.assert_allclose(model.sentences.encode_texts(texts), torch_rows, atol=1e-5)


def test_meaning_decides(model: EmbeddedModel) -> None:
    cat, kitten, tax = model.sentences.encode_texts(["a cat", "a kitten", "income tax law"])
    assert cat @ kitten > cat @ tax + 0.2


def test_order_and_repetition_are_kept(model: EmbeddedModel) -> None:
    rows = model.sentences.encode_texts(["long text about gardens", "cat", "cat"])
    np.testing.assert_array_equal(rows[1], rows[2])
    alone = model.sentences.encode_texts(["long text about gardens"])[0]
    np.testing.assert_allclose(rows[0], alone, atol=1e-5)


def test_no_texts_give_no_rows(model: EmbeddedModel) -> None:
    assert model.sentences.encode_texts([]).shape == (0, 384)


def test_a_very_long_text_is_cut(model: EmbeddedModel) -> None:
    assert np.isfinite(model.sentences.encode_texts(["museum " * 5000])).all()
