"""UniMP in the paper's adaptation: the photos of a history enter a language model between layers.

A question and its candidates are the text, the retrieved photos are seen through gated
cross-attention, and the answer is the label of a candidate, as everywhere. The language model is
any backbone of this machine, the photos are embeddings of any encoder.

Source: §6.3 and Table 2: UniMP (Wei et al. 2024) on RedPajama 3B, "with the adaptation to replace
    their item image and attributes with image tokens in the visual history".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from visuallens.errors import AdapterError, BackboneError, MissingPackageError
from visuallens.models.backbones.adapters import Lora, add_label_tokens
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage
from visuallens.models.label_space import LabelKind, LabelSpace
from visuallens.prompts import Style
from visuallens.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

    from visuallens.models.unimp_layers import UniMPNetwork


@dataclass(frozen=True, slots=True)
class UniMPShape:
    """What is added to a language model.

    Attributes:
        photo_dim: of the photos' embeddings.
        every: cross-attention stands before every so many-th layer.
        heads: of cross-attention.
        head_dim: size of each.
        widening: of its feed-forward part.
        lora: of the language model; None: it stays frozen.
    """

    photo_dim: int
    every: int = 2
    heads: int = 8
    head_dim: int = 64
    widening: int = 4
    lora: Lora | None = None


@dataclass(frozen=True, slots=True)
class UniMP:
    """A language model that sees photos; a `Backbone` once it is shown some.

    Attributes:
        language: whose layers look at the photos.
        network: it and what was added.
        shape: of what was added.
        encoder: id of what embedded the photos that it was trained with.
        photos: (photos, photo_dim) float32 that it is shown; None: not said yet.
    """

    language: LocalBackbone
    network: UniMPNetwork
    shape: UniMPShape
    encoder: str
    photos: FloatArray | None = None

    scores: Literal["logits", "permutation"] = "logits"
    sees: bool = False
    stays_here: bool = True
    name: str = "unimp"

    @property
    def id(self) -> str:
        """`model@revision` of the language model, and a digest of what was trained."""
        return self.language.id

    @property
    def is_matcher(self) -> bool:
        """It was trained to match candidates."""
        return not self.language.adapter.endswith("untrained")

    @property
    def style(self) -> Style | None:
        """In which prompts were written when it was trained."""
        return self.language.style

    @property
    def max_tokens(self) -> int:
        """Longest prompt; photos take none of it."""
        return self.language.max_tokens

    def showing(self, photos: FloatArray) -> UniMP:
        """Show it the photos of a profile.

        Args:
            photos: (photos, photo_dim) float32, unit-length rows; there may be none.

        Returns:
            The same model with these photos.

        Raises:
            BackboneError: they are embeddings of another size.
        """
        if photos.shape[1:] != (self.shape.photo_dim,):
            raise BackboneError(
                self.id,
                f"it was trained with photo embeddings of {self.shape.photo_dim} numbers, these "
                f"have {photos.shape[-1]}. Index with its encoder, {self.encoder}.",
            )
        return UniMP(self.language, self.network, self.shape, self.encoder, photos)

    def label_space(self, kind: LabelKind | Literal["auto"] = "auto") -> LabelSpace:
        """See `Backbone.label_space`."""
        return self.language.label_space(kind)

    def count_tokens(self, prompts: Sequence[str], *, image: PromptImage | None) -> list[int]:
        """See `Backbone.count_tokens`."""
        del image
        return self.language.count_tokens(prompts, image=None)

    def generate(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
    ) -> list[str]:
        """Refuse to write; see `Backbone.generate`."""
        del images, prompts, max_new_tokens
        advice = "Choose another backbone for captions and aspect words."
        raise BackboneError(self.id, f"UniMP only matches candidates. {advice}")

    def score_labels(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        label_space: LabelSpace,
    ) -> FloatArray:
        """See `Backbone.score_labels`; all prompts are about the photos that it is shown."""
        import torch

        del images
        if self.photos is None:
            advice = "Choose --ranker unimp, which shows them."
            raise BackboneError(self.id, f"UniMP has not been shown the user's photos. {advice}")
        if label_space.tokenizer != self.label_space().tokenizer:
            advice = "Take them from this backbone's label_space()."
            raise BackboneError(self.id, f"these labels belong to another tokenizer. {advice}")
        scores = np.zeros((len(prompts), len(label_space)), np.float32)
        was_training = self.network.training
        self.network.eval()
        try:
            for start in range(0, len(prompts), self.language.settings.batch_size):
                batch = prompts[start : start + self.language.settings.batch_size]
                with torch.inference_mode():
                    logits = self.logits(batch, [self.photos] * len(batch))
                logs = logits.float().log_softmax(dim=-1)[:, list(label_space.token_ids)]
                scores[start : start + len(batch)] = logs.cpu().numpy()
        finally:
            self.network.train(was_training)
        if not np.isfinite(scores).all():
            advice = "Choose --set backbone.dtype=bfloat16 or float32."
            raise BackboneError(self.id, f"its numbers overflow. {advice}")
        return scores

    def logits(self, prompts: Sequence[str], photos: Sequence[FloatArray]) -> Tensor:
        """Compute the logits of the first output token, with a graph where one is wanted.

        Args:
            prompts: plain text, without template; at least one.
            photos: of each prompt, (photos, photo_dim) float32; there may be none.

        Returns:
            (prompts, vocabulary).

        Raises:
            PromptTooLongError: a prompt does not fit.
        """
        inputs = self.language.encode([None] * len(prompts), list(prompts))
        inputs = self.language.training_inputs(inputs)
        shown, present = _padded(photos, self.shape.photo_dim)
        device = self.language.device
        logits: Tensor = self.network(inputs, shown.to(device), present.to(device))
        return logits


def build_unimp(
    language: LocalBackbone,
    shape: UniMPShape,
    labels: LabelKind,
    style: Style,
    *,
    encoder: str,
    seed: int = 0,
) -> UniMP:
    """Put fresh cross-attention into a language model; with its gates shut it changes nothing.

    Args:
        language: frozen afterwards; its layers are given hooks for good.
        shape: of what is added.
        labels: new tokens are added to the vocabulary first.
        style: of the prompts that it will be trained with.
        encoder: id of what embedded the photos.
        seed: of the weights.

    Returns:
        The model, in evaluation mode.

    Raises:
        BackboneError: the language model has no labels of that kind, or too few layers.
        AdapterError: it has an adapter already, or LoRA cannot adapt its layers.
        MissingPackageError: LoRA is wanted and PEFT is not installed.

    Source: §6.3. Trained are the cross-attention, the projector and the labels' rows, as Flamingo
        keeps its language model frozen.
    """
    import torch

    from visuallens.models.unimp_layers import LabelRows, UniMPNetwork, decoder_layers

    model = language.parts.model
    if language.adapter or hasattr(model, "peft_config"):
        advice = "Merge it first, or open the backbone again."
        raise AdapterError(language.id, "memory", "the backbone has an adapter already", advice)
    layers = decoder_layers(model)
    if layers is None or len(layers) < shape.every:
        problem = f"it has no layer to put cross-attention before (every {shape.every}-th)"
        raise BackboneError(language.id, f"{problem}. Lower training.unimp.every.")
    model.requires_grad_(False)
    devices = [language.device] if language.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        if labels == "new":
            add_label_tokens(language.parts)
        space = language.label_space(labels)
        if shape.lora is not None:
            _inject_lora(language, shape.lora)
        rows = None
        if space.kind != "letters":
            ends = model.get_input_embeddings(), model.get_output_embeddings()
            rows = LabelRows(*ends, space.token_ids)
        network = UniMPNetwork(model, layers, shape, rows).to(language.device).eval()
    language.trained_labels, language.style = space, style
    language.adapter = "unimp-untrained"
    language.forget_prefix()
    return UniMP(language, network, shape, encoder)


def _inject_lora(language: LocalBackbone, lora: Lora) -> None:
    """Put LoRA into the layers of a language model, in float32.

    Source: §5, Tables 5 and 6, for the sizes. Choice: off by default, see `build_unimp`.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError("peft", "LoRA", 'pip install "visuallens[train]"') from error
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=language.family.lora_targets,
    )
    try:
        peft.inject_adapter_in_model(config, language.parts.model)
    except ValueError as error:
        raise AdapterError(language.id, "memory", str(error), "Leave LoRA off.") from error
    for name, weight in language.parts.model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
            weight.requires_grad_(requires_grad=True)


def _padded(photos: Sequence[FloatArray], dim: int) -> tuple[Tensor, Tensor]:
    """Give (prompts, most photos, dim) float32 and which of them there are; at least one place."""
    import torch

    most = max(1, *map(len, photos))
    shown = torch.zeros((len(photos), most, dim))
    present = torch.zeros((len(photos), most), dtype=torch.bool)
    for row, some in enumerate(photos):
        shown[row, : len(some)] = torch.from_numpy(np.asarray(some, np.float32))
        present[row, : len(some)] = True
    return shown, present
