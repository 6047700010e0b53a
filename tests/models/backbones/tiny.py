"""Tiny folders of weights: true architectures with random values, one module per family.

A module `tiny_FAMILY.py` has `write(folder)`, which saves model, tokenizer and image processor as
a hub folder has them, so that the real loading code is what runs in tests.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers import decoders as decoding
from transformers import PreTrainedTokenizerFast

INITIALIZER_RANGE = 0.3
"""Of tiny models: at smaller values, tied embeddings repeat the last token, whatever was read."""

# Enough text for a few merges; every byte is a token, so any text can be written.
_CORPUS = [
    "What is the museum the user most likely to go to next?",
    "Aspect words: industrial, metal, structure, machinery",
    "Captions: Image 1: A large, rusted metal structure. Image 2: A park.",
    "Candidates: A: Vulcan Park, statue. B: Sloss Furnaces. C: Pumping Station. Answer: B",
    *[f" {' '.join(string.ascii_letters)}"] * 20,  # letters after a space are tokens, as usual
]


def byte_tokenizer(special: Sequence[str], **settings: Any) -> PreTrainedTokenizerFast:
    """Train a small byte-level BPE tokenizer.

    Args:
        special: extra special tokens, in the order of their ids after the merges.
        settings: of `PreTrainedTokenizerFast`, such as `chat_template` and `pad_token`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoding.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in special])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings)


def save(folder: Path, *parts: Any) -> None:
    """Save parts into one folder, as the hub has them."""
    for part in parts:
        part.save_pretrained(folder)
