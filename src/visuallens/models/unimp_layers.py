"""The network of UniMP: a frozen language model that looks at photos between its layers.

Source: Wei et al. 2024 (UniMP), images enter a causal language model through gated cross-attention;
    Alayrac et al. 2022 (Flamingo), the form of these layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visuallens.models.unimp import UniMPShape


class GatedCrossAttention(nn.Module):
    """Lets words look at photos; says nothing until its gates open.

    Args:
        width: of the language model's hidden states, and of the photos.
        shape: heads, their size, and how wide the feed-forward part is.

    Source: Flamingo: x + tanh(a) attention(x, photos), then x + tanh(b) feed-forward(x), a = b = 0.
    Choice: every word sees all photos, and no photo has a position: the question comes after the
        whole history, and what was retrieved is a set. So the order of the photos changes nothing.
    """

    def __init__(self, width: int, shape: UniMPShape) -> None:
        super().__init__()
        inner = shape.heads * shape.head_dim
        self._heads = shape.heads
        self.norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, inner, bias=False)
        self.offer = nn.Linear(width, 2 * inner, bias=False)
        self.join = nn.Linear(inner, width, bias=False)
        self.gate = nn.Parameter(torch.zeros(1))
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, shape.widening * width, bias=False),
            nn.GELU(),
            nn.Linear(shape.widening * width, width, bias=False),
        )
        self.feed_gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, photos: Tensor, present: Tensor) -> Tensor:
        """Add what words see in photos.

        Args:
            hidden: (prompts, tokens, width).
            photos: (prompts, photos, width), at least one each; those not `present` are ignored.
            present: (prompts, photos) bool; of an empty history nothing is seen.

        Returns:
            (prompts, tokens, width), in the number format that came.
        """
        # Trained in float32, whatever is around it.
        seen = hidden.to(self.gate.dtype)
        seen = seen + self.gate.tanh() * self._look(self.norm(seen), photos, present)
        seen = seen + self.feed_gate.tanh() * self.feed(seen)
        result: Tensor = seen.to(hidden.dtype)
        return result

    def _look(self, words: Tensor, photos: Tensor, present: Tensor) -> Tensor:
        some = present.any(dim=-1)
        # A row without any photo would be a division by zero.
        mask = (present | ~some[:, None])[:, None, None]
        keys, values = self.offer(photos).chunk(2, dim=-1)
        asked, keys, values = (self._split(one) for one in (self.ask(words), keys, values))
        found = functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
        joined: Tensor = self.join(found.transpose(1, 2).flatten(2))
        return joined.masked_fill(~some[:, None, None], 0.0)

    def _split(self, whole: Tensor) -> Tensor:
        """Turn (prompts, places, inner) into (prompts, heads, places, head_dim)."""
        split: Tensor = whole.unflatten(-1, (self._heads, -1)).transpose(1, 2)
        return split


class LabelRows(nn.Module):
    """Trained rows of label tokens, in place of those of a frozen vocabulary.

    Args:
        embedding: of the language model; what it reads for a label is replaced.
        head: of the language model; how it scores a label is replaced.
        ids: of the label tokens.

    Choice: 100 rows instead of a whole trained vocabulary; one set of rows for both ends where
        the language model has its ends tied.
    """

    ids: Tensor

    def __init__(self, embedding: nn.Embedding, head: nn.Linear, ids: Sequence[int]) -> None:
        super().__init__()
        at = torch.tensor(ids, device=embedding.weight.device)
        self.register_buffer("ids", at, persistent=False)
        with torch.no_grad():
            # As it is read: some language models scale what their vocabulary holds.
            read, written = embedding(at).float(), head.weight[at].float()
        self.read = nn.Parameter(read.clone())
        tied = embedding.weight is head.weight and torch.equal(read, written)
        self.written = self.read if tied else nn.Parameter(written.clone())
        embedding.register_forward_hook(self._replace_read)
        head.register_forward_hook(self._replace_written)

    def _replace_read(self, _: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        same = arguments[0].unsqueeze(-1) == self.ids
        rows = self.read.to(output.dtype)[same.int().argmax(dim=-1)]
        return torch.where(same.any(dim=-1, keepdim=True), rows, output)

    def _replace_written(
        self, head: nn.Module, arguments: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        bias = getattr(head, "bias", None)
        own = functional.linear(
            arguments[0],
            self.written.to(arguments[0].dtype),
            None if bias is None else bias[self.ids],
        )
        return output.index_copy(-1, self.ids, own.to(output.dtype))


class UniMPNetwork(nn.Module):
    """A language model with gated cross-attention before some of its layers.

    Args:
        language: of transformers, frozen; it stays as it is and is given hooks.
        layers: of its decoder, in order.
        shape: of what is added.
        labels: trained rows, or None where labels are letters.

    Choice: hooks rather than wrapped layers, so that names and attributes of the language model's
        own parts stay those that transformers expects. Photos come as one embedding each and are
        projected, without Flamingo's resampler, which has nothing to choose from then.
    """

    def __init__(
        self,
        language: nn.Module,
        layers: nn.ModuleList,
        shape: UniMPShape,
        labels: LabelRows | None,
    ) -> None:
        super().__init__()
        width = _width(language)
        self.language = language
        self.labels = labels
        self.projector = nn.Sequential(
            # The numbers of a long unit vector are small; without this, biases would drown them.
            nn.LayerNorm(shape.photo_dim),
            nn.Linear(shape.photo_dim, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )
        after = range(shape.every - 1, len(layers), shape.every)
        self.blocks = nn.ModuleList(GatedCrossAttention(width, shape) for _ in after)
        self._seen: tuple[Tensor, Tensor] | None = None
        for at, block in zip(after, self.blocks, strict=True):
            layers[at].register_forward_pre_hook(self._before(block), with_kwargs=True)

    def forward(self, inputs: Mapping[str, Tensor], photos: Tensor, present: Tensor) -> Tensor:
        """Compute the logits of the first output token.

        Args:
            inputs: of the language model, padded on the left.
            photos: (prompts, photos, photo_dim) float32, at least one each.
            present: (prompts, photos) bool, which of them there are.

        Returns:
            (prompts, vocabulary).
        """
        self._seen = self.projector(photos), present
        try:
            output = self.language(**inputs, logits_to_keep=1, use_cache=False)
        finally:
            # The way back may compute activations a second time, and then looks again.
            if not torch.is_grad_enabled():
                self._seen = None
        logits: Tensor = output.logits[:, -1]
        return logits

    # Any: whatever a layer is called with.
    def _before(self, block: nn.Module) -> Any:  # noqa: ANN401
        def look(
            _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            if self._seen is None:
                return None
            if arguments:
                return (block(arguments[0], *self._seen), *arguments[1:]), named
            return (), {**named, "hidden_states": block(named["hidden_states"], *self._seen)}

        return look


def decoder_layers(language: Any) -> nn.ModuleList | None:  # noqa: ANN401 - transformers' models
    """Find the layers of a language model's decoder, in order; None where there are none."""
    count = language.config.get_text_config().num_hidden_layers
    lists = (part for part in language.get_decoder().modules() if isinstance(part, nn.ModuleList))
    return next((one for one in lists if len(one) == count), None)


def _width(language: Any) -> int:  # noqa: ANN401 - transformers' models
    return int(language.config.get_text_config().hidden_size)
