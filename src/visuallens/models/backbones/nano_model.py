"""The network of `nano`: SmolLM2 that also reads projected image features.

Source: the layout of LLaVA (Liu et al. 2023): vision features → MLP projector → language model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from visuallens.models.efficientnet import CLASSES, FEATURE_DIM


class NanoConfig(LlamaConfig):
    """Configuration of the language model, and where images enter it."""

    model_type = "visuallens-nano"
    image_token_id: int = 0
    feature_dim: int = FEATURE_DIM
    classes: int = CLASSES


class Projector(nn.Module):
    """Turns image features into the language model's embeddings.

    Soft words and what they miss: the classes that a piece may show, each as its name's embedding
    and weighted by its probability, plus a small network that begins at zero.

    Args:
        feature_dim: of the vision network.
        classes: that its classifier knows.
        hidden: of the language model.

    Source: ConSE (Norouzi et al. 2014), the probability-weighted mean of class name embeddings.
    Choice: a projector of random weights has to learn from thousands of photos what a language
        model may read; soft words are read by an untrained one. The map before global average
        pooling goes through the linear classifier as well as its mean does (class activation
        maps, Zhou et al. 2016), so a piece has classes of its own.
    """

    def __init__(self, feature_dim: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.classify = nn.Linear(feature_dim, classes)
        self.name = nn.Linear(classes, hidden)
        self.norm = nn.LayerNorm(feature_dim)
        self.expand = nn.Linear(feature_dim, hidden)
        self.project = nn.Linear(hidden, hidden)

    def forward(self, features: Tensor) -> Tensor:
        """Project (pieces, feature_dim) features to (pieces, hidden) embeddings."""
        features = features.to(self.norm.weight.dtype)  # trained in float32, whatever is around it
        words = self.name(self.classify(features).softmax(dim=-1))
        rest = self.project(nn.functional.gelu(self.expand(self.norm(features))))
        projected: Tensor = words + rest
        return projected


class NanoForConditionalGeneration(LlamaForCausalLM):
    """A causal language model in whose input image pieces stand among the words."""

    config_class = NanoConfig

    def __init__(self, config: NanoConfig) -> None:
        super().__init__(config)
        self.projector = Projector(config.feature_dim, config.classes, config.hidden_size)
        self.lm_head.register_forward_pre_hook(_contiguous)
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


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copy a slice of hidden states; else PyTorch copies the vocabulary, once for each prompt.

    A slice of one prompt calls itself contiguous, and is not for PyTorch's product.
    """
    return tuple(one.clone(memory_format=torch.contiguous_format) for one in inputs)


def initialise(
    model: NanoForConditionalGeneration,
    classifier: Tensor,
    bias: Tensor,
    names: Tensor,
    seed: int = 0,
) -> None:
    """Initialise the projector so that pieces are soft words, as large as word embeddings.

    Args:
        model: its projector is overwritten.
        classifier: (classes, feature_dim) float32, weights of the vision network's last layer.
        bias: (classes,) float32, of the same layer.
        names: (classes, hidden) float32, the embedding of each class's name.
        seed: the same weights on every machine.
    """
    generator = torch.Generator().manual_seed(seed)
    projector = model.projector
    words = model.model.embed_tokens.weight
    with torch.no_grad():
        projector.classify.weight.copy_(classifier)
        projector.classify.bias.copy_(bias)
        size = words.norm(dim=1).mean() / names.norm(dim=1, keepdim=True)
        projector.name.weight.copy_((names * size).T)
        projector.name.bias.zero_()
        projector.norm.reset_parameters()
        shape = projector.expand.weight.shape
        spread = projector.expand.in_features**-0.5
        projector.expand.weight.copy_(torch.randn(shape, generator=generator) * spread)
        for last in (projector.expand.bias, projector.project.weight, projector.project.bias):
            last.zero_()
