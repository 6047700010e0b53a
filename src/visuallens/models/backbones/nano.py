"""`nano`: our own small multimodal language model, from weights inside Python packages.

EfficientNet-Lite2 → projector → SmolLM2-135M-Instruct. It makes the whole method, training
included, real on a machine without GPU or network. Fresh from the packages its projector and label
tokens are untrained: its answers are labelled so.

Source: §4.2 and §5, with other weights than the paper's.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from visuallens.config import BackboneSettings
from visuallens.errors import BackboneError
from visuallens.models.backbones.digests import file_digest
from visuallens.models.backbones.family import (
    Checkpoint,
    Family,
    Inputs,
    Parts,
    Source,
    pad_left,
    render_chat,
)
from visuallens.models.backbones.loading import find_source, load_weights
from visuallens.models.backbones.opening import Opener
from visuallens.models.base import PromptImage
from visuallens.models.labels import imagenet_labels
from visuallens.models.runtime import cache_folder
from visuallens.models.weights import efficientnet_file, smollm2_file
from visuallens.prompts import image_mark

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

IMAGE_TOKEN = "<image>"  # noqa: S105 - not a secret

_LAYOUT = "2"
"""Changes whenever the prepared folder would."""


class Nano:
    """See `Family`."""

    name = "nano"
    checkpoints = (Checkpoint("packaged", 0.14e9, "Apache-2.0", 260, 8_192),)
    sees = True
    keeps_prefix = True
    lora_targets = r"model\.layers\..*\.(q|k|v|o|gate|up|down)_proj"
    trained_with_lora = ("projector",)

    def load(self, source: Source, dtype: torch.dtype) -> Parts:
        """See `Family.load`."""
        from transformers import PreTrainedTokenizerFast

        from visuallens.models.backbones import prefix_attention
        from visuallens.models.backbones.nano_model import NanoForConditionalGeneration
        from visuallens.models.backbones.nano_vision import NanoVision

        tokenizer = PreTrainedTokenizerFast.from_pretrained(source.folder)
        model = load_weights(
            NanoForConditionalGeneration,
            source,
            dtype,
            model_types=(NanoForConditionalGeneration.config_class.model_type,),
            attn_implementation=prefix_attention.NAME,
        )
        return Parts(source, model, tokenizer, NanoVision(), model.config.image_token_id)

    def encode(
        self, parts: Parts, images: Sequence[PromptImage | None], prompts: Sequence[str]
    ) -> Inputs:
        """See `Family.encode`; `image_features` is (image tokens, 1280) float32."""
        import torch

        rows = [
            self._ids(parts, image, prompt) for image, prompt in zip(images, prompts, strict=True)
        ]
        inputs = pad_left(rows, pad_id=0)
        shown = [image for image in images if image is not None]
        if shown:
            inputs["image_features"] = torch.from_numpy(parts.image_processor(shown))
        return inputs

    def training_inputs(self, parts: Parts, inputs: Inputs) -> Inputs:
        """See `Family.training_inputs`; nothing is needed."""
        del parts
        return inputs

    def answer_start(self, parts: Parts) -> str:
        """See `Family.answer_start`."""
        return render_chat(parts.tokenizer, "Answer:")

    def _ids(self, parts: Parts, image: PromptImage | None, prompt: str) -> list[int]:
        before, pieces = "", 0
        if image is not None:
            cells, of_cell = parts.image_processor.layout(image)
            before, pieces = _shown(cells, of_cell), cells * of_cell
        rendered = render_chat(parts.tokenizer, before + prompt)
        ids: list[int] = parts.tokenizer.encode(rendered, add_special_tokens=False)
        if ids.count(parts.image_token_id or -1) != pieces:
            raise BackboneError(self.name, f"a prompt must not contain {IMAGE_TOKEN}.")
        return ids


def _shown(cells: int, pieces: int) -> str:
    """Write an image of some cells, each of some pieces, as it stands before the prompt.

    Choice: each cell of a grid has its number before its pieces, for the vision network reads no
        digits; worded as in captions and answers, so that the language model finds a cell as it
        finds any word that was there before. The number alone would make an 8 x 8 grid 247 tokens
        instead of 439, but after as much training far fewer cells are found by it.
    """
    shown = IMAGE_TOKEN * pieces
    if cells == 1:
        return f"{shown}\n"
    return "".join(f"{image_mark(number)}{shown}\n" for number in range(1, cells + 1))


def find(family: Family, settings: BackboneSettings) -> Source:
    """Find the packaged weights, or a folder such as a merged model."""
    return find_source(family, settings) if settings.model else packaged()


def packaged() -> Source:
    """Prepare the packaged weights once, and find them afterwards.

    Returns:
        A folder in the cache, with safetensors.

    Raises:
        MissingPackageError: the weights' package is not installed.
        WeightsMissingError: it holds another file.

    Choice: reading the GGUF file takes fifteen seconds, reading what was prepared a tenth of one.
    """
    file = smollm2_file()
    key = file_digest(file, _LAYOUT)
    folder = cache_folder() / f"nano-{key}"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            logger.info("Preparing nano for this machine; only the first run does this.")
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped
            prepare(file, partial)
            partial.rename(folder)
    return Source(folder, f"nano@{key}", Nano.checkpoints[0])


def prepare(file: Path, folder: Path) -> None:
    """Turn the GGUF file into a model folder, with image and label tokens and a projector.

    Args:
        file: of SmolLM2-135M-Instruct.
        folder: is written.
    """
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name, trust_remote_code=False
    )
    with torch.inference_mode():
        language = LlamaForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
    build(language.config.to_dict(), language.state_dict(), tokenizer, folder)


# Any: configuration values, and a Hugging Face tokenizer.
def build(
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    tokenizer: Any,  # noqa: ANN401
    folder: Path,
) -> None:
    """Write a model folder from a Llama's parts.

    Args:
        config: of the language model.
        weights: its state.
        tokenizer: gets the image token and the label tokens.
        folder: is written.
    """
    from tokenizers import AddedToken

    from visuallens.models.backbones.adapters import add_label_tokens
    from visuallens.models.backbones.nano_model import (
        NanoConfig,
        NanoForConditionalGeneration,
        initialise,
    )
    from visuallens.models.efficientnet import load_efficientnet

    token = AddedToken(IMAGE_TOKEN, special=True, normalized=False)
    tokenizer.add_tokens([token], special_tokens=True)
    kept = {
        name: value
        for name, value in config.items()
        if name not in ("quantization_config", "architectures", "model_type", "_name_or_path")
    }
    nano = NanoConfig(**kept, image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    model = NanoForConditionalGeneration(nano)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or any(not name.startswith("projector.") for name in missing):
        raise BackboneError("nano", f"its weight file is not SmolLM2's: {unexpected or missing}.")
    vision = load_efficientnet(efficientnet_file()).state_dict()
    names = _name_embeddings(model, tokenizer)
    initialise(model, vision["_fc.weight"], vision["_fc.bias"], names)
    add_label_tokens(Parts(Source(folder, "nano", Nano.checkpoints[0]), model, tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# Any: Hugging Face's models and tokenizers.
def _name_embeddings(model: Any, tokenizer: Any) -> torch.Tensor:  # noqa: ANN401
    """Embed the name of each class, (classes, hidden): the mean of its tokens' embeddings."""
    import torch

    words = model.get_input_embeddings().weight.detach()
    rows = [
        words[tokenizer.encode(f" {label.name}", add_special_tokens=False)].mean(dim=0)
        for label in imagenet_labels()
    ]
    return torch.stack(rows)


nano = Opener(Nano(), find)
"""What is registered."""
