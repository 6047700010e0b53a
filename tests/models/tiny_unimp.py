"""Tiny UniMPs: on a causal model with loose ends, nano with tied ones, and a GPT-NeoX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tests.models.backbones import tiny_causal, tiny_nano
from tests.models.backbones.tiny import byte_tokenizer, save
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from visuallens import registry
from visuallens.config import BackboneSettings
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.label_space import LabelKind
from visuallens.models.unimp import UniMP, UniMPShape, build_unimp
from visuallens.models.unimp_layers import GatedCrossAttention
from visuallens.types import FloatArray

DIM = 12
SHAPE = UniMPShape(DIM, every=1, heads=2, head_dim=8, widening=2)
PROMPTS = ["What is next?\nA: Vulcan Park\nB: Zoo\nAnswer:", "Short.\nAnswer:"]


def write_neox(folder: Path) -> None:
    """Save a tiny GPT-NeoX, the architecture of RedPajama 3B; it has no chat template."""
    tokenizer = byte_tokenizer(["<|end|>"], eos_token="<|end|>")
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    save(folder, GPTNeoXForCausalLM(config), tokenizer)


def write_languages(above: Path) -> dict[str, Path]:
    """Save one tiny language model of each kind, each in a folder of its name."""
    kinds = {"causal": tiny_causal.write, "nano": tiny_nano.write, "neox": write_neox}
    for name, write in kinds.items():
        write(above / name)
    return {name: above / name for name in kinds}


def opened(folder: Path, **also: object) -> LocalBackbone:
    family = "nano" if folder.name == "nano" else "causal"
    chosen = {"name": family, "model": str(folder), "device": "cpu", **also}
    backbone: LocalBackbone = registry.load("backbones", family)(
        BackboneSettings.model_validate(chosen)
    )
    return backbone


def built(folder: Path, shape: UniMPShape = SHAPE, labels: LabelKind = "new") -> UniMP:
    return build_unimp(opened(folder), shape, labels, "fenced", encoder="eyes@1", seed=3)


def open_gates(model: UniMP, *, attention: float = 0.5, feed: float = 0.5) -> UniMP:
    with torch.no_grad():
        for block in model.network.blocks:
            assert isinstance(block, GatedCrossAttention)
            block.gate.fill_(attention)
            block.feed_gate.fill_(feed)
    return model


def photos(count: int, seed: int = 0) -> FloatArray:
    drawn = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def scored(model: UniMP, shown: FloatArray) -> FloatArray:
    labels = model.label_space()
    return model.showing(shown).score_labels([None] * len(PROMPTS), PROMPTS, labels)
