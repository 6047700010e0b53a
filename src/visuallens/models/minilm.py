"""all-MiniLM-L6-v2 sentence encoder, read from weights that come inside a Python package.

Source: Wang et al. 2020 (MiniLM); Reimers and Gurevych 2019 (mean pooling over tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from visuallens.models.runtime import Array, Network, Runtime, load_network
from visuallens.models.weights import minilm_folder
from visuallens.types import FloatArray

if TYPE_CHECKING:
    from torch import nn

MINILM_ID = "all-MiniLM-L6-v2@gt-0.1.0"
DIM = 384

# In the file, but neither the pooling layer nor the position numbers are parameters of ours.
_UNUSED = ("pooler.", "embeddings.position_ids")
_MAX_TOKENS = 128
_BATCH = 64
_MOST_KNOWN = 50_000


class MiniLM:
    """Embeds texts in 384 dimensions; remembers those it has embedded.

    Args:
        runtime: see `load_network`.
    """

    id = MINILM_ID

    def __init__(self, runtime: Runtime = "openvino") -> None:
        self._runtime = runtime
        self._known: dict[str, FloatArray] = {}

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts; each text costs one forward pass while the process lives.

        Args:
            texts: any length; what exceeds 128 tokens is not read.

        Returns:
            (texts, 384) float32, unit-length rows; (0, 384) for no texts.
        """
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        unknown = sorted(set(texts).difference(self._known), key=len)
        for start in range(0, len(unknown), _BATCH):
            batch = unknown[start : start + _BATCH]
            self._known.update(zip(batch, self._encode_batch(batch), strict=True))
        rows = [self._known[text] for text in texts]
        return np.stack(rows) if rows else np.zeros((0, DIM), np.float32)

    def _encode_batch(self, texts: Sequence[str]) -> FloatArray:
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        (embeddings,) = self._network(ids, mask)
        return np.asarray(embeddings, dtype=np.float32)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
        tokenizer.enable_truncation(_MAX_TOKENS)
        tokenizer.enable_padding()
        return tokenizer

    @cached_property
    def _network(self) -> Network:
        example: list[Array] = [np.ones((2, 8), np.int64), np.ones((2, 8), np.int64)]
        return load_network(MINILM_ID, _build, example, runtime=self._runtime)


def _build() -> nn.Module:
    """Make the PyTorch network: BERT, mean over the tokens of the text, unit length."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel
    from transformers.utils import logging as transformers_logging

    # The strict load below says what matters.
    transformers_logging.set_verbosity_error()
    folder = minilm_folder()
    config = BertConfig.from_pretrained(folder, attn_implementation="eager")
    bert = BertModel(config, add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    bert.load_state_dict(
        {name: tensor for name, tensor in weights.items() if not name.startswith(_UNUSED)}
    )

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
            return torch.nn.functional.normalize(mean, dim=1)

    return Encoder().eval()
