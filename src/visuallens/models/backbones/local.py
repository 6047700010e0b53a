"""Runs a backbone in this process: batches, labels, generation, the kept prefix.

Source: §4.2, candidate matching; appendix D, ranking by the first output token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from visuallens.config import BackboneSettings
from visuallens.errors import BackboneError, PromptTooLongError
from visuallens.models.backbones.answers import UntrainedScores, overflow, score_answers
from visuallens.models.backbones.family import Family, Inputs, Parts, answer_gap
from visuallens.models.backbones.modes import evaluating
from visuallens.models.base import PromptImage
from visuallens.models.label_space import (
    LabelKind,
    LabelSpace,
    letters,
    new_tokens,
    no_labels,
    reserved_tokens,
    tokenizer_hash,
)
from visuallens.prompts import Style
from visuallens.types import FloatArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TEXT_ARGUMENTS = frozenset(("input_ids", "attention_mask"))


@dataclass(slots=True)
class _Kept:
    """What was computed for the last prompt.

    Attributes:
        ids: its tokens.
        picture: digest of its image.
        weights: version of the trainable weights that made it.
        cache: keys and values of all its tokens.
    """

    ids: list[int]
    picture: str
    weights: int
    cache: Any  # Any: Hugging Face's cache classes


class LocalBackbone:
    """A backbone whose weights are in this process.

    Args:
        family: how inputs are made.
        parts: the loaded model.
        settings: batch size, device, kept prefix.
        label_space: that the weights were trained with, or None when they were not.
        style: of the prompts that they were trained with, or None.
    """

    scores: Literal["logits", "permutation"] = "logits"
    stays_here = True

    def __init__(
        self,
        family: Family,
        parts: Parts,
        settings: BackboneSettings | None = None,
        label_space: LabelSpace | None = None,
        style: Style | None = None,
    ) -> None:
        self.family = family
        self.parts = parts
        self.settings = settings or BackboneSettings(name=family.name)
        self.trained_labels = label_space
        self.style = style
        self.adapter = ""
        self._kept: _Kept | None = None
        self._untrained = UntrainedScores(self)
        self._surroundings: dict[object, int] = {}

    @property
    def name(self) -> str:
        """Name of the family."""
        return self.family.name

    @property
    def id(self) -> str:
        """`model@revision`, and a digest of the adapter where there is one."""
        base = self.parts.source.id
        return f"{base}+{self.adapter}" if self.adapter else base

    @property
    def sees(self) -> bool:
        """It takes images."""
        return self.family.sees

    @property
    def is_matcher(self) -> bool:
        """It was trained to match candidates."""
        return self.trained_labels is not None

    @property
    def max_tokens(self) -> int:
        """Longest prompt, image included: what is sensible, and what the model has places for."""
        sensible = self.parts.source.checkpoint.max_tokens
        config = getattr(self.parts.model, "config", None)
        of_text = getattr(config, "get_text_config", lambda: config)()
        places = getattr(of_text, "max_position_embeddings", None)
        return min(sensible, int(places)) if places else sensible

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.parts.model.parameters()).device
        return device

    @cached_property
    def keeps_every_token(self) -> bool:
        """Every layer can look back at all tokens: none has a sliding window or a state."""
        import torch

        token = torch.zeros((1, 1), dtype=torch.int64, device=self.device)
        # A cache differs in every layer, for which layers would be compiled again and again.
        with torch.compiler.set_stance("force_eager"), torch.inference_mode():
            cache = self.parts.model(input_ids=token, use_cache=True).cache
        return cache is not None and _can_be_cut(cache)

    def label_space(self, kind: LabelKind | Literal["auto"] = "auto") -> LabelSpace:
        """See `Backbone.label_space`."""
        if self.trained_labels is not None and kind in ("auto", self.trained_labels.kind):
            return self.trained_labels
        if kind == "new":
            return new_tokens(self.parts.tokenizer, self.name)
        if kind == "reserved":
            return reserved_tokens(self.parts.tokenizer, self.name)
        if kind == "names":
            return no_labels(self.parts.tokenizer)
        before = self.family.answer_start(self.parts)
        gap = answer_gap(self.parts.tokenizer, before)
        return letters(self.parts.tokenizer, before, gap, self.name)

    def count_tokens(self, prompts: Sequence[str], *, image: PromptImage | None) -> list[int]:
        """See `Backbone.count_tokens`; what is around prompts is counted once for each shape."""
        around = self._around(image if self.sees else None)
        tokenizer = self.parts.tokenizer
        return [len(tokenizer.encode(text, add_special_tokens=False)) + around for text in prompts]

    def generate(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
    ) -> list[str]:
        """See `Backbone.generate`."""
        import torch

        tokenizer = self.parts.tokenizer
        answers = [""] * len(prompts)
        for rows, inputs in self._batches(images, prompts, room=max_new_tokens):
            with torch.inference_mode(), evaluating(self.parts.model):
                written = self.parts.model.generate(
                    **inputs,
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    repetition_penalty=1.0,
                    pad_token_id=_pad_id(tokenizer),
                )
            # Models that read embeddings write the answer alone, others repeat the prompt.
            length = inputs["input_ids"].shape[1]
            new = written[:, length:] if written.shape[1] > length else written
            texts = tokenizer.batch_decode(new, skip_special_tokens=True)
            for row, text in zip(rows, texts, strict=True):
                answers[row] = text.strip()
        return answers

    def score_labels(
        self,
        images: Sequence[PromptImage | None],
        prompts: Sequence[str],
        label_space: LabelSpace,
    ) -> FloatArray:
        """See `Backbone.score_labels`."""
        self._check(label_space)
        scores = np.zeros((len(prompts), len(label_space)), np.float32)
        ids = list(label_space.token_ids)
        if self._keeps(images, prompts):
            for row, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
                scores[row] = self._of_labels(self._logits_keeping(image, prompt), ids)
            return scores
        for rows, inputs in self._batches(images, prompts):
            scores[rows] = self._of_labels(self._logits(inputs), ids)
        return scores

    def score_answers(
        self,
        image: PromptImage | None,
        prompt: str,
        answers: Sequence[str],
        *,
        untrained: bool = False,
    ) -> FloatArray:
        """See `AnswerScorer.score_answers`; what an untrained model said is remembered."""
        if untrained:
            return self._untrained(prompt, answers)
        return score_answers(self, image if self.sees else None, prompt, answers)

    def training_inputs(self, inputs: Inputs) -> Inputs:
        """Add what the model asks for in training only; see `Family.training_inputs`."""
        return self.family.training_inputs(self.parts, inputs)

    def forget_prefix(self) -> None:
        """Free what was kept of the last prompt."""
        self._kept = None

    def _keeps(self, images: Sequence[PromptImage | None], prompts: Sequence[str]) -> bool:
        """Tell whether prompts should be read one after another, each from where they differ.

        Choice: where all show the same image, for then they share the profile; a GPU gains more
            from a batch, so there only single prompts.
        """
        if not (self.settings.keep_prefix and self.family.keeps_prefix):
            return False
        shared = all(image is images[0] for image in images)
        return len(prompts) == 1 or (shared and self.device.type == "cpu")

    def _batches(
        self, images: Sequence[PromptImage | None], prompts: Sequence[str], room: int = 1
    ) -> Iterator[tuple[list[int], Inputs]]:
        """Encode in batches; prompts with and without an image never share one."""
        seen = [row for row, image in enumerate(images) if image is not None and self.sees]
        blind = sorted(set(range(len(prompts))).difference(seen))
        size = self.settings.batch_size
        for rows in (seen, blind):
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                shown = [images[row] if rows is seen else None for row in batch]
                yield batch, self.encode(shown, [prompts[row] for row in batch], room=room)

    def encode(
        self, images: Sequence[PromptImage | None], prompts: Sequence[str], *, room: int = 1
    ) -> Inputs:
        """Turn images and prompts into the model's inputs, where the model is.

        Args:
            images: one per prompt, or None; all or none of one call.
            prompts: plain text, without template.
            room: tokens that an answer may take.

        Returns:
            Arguments of the forward pass, padded on the left; see `Family.encode`.

        Raises:
            PromptTooLongError: a prompt does not fit.
            BackboneError: some prompts have an image and others have none.
        """
        import torch

        if len({image is None for image in images}) > 1:
            raise BackboneError(self.name, "encode prompts with and without an image apart.")
        inputs = self.family.encode(self.parts, images, prompts)
        tokens = inputs["input_ids"].shape[1] + room - 1
        if tokens > self.max_tokens:
            advice = (
                "Rank fewer candidates, shorten descriptions, or lower retrieval.max_photos; the "
                "ranker cuts by itself when matching.max_tokens is set."
            )
            raise PromptTooLongError(self.name, tokens, self.max_tokens, advice)
        dtype = next(self.parts.model.parameters()).dtype
        return {
            name: tensor.to(self.device, dtype if torch.is_floating_point(tensor) else None)
            for name, tensor in inputs.items()
        }

    def _logits(self, inputs: Inputs) -> Tensor:
        """Compute (prompts, vocabulary) logits of the first output token."""
        import torch

        with torch.inference_mode(), evaluating(self.parts.model):
            output = self.parts.model(**inputs, logits_to_keep=1, use_cache=False)
        logits: Tensor = output.logits[:, -1]
        return logits

    def _logits_keeping(self, image: PromptImage | None, prompt: str) -> Tensor:
        """Compute (1, vocabulary) logits, starting where the prompt differs from the last one."""
        import torch

        inputs = self.encode([image if self.sees else None], [prompt])
        ids: list[int] = inputs["input_ids"][0].tolist()
        picture = image.digest if image is not None and self.sees else ""
        kept, self._kept = self._kept, None
        weights = _version(self.parts.model)
        same = kept is not None and (kept.picture, kept.weights) == (picture, weights)
        shared = _shared(kept.ids, ids) if kept is not None and same else 0
        if self.parts.image_token_id in ids[shared:]:
            shared = 0  # the image itself must be read again
        if kept is not None and shared > 0:
            kept.cache.crop(shared - len(kept.ids))
            arguments = {
                "input_ids": inputs["input_ids"][:, shared:],
                "attention_mask": inputs["attention_mask"],
                "cache": kept.cache,
            }
            if "position_ids" in inputs:
                arguments["position_ids"] = inputs["position_ids"][..., shared:]
        else:
            arguments = dict(inputs)
        with torch.inference_mode(), evaluating(self.parts.model):
            output = self.parts.model(**arguments, logits_to_keep=1, use_cache=True)
        if _can_be_cut(output.cache):
            self._kept = _Kept(ids, picture, weights, output.cache)
        logits: Tensor = output.logits[:, -1]
        return logits

    def _of_labels(self, logits: Tensor, ids: Sequence[int]) -> FloatArray:
        """Give (prompts, labels) log-probabilities over the whole vocabulary."""
        logs = logits.float().log_softmax(dim=-1)[:, list(ids)]
        if not bool(logs.isfinite().all()):
            raise overflow(self.name)
        return np.asarray(logs.cpu().numpy(), dtype=np.float32)

    def _check(self, label_space: LabelSpace) -> None:
        if label_space.tokenizer != self._tokenizer_hash:
            raise BackboneError(
                self.name,
                "these labels belong to another tokenizer. Take them from this backbone's "
                "label_space().",
            )

    @property
    def _tokenizer_hash(self) -> str:
        return tokenizer_hash(self.parts.tokenizer)

    def _around(self, image: PromptImage | None) -> int:
        """Count the tokens around a prompt: of the template, and of an image of this shape."""
        shape = None if image is None else (image.image.size, image.grid_side)
        if shape not in self._surroundings:
            blank = None
            if image is not None:
                blank = PromptImage(Image.new("RGB", image.image.size), image.grid_side)
            inputs = self.family.encode(self.parts, [blank], [""])
            self._surroundings[shape] = inputs["input_ids"].shape[1]
        return self._surroundings[shape]


def _shared(before: Sequence[int], now: Sequence[int]) -> int:
    """Count the tokens that two prompts begin with; the last one is always read again."""
    length = min(len(before), len(now) - 1)
    return next((at for at in range(length) if before[at] != now[at]), length)


# Any, here and below: Hugging Face's models and caches.
def _version(model: Any) -> int:  # noqa: ANN401
    """Count the changes of all trainable weights."""
    trained = (weight for weight in model.parameters() if weight.requires_grad)
    return sum(weight._version for weight in trained)  # noqa: SLF001 - PyTorch's only count


def _can_be_cut(cache: Any) -> bool:  # noqa: ANN401
    """Tell whether a cache keeps every token, as those of sliding windows and states do not."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


# Any: Hugging Face tokenizers.
def _pad_id(tokenizer: Any) -> int:  # noqa: ANN401
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id or 0) if pad is None else int(pad)
