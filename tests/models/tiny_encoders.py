"""Tiny folders of CLIP and SigLIP 2: true architectures with random values, as the hub has them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

SIDE_PX = 32
DIM = 24

_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_VISION = {**_TEXT, "image_size": SIDE_PX, "patch_size": 8}
_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def write(name: str, folder: Path) -> None:
    """Save the encoder of a registered name."""
    {"clip": write_clip, "siglip2": write_siglip2}[name](folder)


def write_clip(folder: Path) -> None:
    """Save a CLIP, whose configuration names a wrong end token as OpenAI's do.

    Its tokens are the lower-case characters, inside a word and at its end.
    """
    start, end = "<|startoftext|>", "<|endoftext|>"
    texts = [*_ALPHABET, *(f"{letter}</w>" for letter in _ALPHABET), start, end]
    vocabulary = {text: number for number, text in enumerate(texts)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [], unk_token=end, end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, vocabulary[end]), (start, vocabulary[start]), add_prefix_space=False
    )
    config = CLIPConfig(
        text_config=_TEXT
        | {"vocab_size": len(texts), "max_position_embeddings": 77, "eos_token_id": 2},
        vision_config=_VISION,
        projection_dim=DIM,
    )
    torch.manual_seed(0)
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE_PX}, crop_size={"height": SIDE_PX, "width": SIDE_PX}
    )
    CLIPModel(config).save_pretrained(folder)
    images.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start, eos_token=end, pad_token=end
    ).save_pretrained(folder)


def write_siglip2(folder: Path) -> None:
    """Save a SigLIP 2 of one resolution: its tokenizer ends texts and keeps their case."""
    texts = ["<pad>", "<eos>", "<bos>", "<unk>", *_ALPHABET]
    vocabulary = {text: number for number, text in enumerate(texts)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", vocabulary["<eos>"])]
    )
    config = SiglipConfig(
        text_config=_TEXT
        | {"vocab_size": len(texts), "max_position_embeddings": 64, "projection_size": 32}
        | {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2},
        vision_config=_VISION,
    )
    torch.manual_seed(0)
    images = SiglipImageProcessorPil(size={"height": SIDE_PX, "width": SIDE_PX})
    SiglipModel(config).save_pretrained(folder)
    images.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
