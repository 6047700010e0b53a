"""Stands in for a file of the same name that comes with MiniCPM-Llama3-V 2.5.

It has the interface of that file, and the same parts of transformers inside; the resampler is a
plain attention. Like that file it does not call `post_init`.
"""

from __future__ import annotations

from typing import Any  # lists of several depths, and outputs of transformers

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, LlamaPreTrainedModel
from transformers.models.idefics2.modeling_idefics2 import Idefics2VisionTransformer

from .configuration_minicpm import MiniCPMVConfig


class Resampler(nn.Module):
    """Turns any number of patches into a fixed number of tokens."""

    def __init__(self, queries: int, width: int, seen: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(queries, width))
        self.kv_proj = nn.Linear(seen, width)
        self.attn = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, patches: Tensor, tgt_sizes: Tensor) -> Tensor:
        assert patches.shape[1] == int(tgt_sizes.prod())
        keys = self.kv_proj(patches)
        tokens: Tensor = self.attn(self.query[None], keys, keys)[0]
        return tokens


class MiniCPMV(LlamaPreTrainedModel):
    config_class = MiniCPMVConfig

    def __init__(self, config: MiniCPMVConfig) -> None:
        super().__init__(config)
        self.llm = LlamaForCausalLM(config)
        self.vpm = Idefics2VisionTransformer(config.vision_config)
        self.resampler = Resampler(
            config.query_num, config.hidden_size, config.vision_config.hidden_size
        )

    def get_input_embeddings(self) -> nn.Module:
        embedding: nn.Module = self.llm.get_input_embeddings()
        return embedding

    def get_vllm_embedding(self, data: dict[str, Any]) -> tuple[Tensor, list[Any]]:
        embeddings = self.llm.model.embed_tokens(data["input_ids"])
        seen: list[Any] = []
        for row, slices in enumerate(data["pixel_values"]):
            tokens = [
                self._see(pixels, size)
                for pixels, size in zip(slices, data["tgt_sizes"][row], strict=True)
            ]
            seen.append(torch.cat(tokens) if tokens else [])
            if tokens:
                bounds = data["image_bound"][row]
                at = torch.cat([torch.arange(int(r[0]), int(r[1])) for r in bounds])
                embeddings[row].scatter_(
                    0, at[:, None].repeat(1, embeddings.shape[-1]), seen[-1].flatten(0, 1)
                )
        return embeddings, seen

    def forward(self, data: dict[str, Any], **kwargs: Any) -> Any:  # noqa: ANN401
        embeddings, _ = self.get_vllm_embedding(data)
        return self.llm(
            input_ids=None,
            position_ids=data["position_ids"].long(),
            inputs_embeds=embeddings,
            **kwargs,
        )

    def _see(self, pixels: Tensor, size: Tensor) -> Tensor:
        tokens: Tensor = self.resampler(self.vpm(pixels[None]).last_hidden_state, size)
        return tokens
