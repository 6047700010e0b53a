"""The folder of a trained UniMP: safetensors, and a record that refuses what does not fit.

Beside the weights it holds base model and revision, encoder, label space, prompt version, sizes and
the resolved configuration, as the folders of adapters do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from safetensors import SafetensorError

from visuallens import __version__, registry
from visuallens.config import BackboneSettings
from visuallens.errors import AdapterError, BackboneError
from visuallens.models.backbones.adapters import Lora
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.label_space import LabelSpace
from visuallens.models.unimp import UniMP, UniMPShape, build_unimp
from visuallens.prompts import PROMPT_VERSION, Style

if TYPE_CHECKING:
    from torch import nn

RECORD_FILE, WEIGHTS_FILE = "unimp.json", "unimp.safetensors"

_VERSION = 1
_ADVICE = "Load the language model and the encoder that it was trained on, or train it again."


def save_unimp(model: UniMP, folder: Path, config: Mapping[str, object]) -> None:
    """Write what was trained, and what it was trained on.

    Args:
        model: trained.
        folder: made when missing.
        config: resolved settings of the training, for the record.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = _trained(model.network)
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    settings = model.language.settings
    record = {
        "version": _VERSION,
        "visuallens": __version__,
        "family": model.language.name,
        "model": settings.model,
        "revision": settings.revision,
        "base": model.language.parts.source.id,
        "encoder": model.encoder,
        "prompts": PROMPT_VERSION,
        "style": model.style,
        "labels": model.label_space().to_record(),
        "shape": asdict(model.shape),
        "config": dict(config),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def load_unimp(language: LocalBackbone, folder: Path, encoder: str | None = None) -> UniMP:
    """Load a trained UniMP into its language model.

    Args:
        language: of the base model that it was trained on.
        folder: that `save_unimp` wrote.
        encoder: id of what embeds the photos here; None: it is not checked.

    Returns:
        The model, in evaluation mode.

    Raises:
        AdapterError: it is none, or damaged; base model, encoder, prompts, tokenizer or labels
            differ; or the backbone has an adapter already.
        MissingPackageError: it has LoRA and PEFT is not installed.
    """
    import torch
    from safetensors.torch import load_file

    record = _Record.read(folder)
    # By revision alone: what a folder is called here is no part of what it is.
    base, here = (one.rpartition("@")[2] for one in (record.base, language.parts.source.id))
    _same(language.id, folder, "base model", base, here)
    _same(language.id, folder, "prompt version", record.prompts, PROMPT_VERSION)
    if record.style not in get_args(Style):
        problem = f"its prompt style {record.style!r} is unknown"
        raise AdapterError(language.id, folder, problem, _ADVICE)
    _same(language.id, folder, "encoder", record.encoder, encoder or record.encoder)
    file = folder / WEIGHTS_FILE
    try:
        loaded = load_file(file)
        digest = sha256(file.read_bytes()).hexdigest()[:12]
    except (OSError, SafetensorError) as error:
        problem = f"{WEIGHTS_FILE} is missing or damaged ({error})"
        raise AdapterError(language.id, folder, problem, "Copy it again.") from error
    made = build_unimp(
        language, record.shape, record.labels.kind, record.style, encoder=record.encoder
    )
    _same(language.id, folder, "labels", record.labels, made.label_space())
    weights = _trained(made.network)
    found = {name: tuple(tensor.shape) for name, tensor in loaded.items()}
    expected = {name: tuple(weight.shape) for name, weight in weights.items()}
    if found != expected:
        some = ", ".join(sorted(name for name, _ in found.items() ^ expected.items())[:3])
        problem = f"its tensors are not those of this model ({some}, ...)"
        raise AdapterError(language.id, folder, problem, _ADVICE)
    with torch.no_grad():
        for name, tensor in loaded.items():
            weights[name].copy_(tensor)
    language.adapter = f"unimp-{digest}"
    return made


def unimp(settings: BackboneSettings) -> UniMP:
    """Open a trained UniMP as a backbone; this is what is registered.

    Args:
        settings: `adapter` names its folder; `model` is only needed where the language model is
            not where it was in training.

    Returns:
        The model, to be shown photos.

    Raises:
        BackboneError: no folder is named, or its language model cannot be opened.
        AdapterError: it does not fit.
    """
    if settings.adapter is None:
        advice = "Name the folder 'model' of a run of `visuallens train unimp`: --adapter FOLDER"
        raise BackboneError("unimp", f"it has to be trained first. {advice}")
    record = _Record.read(settings.adapter)
    of_base = {"name": record.family, "adapter": None}
    if settings.model is None:
        of_base |= {"model": record.model, "revision": record.revision}
    plain = settings.model_copy(update=of_base)
    return load_unimp(registry.load("backbones", record.family)(plain), settings.adapter)


@dataclass(frozen=True, slots=True)
class _Record:
    """What a folder of a trained UniMP says about itself."""

    family: str
    model: str | None
    revision: str | None
    base: str
    encoder: str
    prompts: str
    style: Style
    labels: LabelSpace
    shape: UniMPShape

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the record of a folder.

        Args:
            folder: that `save_unimp` wrote.

        Returns:
            The record.

        Raises:
            AdapterError: there is none, or it is of a newer version.
        """
        try:
            record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
            if int(record["version"]) > _VERSION:
                problem = f"it has version {record['version']}, this VisualLens reads {_VERSION}"
                raise AdapterError("unimp", folder, problem, "Upgrade VisualLens.")
            lora = record["shape"].pop("lora")
            shape = UniMPShape(**record["shape"], lora=Lora(**lora) if lora else None)
            kept = ("family", "model", "revision", "base", "encoder", "prompts", "style")
            labels = LabelSpace.from_record(record["labels"])
            return cls(**{name: record[name] for name in kept}, labels=labels, shape=shape)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{RECORD_FILE} is missing or unreadable ({error})"
            advice = "Name the folder 'model' of a run of: visuallens train unimp"
            raise AdapterError("unimp", folder, problem, advice) from error


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}


# Any: values of many kinds, compared and shown.
def _same(backbone: str, folder: Path, what: str, trained_with: Any, found_here: Any) -> None:  # noqa: ANN401
    if trained_with != found_here:
        if isinstance(trained_with, LabelSpace):
            trained_with, found_here = trained_with.tokenizer[:12], found_here.tokenizer[:12]
        problem = f"it was trained with the {what} {trained_with!r}, here it is {found_here!r}"
        raise AdapterError(backbone, folder, problem, _ADVICE)
