"""A tiny Llama with a chat template."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.models.backbones.tiny import byte_tokenizer, save
from transformers import LlamaConfig, LlamaForCausalLM

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def write(folder: Path) -> None:
    """Save it; its embeddings are not tied, as Llama 3.1's are not."""
    reserved = [f"<|reserved_special_token_{number}|>" for number in range(100)]
    tokenizer = byte_tokenizer(
        ["<|begin|>", "<|start|>", "<|end|>", *reserved],
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
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    save(folder, LlamaForCausalLM(config), tokenizer)
