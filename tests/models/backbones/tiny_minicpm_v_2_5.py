"""A tiny MiniCPM-Llama3-V 2.5 behind code of its own, written for these tests.

It follows the published interface (`get_vllm_embedding`, `forward(data, **kwargs)`, a tokenizer
class of its own), so it shows that the protocol is kept; that the published code computes what it
should is not shown here.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any  # values of a configuration

import torch
from safetensors.torch import save_file
from tests.models.backbones.tiny import byte_tokenizer
from transformers import AutoConfig, AutoModel

QUERIES = 3
TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<unk>",
    "<image>",
    "</image>",
    "<slice>",
    "</slice>",
)


def write(folder: Path) -> None:
    """Save it; an image of 64 px has an overview and 2 x 2 slices, of 4 x 4 patches each."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (Path(__file__).parent / "remote_minicpm_v").glob("*.py"):
        shutil.copyfile(file, folder / file.name)
    tokens = {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "unk_token": "<unk>",
    }
    words = byte_tokenizer(SPECIAL, **tokens, chat_template=TEMPLATE)
    words.save_pretrained(folder)
    _add(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "MiniCPMVTokenizerFast",
            "auto_map": {
                "AutoTokenizer": [None, "tokenization_minicpmv_fast.MiniCPMVTokenizerFast"]
            },
        },
    )
    _add(
        folder / "config.json",
        {
            "architectures": ["MiniCPMV"],
            "auto_map": {
                "AutoConfig": "configuration_minicpm.MiniCPMVConfig",
                "AutoModel": "modeling_minicpmv.MiniCPMV",
            },
            "model_type": "minicpmv",
            "query_num": QUERIES,
            "slice_config": {"max_slice_nums": 4, "scale_resolution": 32},
            "patch_size": 8,
            "vocab_size": len(words),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 64,
                "patch_size": 8,
            },
        },
    )
    torch.manual_seed(0)
    # The remote code is ours, written into the folder above: consent to it is what is tested.
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    model = AutoModel.from_config(config, trust_remote_code=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


def _add(file: Path, more: dict[str, Any]) -> None:
    there = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**there, **more}), encoding="utf-8")
