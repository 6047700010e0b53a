"""MiniCPM-V: the paper's second backbone (2.5), and its small successors (4.6 and 4.7).

The successors are part of transformers. Version 2.5 runs code that comes with its weights, which
the user must allow at one revision.

Source: §5.2 and Tables 1, 5 and 6 (MiniCPM-V2.5, 8B). Layout of prompts and images: transformers,
processing_minicpmv4_6.py, and the published files of openbmb/MiniCPM-V-4.6 and
openbmb/MiniCPM-Llama3-V-2_5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from visuallens.errors import BackboneError, MissingPackageError, RemoteCodeError
from visuallens.models.backbones.family import (
    Checkpoint,
    Inputs,
    Parts,
    Source,
    pad_left,
    refuse_thinking,
    render_chat,
)
from visuallens.models.backbones.loading import load_weights, read_model_type
from visuallens.models.backbones.minicpm_v_slices import Slicer, Slices
from visuallens.models.backbones.opening import Opener
from visuallens.models.base import PromptImage

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_APACHE = "Apache-2.0"
_MODEL_LICENCE = "MiniCPM Model License"

_LACKING = re.compile(r"not found in your environment: ([\w-]+)")
"""In what transformers says of code whose packages are not installed."""

_ANY_LAYER = r"\.layers\.\d+\.(self_attn|linear_attn|mlp)"
_PROJECTION = r"(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|in_proj_\w+|out_proj)"


class MiniCPMV:
    """See `Family`: MiniCPM-V 4.6 and 4.7.

    Choice: prefixes are not kept, because three of four layers have a running state instead of keys
        and values, and a state cannot be cut back to where two prompts part.
    Choice: images are compressed sixteen times, as the checkpoints are configured; an overview and
        2 x 2 slices of a grid of 896 px take 320 tokens.
    """

    name = "minicpm-v"
    checkpoints = (
        Checkpoint("openbmb/MiniCPM-V-4.6", 1.3e9, _APACHE, 896, 16_384),
        Checkpoint("openbmb/MiniCPM-V-4.7-1B", 1.55e9, _APACHE, 896, 16_384),
    )
    sees = True
    keeps_prefix = False
    lora_targets = rf".*\.language_model{_ANY_LAYER}\.{_PROJECTION}"
    trained_with_lora: tuple[str, ...] = ()

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """See `Family.load`."""
        import transformers
        from transformers import AutoTokenizer, MiniCPMV4_6ImageProcessorPil

        from visuallens.models.backbones.minicpm_v_model import MiniCPMV4_6ForConditionalGeneration

        classes: dict[str, Any] = {  # Any: their loading differs by class
            "minicpmv4_6": MiniCPMV4_6ForConditionalGeneration,
            "minicpmv4_7": transformers.MiniCPMV4_7ForConditionalGeneration,
        }
        kind = read_model_type(source, tuple(classes))
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
        rendered = render_chat(tokenizer, "hello", image=True)
        refuse_thinking(source.id.partition("@")[0], rendered)
        if rendered.count(tokenizer.image_token) != 1:
            raise BackboneError(source.id, "its chat template has no place for an image.")
        model = load_weights(classes[kind], source, dtype)
        processor = MiniCPMV4_6ImageProcessorPil.from_pretrained(source.folder)
        return Parts(source, model, tokenizer, processor, model.config.image_token_id)

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """See `Family.encode`; the image comes before the text and a new line between them.

        Images give `pixel_values` (1, 3, patch side, columns) float32 and `target_sizes` (slices,
        2) int32, rows and columns of patches; 4.7 also `position_ids` (3, prompts, tokens) int64.
        """
        shown = [image.image for image in images if image is not None]
        looks: Inputs = {}
        texts = [""] * len(prompts)
        if shown:
            seen = parts.image_processor(
                shown, downsample_mode=parts.model.config.downsample_mode, return_tensors="pt"
            )
            looks = {name: seen[name] for name in ("pixel_values", "target_sizes")}
            texts = list(_image_texts(parts, seen))
        rows = [self._ids(parts, *pair) for pair in zip(texts, prompts, strict=True)]
        return self.training_inputs(parts, {**pad_left(rows, pad_id=0), **looks})

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """See `Family.training_inputs`; positions are computed for the text as it is now.

        Choice: 4.7 would remember how far the last image moved its positions and apply that to
            whatever it reads next, so they are handed over. 4.6 counts tokens alone.
        """
        rope = next((m for m in parts.model.modules() if hasattr(m, "get_rope_index")), None)
        if rope is None:
            return inputs
        positions, _ = rope.get_rope_index(
            inputs["input_ids"],
            inputs["input_ids"].eq(parts.image_token_id or 0).int(),
            target_sizes=inputs.get("target_sizes"),
            attention_mask=inputs["attention_mask"],
        )
        return {**inputs, "position_ids": positions}

    def answer_start(self, parts: Parts) -> str:
        """See `Family.answer_start`."""
        return render_chat(parts.tokenizer, "Answer:")

    def _ids(self, parts: Parts, image_text: str, prompt: str) -> list[int]:
        tokenizer = parts.tokenizer
        rendered = render_chat(tokenizer, prompt, image=bool(image_text))
        if image_text:
            rendered = rendered.replace(tokenizer.image_token, image_text, 1)
        return _checked(self.name, tokenizer, rendered, image_text, _markers(tokenizer))


class MiniCPMV25:
    """See `Family`: MiniCPM-Llama3-V 2.5, the paper's.

    Choice: an image takes 96 tokens for its overview and 96 for each of up to nine slices; a grid
        of 896 px is an overview and 2 x 2 slices, 480 tokens.
    """

    name = "minicpm-v-2.5"
    checkpoints = (
        Checkpoint(
            "openbmb/MiniCPM-Llama3-V-2_5", 8.54e9, _MODEL_LICENCE, 980, 8_192, remote_code=True
        ),
    )
    sees = True
    keeps_prefix = True
    lora_targets = rf".*\.llm\.model{_ANY_LAYER}\.{_PROJECTION}"
    trained_with_lora: tuple[str, ...] = ()

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """See `Family.load`; the code that comes with the weights may need further packages."""
        from transformers import AutoTokenizer

        from visuallens.models.backbones.minicpm_v_model import RemoteMiniCPMV, load_remote

        _refuse_foreign_code(source)
        allowed = source.trust_remote_code
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=allowed)
            remote = load_remote(source, dtype)
        except ImportError as error:
            missing = _LACKING.search(str(error))
            package = missing[1] if missing else error.name or "torchvision"
            purpose = f"The code that comes with {source.id}"
            raise MissingPackageError(package, purpose, f"pip install {package}") from error
        stops = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|eot_id|>")]
        model = RemoteMiniCPMV(remote, [stop for stop in stops if stop is not None], source.folder)
        image_token = int(tokenizer.vocab[tokenizer.unk_token])
        return Parts(source, model, tokenizer, _slicer(source), image_token)

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """See `Family.encode`; the image comes before the text and a new line between them.

        Every slice has the markers of an image of its own, and all slices stand between markers of
        slices. Images give `pixel_values` (3, patch side, columns) float32, all patches of all
        slices side by side; `tgt_sizes` (slices, 2) int32, rows and columns of patches;
        `image_bound` (slices, 3) int64: prompt, first token, one past the last.
        """
        import numpy as np
        import torch

        cut = [parts.image_processor.cut(image.image) for image in images if image is not None]
        queries = int(parts.model.config.query_num)
        texts = [_slice_text(one, parts.tokenizer.unk_token, queries) for one in cut]
        rows = [
            self._ids(parts, text, prompt)
            for text, prompt in zip(texts or [""] * len(prompts), prompts, strict=True)
        ]
        inputs = pad_left(rows, pad_id=0)
        if cut:
            patches = np.concatenate([patch for one in cut for patch in one.patches], axis=-1)
            sizes = [size for one in cut for size in one.sizes]
            inputs["pixel_values"] = torch.from_numpy(patches)
            inputs["tgt_sizes"] = torch.tensor(sizes, dtype=torch.int32)
            inputs["image_bound"] = _bounds(parts.tokenizer, inputs)
        return inputs

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """See `Family.training_inputs`; nothing is needed."""
        del parts
        return inputs

    def answer_start(self, parts: Parts) -> str:
        """See `Family.answer_start`."""
        return render_chat(parts.tokenizer, "Answer:")

    def _ids(self, parts: Parts, image_text: str, prompt: str) -> list[int]:
        tokenizer = parts.tokenizer
        rendered = render_chat(tokenizer, f"{image_text}\n{prompt}" if image_text else prompt)
        markers = ("<image>", "</image>", "<slice>", "</slice>", tokenizer.unk_token)
        return _checked(self.name, tokenizer, rendered, image_text, markers)


def _refuse_foreign_code(source: Source) -> None:
    """Refuse code that is named as OTHER/REPOSITORY--file.Class: nobody pinned that repository."""
    for file in sorted(source.folder.glob("*config*.json")):
        named = json.loads(file.read_text(encoding="utf-8")).get("auto_map") or {}
        foreign = re.findall(r'"([^"]+)--', json.dumps(named))
        if foreign:
            problem = f"{file.name} takes code from another repository, {foreign[0]}, unpinned"
            raise RemoteCodeError(source.id, problem)


# Any, here and below: Hugging Face tokenizers and what its processors give.
def _checked(
    backbone: str,
    tokenizer: Any,  # noqa: ANN401
    rendered: str,
    image_text: str,
    markers: Sequence[str],
) -> list[int]:
    """Encode a prompt, and refuse one whose text would be read as an image."""
    ids: list[int] = tokenizer.encode(rendered, add_special_tokens=False)
    own = set(tokenizer.convert_tokens_to_ids(list(markers)))
    expected = tokenizer.encode(image_text, add_special_tokens=False)
    if [token for token in ids if token in own] != [token for token in expected if token in own]:
        raise BackboneError(backbone, f"a prompt must not contain any of {tuple(markers)}.")
    return ids


def _markers(tokenizer: Any) -> tuple[str, ...]:  # noqa: ANN401
    return (
        tokenizer.image_token,
        tokenizer.video_token,
        tokenizer.image_start_token,
        tokenizer.image_end_token,
        tokenizer.slice_start_token,
        tokenizer.slice_end_token,
        tokenizer.image_id_start_token,
        tokenizer.image_id_end_token,
    )


def _image_texts(parts: Parts, seen: Mapping[str, Any]) -> Iterator[str]:
    """Write what stands for each image: its number, its overview, its slices row by row.

    Source: transformers, processing_minicpmv4_6.py, `replace_image_token`.
    """
    words, processor = parts.tokenizer, parts.image_processor
    merged = 4 if parts.model.config.downsample_mode == "4x" else 16
    counts = [int(size.prod()) // merged for size in seen["target_sizes"]]
    number = f"{words.image_id_start_token}0{words.image_id_end_token}"
    start = 0
    for slices, (rows, columns) in zip(seen["num_patches_per_image"], seen["grids"], strict=True):
        overview, *rest = counts[start : start + slices]
        start += slices
        tiles = [
            f"{words.slice_start_token}{words.image_token * count}{words.slice_end_token}"
            for count in rest
        ]
        lines = ["".join(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]
        whole = f"{words.image_start_token}{words.image_token * overview}{words.image_end_token}"
        yield (number if processor.use_image_id else "") + whole + "\n".join(lines)


def _slicer(source: Source) -> Slicer:
    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    wanted = config.get("slice_config") or {}
    return Slicer(
        int(wanted.get("max_slice_nums", 9)) if config.get("slice_mode", True) else 1,
        int(wanted.get("scale_resolution", 448)),
        int(config.get("patch_size", 14)),
    )


def _slice_text(slices: Slices, token: str, queries: int) -> str:
    one = f"<image>{token * queries}</image>"
    if slices.grid is None:
        return one
    rows, columns = slices.grid
    return one + "<slice>" + "\n".join([one * columns] * rows) + "</slice>"


def _bounds(tokenizer: Any, inputs: Inputs) -> Tensor:  # noqa: ANN401
    """Find the tokens between the markers of images: (slices, 3) prompt, first, one past last."""
    import torch

    start, end = tokenizer.convert_tokens_to_ids(["<image>", "</image>"])
    starts = torch.nonzero(inputs["input_ids"] == start)
    ends = torch.nonzero(inputs["input_ids"] == end)
    return torch.cat([starts[:, :1], starts[:, 1:] + 1, ends[:, 1:]], dim=1)


minicpm_v = Opener(MiniCPMV())
minicpm_v_2_5 = Opener(MiniCPMV25())
"""What is registered; `minicpm_v_2_5` needs `allow_remote_code` and a pinned `revision`."""
