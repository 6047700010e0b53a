"""Presets: sets of defaults for the settings in `config`, chosen by one word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Any: values of many types; pydantic checks each.
_PAPER: dict[str, Any] = {
    "index": {"model": "clip", "describe_by": "backbone"},
    "captioner": {"name": "llava-next"},
    "retrieval": {"max_photos": 64},
    "ranker": {"name": "visuallens", "max_candidates": 100},
    "matching": {"style": "paper"},
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "embedded": {},
    "local": {
        "index": {"model": "siglip2", "describe_by": "backbone"},
        "backbone": {"name": "qwen3-vl"},
        "ranker": {"name": "visuallens"},
    },
    "paper-3b": _PAPER
    | {
        "backbone": {"name": "paligemma"},
        "profile": {"grid_side": 8, "image_side_px": 896},
        "training": {"lora": {"rank": 16, "alpha": 16, "dropout": 0.1}},
    },
    "paper-8b": _PAPER
    | {
        "backbone": {"name": "minicpm-v-2.5"},
        "profile": {"grid_side": 8, "image_side_px": 980},
        "training": {"lora": {"rank": 64, "alpha": 64, "dropout": 0.1}},
    },
    "server": {
        "index": {"describe_by": "backbone"},
        "backbone": {"name": "server"},
        "ranker": {"name": "visuallens"},
    },
}
"""What each preset puts in place of the defaults.

Source: §4.1 (CLIP ViT-L/14@336px; captions by LLaVA-v1.6 8B, aspect words by the backbone); §4.2
(w = d * d = 64); Table 5 (PaliGemma at 896 px) and Table 6 (MiniCPM-V2.5 at 980 px); appendix D
(at most 100 candidates); Tables 5 and 6 for LoRA.
Choice: the paper's presets write Figure 7 to the letter.
"""
