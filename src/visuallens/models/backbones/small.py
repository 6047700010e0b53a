"""A small PaliGemma to be trained in a minute: no knowledge, but weights that can compare words.

For tests and for the synthetic world. Random weights of this size need far more than a minute
until they look a word up, so this one begins able to: some heads of the first layer look a few
words back, others at the beginning of a prompt, and heads of the second find words that were read
there, and say what stood before them. Which word or colour means what is learned.

Source: Trockman and Kolter 2023, Mimetic Initialization of Self-Attention Layers: weights that
    begin with the structure of trained ones let small transformers learn fast. The structure here
    is our own.
Choice: PaliGemma, the paper's own architecture (§5, Table 5), because it reads a prompt in both
    directions; a token is one word.
Choice: how far heads look is fitted to prompts of ten candidates in the style "paper"; other
    prompts can be read and learned, only more slowly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visuallens.models.label_space import NEW_LABELS
from visuallens.prompts import CandidateLine, aspect_prompt, caption_prompt, matching_prompt

if TYPE_CHECKING:
    from torch import Tensor

_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
_PLACES = tuple(f"<loc{number:04}>" for number in range(1024))
_SEGMENTS = tuple(f"<seg{number:03}>" for number in range(128))
_IMAGE = "<image>"

_CHANNEL = 28
"""Dimensions in which a word is written, and of each copy of it."""
_HEAD = 32
_LAYERS = 2
_NEAR = (3, 4, 5)
"""Words that the first heads look back."""
_FAR = (72, 87, 108)
"""Words that the others look back: from the end of a prompt of ten candidates, to the captions, the
aspect words and the image."""
_HEADS = len(_NEAR) + len(_FAR)
_HIDDEN = (2 + len(_FAR)) * _CHANNEL + 4
_ONE = (2 + len(_FAR)) * _CHANNEL
"""The dimension that is the same for all words, by which heads tell places."""
_QUICK, _SLOW = (0, 3), (6, 7)
"""Of the frequencies of a head: those that tell near places apart, and far ones."""
_NOISE = 0.02
_SEES_NEAR, _SEES_FAR, _SEES_EQUAL = 0.8, 1.0, 3.0
"""How sharply heads look a few words back, at the beginning, and at equal words."""
_EYE_PX, _PATCH_PX, _VISION = 32, 16, 32


def write_small(folder: Path, words: Iterable[str], *, seed: int = 0) -> None:
    """Write a small backbone, which `--backbone paligemma --set backbone.model=FOLDER` reads.

    Args:
        folder: gets model, tokenizer and image processor.
        words: that it shall tell apart, beside those of the prompts; all others are one.
        seed: of everything that is drawn.
    """
    import torch
    from transformers import PaliGemmaForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = _tokenizer(words)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = PaliGemmaForConditionalGeneration(_configuration(tokenizer))
        with torch.no_grad():
            _begin(model)
    for part in (model, tokenizer, _image_processor()):
        part.save_pretrained(folder)


# Any, here and below: Hugging Face's classes.
def _tokenizer(words: Iterable[str]) -> Any:  # noqa: ANN401
    """Make a tokenizer of whole words, upper and lower case apart."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    digits = [str(number) for number in range(1, 100)]
    lines = [CandidateLine("A", "name", "description")]
    prompts = (
        aspect_prompt(),
        caption_prompt(),
        matching_prompt("place", ["word"], [(1, "A caption.")], lines),
    )
    known = {*words, *digits}.union(*(re.findall(r"\w+|[^\w\s]+", text) for text in prompts))
    special = [*_SPECIAL, *NEW_LABELS, *_PLACES, *_SEGMENTS, _IMAGE]
    numbered = {word: number for number, word in enumerate([*special, *sorted(known)])}
    made = Tokenizer(models.WordLevel(numbered, unk_token="<unk>"))  # noqa: S106 - no secret
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    names = dict(zip(("pad_token", "eos_token", "bos_token", "unk_token"), _SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def _configuration(tokenizer: Any) -> Any:  # noqa: ANN401
    from transformers import GemmaConfig, PaliGemmaConfig, SiglipVisionConfig

    # Any: keywords of classes that declare each of their own types.
    ids: dict[str, Any] = {
        f"{name}_token_id": number for number, name in enumerate(("pad", "eos", "bos"))
    }
    language = GemmaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_HIDDEN,
        intermediate_size=_CHANNEL * 3,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        num_key_value_heads=_HEADS,
        head_dim=_HEAD,
        max_position_embeddings=1024,
        initializer_range=_NOISE,
        **ids,
    )
    vision = SiglipVisionConfig(
        hidden_size=_VISION,
        intermediate_size=_VISION,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=_EYE_PX,
        patch_size=_PATCH_PX,
        vision_use_head=False,
    )
    return PaliGemmaConfig(
        text_config=language,
        vision_config=vision,
        image_token_index=tokenizer.get_vocab()[_IMAGE],
        projection_dim=_HIDDEN,
        hidden_size=_HIDDEN,
        **ids,
    )


def _image_processor() -> Any:  # noqa: ANN401
    from transformers import SiglipImageProcessorPil

    return SiglipImageProcessorPil(size={"height": _EYE_PX, "width": _EYE_PX})


def _begin(model: Any) -> None:  # noqa: ANN401
    """Overwrite the weights that a model begins with.

    A word has a direction of its own in the first channel. The second takes what stood a few words
    before, the others what the far heads read, one each. In the second layer heads compare what was
    read far away with the words themselves, and copy what stood before those that are equal.
    """
    import torch

    parts = model.model
    words = parts.language_model.embed_tokens.weight
    words.zero_()
    words[:, :_CHANNEL] = torch.nn.functional.normalize(torch.randn(len(words), _CHANNEL), dim=1)
    words[:, _ONE] = 1.0
    _begin_eye(parts.multi_modal_projector.linear)
    first, second = (layer.self_attn for layer in parts.language_model.layers)
    for attention in (first, second):
        for one in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
            one.weight.copy_(torch.randn(one.weight.shape) * _NOISE)
    for head, back in enumerate(_NEAR):
        _look_back(first, head, back, range(*_QUICK), _SEES_NEAR)
        _copy(first, head, _channel(0), _channel(1), 1.0)
    for number, back in enumerate(_FAR):
        head = len(_NEAR) + number
        _look_back(first, head, back, range(*_SLOW), _SEES_FAR)
        _copy(first, head, _channel(0), _channel(2 + number), 2.0)
    for head in range(_HEADS):
        _find_equal(second, head, _channel(2 + head % len(_FAR)), _SEES_EQUAL)
        _copy(second, head, _channel(1), _channel(0), 1.0)


def _begin_eye(eye: Any) -> None:  # noqa: ANN401
    """Let what is seen enter as words do: a direction in the first channel, and the constant."""
    import torch

    eye.weight.zero_()
    eye.bias.zero_()
    scale = (_HIDDEN / (_VISION * _CHANNEL)) ** 0.5
    eye.weight[:_CHANNEL] = torch.randn(_CHANNEL, _VISION) * scale
    eye.bias[_ONE] = _HIDDEN**0.5  # Gemma scales the embeddings of words by this


def _channel(number: int) -> slice:
    return slice(number * _CHANNEL, (number + 1) * _CHANNEL)


def _rows(head: int) -> slice:
    return slice(head * _HEAD, (head + 1) * _HEAD)


def _look_back(
    attention: Any,  # noqa: ANN401
    head: int,
    back: int,
    frequencies: Sequence[int],
    strength: float,
) -> None:
    """Let a head look so many words back, whatever the words are.

    Rotary positions turn a pair of dimensions by its frequency for each word; a key that begins
    turned by `back` words agrees best with a query that stands so many words after it.
    """
    import torch

    half = _HEAD // 2
    query, key = torch.zeros(_HEAD), torch.zeros(_HEAD)
    for at in frequencies:
        angle = torch.tensor(back * 10_000.0 ** (-at / half))
        query[at] = strength
        key[at], key[at + half] = strength * angle.cos(), strength * angle.sin()
    for weight, column in ((attention.q_proj.weight, query), (attention.k_proj.weight, key)):
        weight[_rows(head)] = 0
        weight[_rows(head), _ONE] = column


def _find_equal(attention: Any, head: int, read: slice, strength: float) -> None:  # noqa: ANN401
    """Let a head find words equal to what a channel has read, wherever they stand.

    Only slow frequencies are used, so that distance hardly matters.
    """
    import torch

    half = _HEAD // 2
    slow = [*range(half // 2, half), *range(half + half // 2, _HEAD)]
    directions = torch.linalg.qr(torch.randn(_CHANNEL, _CHANNEL))[0][: len(slow)]
    for weight, columns in (
        (attention.q_proj.weight, read),
        (attention.k_proj.weight, _channel(0)),
    ):
        rows = torch.zeros(_HEAD, weight.shape[1])
        rows[slow, columns] = strength * directions
        weight[_rows(head)] = rows


def _copy(attention: Any, head: int, read: slice, to: slice, strength: float) -> None:  # noqa: ANN401
    """Let a head copy one channel of what it looks at into another."""
    import torch

    value: Tensor = torch.zeros(_HEAD, attention.v_proj.weight.shape[1])
    value[:_CHANNEL, read] = torch.eye(_CHANNEL)
    attention.v_proj.weight[_rows(head)] = value
    written: Tensor = torch.zeros(attention.o_proj.weight.shape[0], _HEAD)
    written[to, :_CHANNEL] = torch.eye(_CHANNEL) * strength
    attention.o_proj.weight[:, _rows(head)] = written
