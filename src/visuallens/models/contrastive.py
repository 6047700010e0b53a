"""Contrastive encoders from the hub: photos and texts meet in one space that both were trained for.

Source: §4.1, image encoding, CLIP ViT-L/14@336px (Radford et al. 2021). SigLIP 2 (Tschannen et al.
2025) takes its place in the preset `local`.
Source: https://huggingface.co/docs/transformers/model_doc/clip and .../siglip2: pixels by the image
processor that comes with the weights. Texts: CLIP reads 77 tokens; SigLIP 2 reads lower case,
always padded to 64 tokens, and its padding is read too, since it was trained without a mask.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from PIL import Image

from visuallens.config import EncoderSettings, Settings
from visuallens.errors import BackboneError, WeightsMissingError
from visuallens.models.backbones.family import Checkpoint, Source
from visuallens.models.backbones.loading import find_source, pick_device, pick_dtype
from visuallens.models.base import PhotoReadings
from visuallens.models.labels import imagenet_labels
from visuallens.models.minilm import MiniLM
from visuallens.models.runtime import Runtime, cache_folder
from visuallens.types import FloatArray, PhotoMetadata

if TYPE_CHECKING:
    import torch
    from tokenizers import Encoding, Tokenizer

CATEGORY_TEXT = "a photo of a {}"

_UNRELATED_STEP = 4
_BATCH = 16
_MOST_KNOWN = 50_000


@dataclass(frozen=True, slots=True)
class DualEncoder:
    """What is particular to one family of encoders.

    Attributes:
        name: as registered.
        checkpoints: known weights, the default first.
        model_type: of the configuration that comes with its weights.
        text_tokens: longest text; what exceeds it is not read.
        pad_token: fills shorter texts.
        always_full: texts are lower case and padded to `text_tokens`, without a mask.
    """

    name: str
    checkpoints: tuple[Checkpoint, ...]
    model_type: str
    text_tokens: int
    pad_token: str
    always_full: bool

    def load_model(self, folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
        """Load model and image processor from a folder, from safetensors alone.

        Args:
            folder: of the weights.
            dtype: of the weights.

        Returns:
            Both; Any, as Hugging Face's classes are used through a few methods.

        Raises:
            OSError: a file is missing or incomplete.
        """
        import transformers as hub

        classes: dict[str, tuple[Any, Any]] = {
            "clip": (hub.CLIPModel, hub.CLIPImageProcessorPil),
            "siglip": (hub.SiglipModel, hub.SiglipImageProcessorPil),
        }
        model_class, processor_class = classes[self.model_type]
        model, report = model_class.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:
            raise OSError(f"there are no weights for {', '.join(sorted(report['missing_keys']))}")
        return model, processor_class.from_pretrained(folder)

    def load_tokenizer(self, folder: Path) -> Tokenizer:
        """Load the tokenizer, set to cut and to pad as the family does.

        Args:
            folder: of the weights.

        Returns:
            The tokenizer. Choice: `tokenizer.json` as it is, with its own start and end tokens; the
            class that the published SigLIP 2 folders name is another model's and changes neither
            case nor length.

        Raises:
            OSError: there is none, or it has no token to pad with.
        """
        from tokenizers import Tokenizer

        file = folder / "tokenizer.json"
        if not file.is_file():
            raise OSError(f"there is no {file.name}")
        tokenizer = Tokenizer.from_file(str(file))
        pad_id = tokenizer.token_to_id(self.pad_token)
        if pad_id is None:
            raise OSError(f"its tokenizer has no {self.pad_token}")
        tokenizer.enable_truncation(self.text_tokens)
        tokenizer.enable_padding(
            direction="right",
            pad_id=pad_id,
            pad_token=self.pad_token,
            length=self.text_tokens if self.always_full else None,
        )
        return tokenizer

    def text_inputs(self, encodings: Sequence[Encoding]) -> dict[str, torch.Tensor]:
        """Turn encoded texts into arguments of the model, each (texts, tokens) int64."""
        import torch

        inputs = {"input_ids": torch.tensor([encoding.ids for encoding in encodings])}
        if not self.always_full:
            masks = [encoding.attention_mask for encoding in encodings]
            inputs["attention_mask"] = torch.tensor(masks)
        return inputs


@dataclass(frozen=True, slots=True)
class _Parts:
    """A loaded encoder."""

    model: Any  # Any: Hugging Face's classes
    processor: Any
    tokenizer: Tokenizer
    device: torch.device
    dtype: torch.dtype

    @property
    def dim(self) -> int:
        config = self.model.config
        of_clip = config.model_type == "clip"
        return int(config.projection_dim if of_clip else config.vision_config.hidden_size)


class ContrastiveModel:
    """Embeds photos and texts with a dual encoder; it describes nothing.

    It is a `PhotoModel` and an `ImageEncoder`.

    Args:
        family: CLIP or SigLIP 2.
        settings: weights, device, number format.
        runtime: of the sentence encoder, which serves questions.
    """

    prompt_version = "none"
    encodes = True
    describes = False

    def __init__(
        self,
        family: DualEncoder,
        settings: EncoderSettings | None = None,
        *,
        runtime: Runtime = "openvino",
    ) -> None:
        self._family = family
        self._settings = settings or EncoderSettings()
        self._known: dict[str, FloatArray] = {}
        self.sentences = MiniLM(runtime)

    @property
    def id(self) -> str:
        """`model@revision`."""
        return self._source.id

    @property
    def input_side_px(self) -> int:
        """Side of the square that the model reads."""
        return int(self._parts.model.config.vision_config.image_size)

    def load(self) -> None:
        """See `PhotoModel.load`."""
        self.encode_texts(["a photo"])
        self.sentences.encode_texts(["a photo"])

    def prepare(self, image: Image.Image) -> FloatArray:
        """See `PhotoReader.prepare`.

        Args:
            image: RGB, upright.

        Returns:
            (3, side, side) float32, scaled as the weights were trained: CLIP's centre cut out,
            SigLIP 2's whole photo squeezed to a square.
        """
        prepared = self._parts.processor(image, return_tensors="np")["pixel_values"][0]
        return np.asarray(prepared, dtype=np.float32)

    def read(
        self, inputs: Sequence[FloatArray], metadata: Sequence[PhotoMetadata]
    ) -> PhotoReadings:
        """See `PhotoReader.read`; there are no descriptions."""
        del metadata
        return PhotoReadings(self._embed(inputs), None)

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        """See `ImageEncoder.encode_images`."""
        rows = [np.zeros((0, self._parts.dim), np.float32)]
        for start in range(0, len(images), _BATCH):
            some = images[start : start + _BATCH]
            rows.append(self._embed([self.prepare(image) for image in some]))
        return np.concatenate(rows)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `TextEncoder.encode_texts`; a text is read once while the process lives."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        unknown = sorted(set(texts).difference(self._known), key=len)
        for start in range(0, len(unknown), _BATCH):
            batch = unknown[start : start + _BATCH]
            self._known.update(zip(batch, self._encode_batch(batch), strict=True))
        rows = [self._known[text] for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self._parts.dim), np.float32)

    def encode_categories(self, categories: Sequence[str]) -> FloatArray:
        """See `PhotoModel.encode_categories`.

        Choice: "a photo of a ...", the phrasing with which CLIP was evaluated (Radford et al. 2021,
            §3.1.4), for both families.
        """
        return self.encode_texts([CATEGORY_TEXT.format(category) for category in categories])

    @cached_property
    def unrelated(self) -> FloatArray:
        """See `PhotoModel.unrelated`: every fourth ImageNet class, as if it were asked for.

        It is the same for every library, so it is computed once and cached.
        """
        from safetensors.numpy import load_file, save_file

        things = [label.name for label in imagenet_labels()[::_UNRELATED_STEP]]
        made_from = repr((things, CATEGORY_TEXT, self.id, str(self._parts.dtype)))
        name = f"unrelated-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
        path = cache_folder() / f"{name}.safetensors"
        with FileLock(cache_folder() / f"{name}.lock"):
            if not path.exists():
                partial = path.with_suffix(".partial")
                save_file({"unrelated": self.encode_categories(things)}, partial)
                partial.replace(path)
        rows: FloatArray = load_file(path)["unrelated"]
        return rows

    @cached_property
    def _source(self) -> Source:
        return find_source(self._family, self._settings)

    @cached_property
    def _parts(self) -> _Parts:
        from safetensors import SafetensorError
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        family, folder = self._family, self._source.folder
        device = pick_device(family.name, self._settings.device)
        dtype = pick_dtype(self._settings.dtype, device)
        try:
            _check_type(family, folder)
            tokenizer = family.load_tokenizer(folder)
            model, processor = family.load_model(folder, dtype)
        except (OSError, ValueError, SafetensorError) as error:
            problem = f"{folder} is incomplete: {error}"
            advice = f"Fetch it again with: visuallens models pull {family.name}"
            raise WeightsMissingError(self.id, problem, advice) from error
        return _Parts(model.to(device).eval(), processor, tokenizer, device, dtype)

    def _embed(self, inputs: Sequence[FloatArray]) -> FloatArray:
        import torch

        pixels = torch.from_numpy(np.stack(inputs)).to(self._parts.device, self._parts.dtype)
        with torch.inference_mode():
            found = self._parts.model.get_image_features(pixel_values=pixels).pooler_output
        return _unit_length(found)

    def _encode_batch(self, texts: Sequence[str]) -> FloatArray:
        import torch

        lower = self._family.always_full
        written = [text.lower() if lower else text for text in texts]
        inputs = self._family.text_inputs(self._parts.tokenizer.encode_batch(written))
        inputs = {name: tensor.to(self._parts.device) for name, tensor in inputs.items()}
        with torch.inference_mode():
            found = self._parts.model.get_text_features(**inputs).pooler_output
        return _unit_length(found)


def _check_type(family: DualEncoder, folder: Path) -> None:
    """Refuse weights of another architecture, whose tensors would be left random."""
    file = folder / "config.json"
    found = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    if found != family.model_type:
        raise BackboneError(
            family.name,
            f"the weights in {folder} are of type {found!r}, not {family.model_type!r}. Name "
            "others with --set encoder.model=MODEL, or another encoder: --set index.model=NAME.",
        )


def _unit_length(found: torch.Tensor) -> FloatArray:
    import torch

    rows = torch.nn.functional.normalize(found.float(), dim=1)
    return np.asarray(rows.cpu().numpy(), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Opener:
    """What is registered for an encoder: call it with the settings to make the model.

    Attributes:
        family: knows its weights, without loading anything.
    """

    family: DualEncoder

    def __call__(self, settings: Settings) -> ContrastiveModel:
        """Make the model that `encoder` and `embedded.runtime` describe; loaded when first used."""
        runtime = settings.embedded.runtime
        return ContrastiveModel(self.family, settings.encoder, runtime=runtime)


clip = Opener(
    DualEncoder(
        "clip",
        (Checkpoint("openai/clip-vit-large-patch14-336", 0.43e9, "MIT", 336, 77),),
        model_type="clip",
        text_tokens=77,
        pad_token="<|endoftext|>",  # noqa: S106 - not a secret
        always_full=False,
    )
)
"""What is registered; the paper's."""

siglip2 = Opener(
    DualEncoder(
        "siglip2",
        (Checkpoint("google/siglip2-base-patch16-256", 0.38e9, "Apache-2.0", 256, 64),),
        model_type="siglip",
        text_tokens=64,
        pad_token="<pad>",  # noqa: S106 - not a secret
        always_full=True,
    )
)
"""What is registered; the editions of one resolution, whose architecture is SigLIP's."""
