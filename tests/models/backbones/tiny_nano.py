"""Nano around a tiny random Llama; it sees with its real eyes."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.models.backbones.tiny import INITIALIZER_RANGE, byte_tokenizer
from tests.models.backbones.tiny_causal import TEMPLATE
from transformers import LlamaConfig, LlamaForCausalLM

from visuallens.models.backbones.nano import build


def write(folder: Path) -> None:
    """Save it; its embeddings are tied, as SmolLM2's are."""
    tokenizer = byte_tokenizer(
        ["<|begin|>", "<|start|>", "<|end|>"],
        bos_token="<|begin|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        chat_template=TEMPLATE,
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        initializer_range=INITIALIZER_RANGE,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    build(config.to_dict(), LlamaForCausalLM(config).state_dict(), tokenizer, folder)
