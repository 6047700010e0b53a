"""The network of `nano`: SmolLM2 that also reads projected image features.

Source: the layout of LLaVA (Liu et al. 2023): vision features → MLP projector → language model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

FEATURE_DIM = 1280


class NanoConfig(LlamaConfig):
    """Configuration of the language model, and where images enter it."""

    model_type = "visuallens-nano"
    image_token_id: int = 0
    feature_dim: int = FEATURE_DIM


class Projector(nn.Module):
    """Turns image features into the language model's embeddings.

    Args:
        feature_dim: of the vision network.
        hidden: of the language model.
    """

    def __init__(self, feature_dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_dim)
        self.expand = nn.Linear(feature_dim, hidden)
        self.project = nn.Linear(hidden, hidden)

    def forward(self, features: Tensor) -> Tensor:
        """Project (pieces, feature_dim) features to (pieces, hidden) embeddings."""
        features = features.to(self.norm.weight.dtype)  # trained in float32, whatever is around it
        hidden = nn.functional.gelu(self.expand(self.norm(features)))
        projected: Tensor = self.project(hidden)
        return projected


class NanoForConditionalGeneration(LlamaForCausalLM):
    """A causal language model in whose input image pieces stand among the words."""

    config_class = NanoConfig

    def __init__(self, config: NanoConfig) -> None:
        super().__init__(config)
        self.projector = Projector(config.feature_dim, config.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]  # transformers' own

    def forward(
        self,
        input_ids: Tensor | None = None,
        image_features: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **arguments: Any,  # noqa: ANN401 - whatever the language model takes
    ) -> Any:  # noqa: ANN401 - transformers' output record
        """Compute logits.

        Args:
            input_ids: (prompts, tokens) int64; each image token takes the next image feature.
            image_features: (image tokens, 1280) float32, of all prompts in order; ignored when
                `input_ids` has no image token, as after the first generated word.
            inputs_embeds: instead of `input_ids`.
            **arguments: passed on.

        Returns:
            The language model's output.
        """
        if inputs_embeds is None and input_ids is not None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
            places = input_ids == self.config.image_token_id
            if image_features is not None and bool(places.any()):
                projected = self.projector(image_features).to(inputs_embeds.dtype)
                inputs_embeds = inputs_embeds.masked_scatter(places.unsqueeze(-1), projected)
        return super().forward(inputs_embeds=inputs_embeds, **arguments)


def fit_scale(model: NanoForConditionalGeneration, seed: int = 0) -> None:
    """Initialise the projector so that image pieces are as large as word embeddings.

    Args:
        model: its projector is overwritten.
        seed: the same weights on every machine.
    """
    generator = torch.Generator().manual_seed(seed)
    projector = model.projector
    with torch.no_grad():
        for layer in (projector.expand, projector.project):
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
            layer.weight.mul_(layer.in_features**-0.5)
            layer.bias.zero_()
        features = torch.randn((256, projector.expand.in_features), generator=generator)
        words = model.model.embed_tokens.weight.std()
        projector.project.weight.mul_(words / projector(features).std())
