"""Stands in for a file of the same name that comes with MiniCPM-Llama3-V 2.5."""

from __future__ import annotations

from typing import Any  # values of a configuration

from transformers import LlamaConfig
from transformers.models.idefics2.configuration_idefics2 import Idefics2VisionConfig


class MiniCPMVConfig(LlamaConfig):
    """A Llama's, with a vision part."""

    model_type = "minicpmv"

    def __init__(
        self,
        vision_config: dict[str, Any] | None = None,
        query_num: int = 96,
        slice_config: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self.query_num = query_num
        self.slice_config = slice_config
        self.vision_config = Idefics2VisionConfig(**(vision_config or {}))
        self.patch_size = self.vision_config.patch_size
        super().__init__(**kwargs)
