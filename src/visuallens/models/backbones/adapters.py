"""Adapters: LoRA weights with the label space that they were trained with.

An adapter folder holds PEFT safetensors and `visuallens.json`: base model and revision, label
space, digest of the tokenizer, prompt version, resolved configuration. Loading refuses whatever
does not fit, because a wrong label space answers fluently and wrongly.

Source: §5, LoRA finetuning; Tables 5 and 6, ranks 16 and 64; appendix D, label tokens.
Choice: the new rows of label tokens are trained by PEFT's `trainable_token_indices`, so that an
    adapter holds 100 rows instead of the whole vocabulary.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from safetensors import SafetensorError

from visuallens import __version__
from visuallens.errors import AdapterError, MissingPackageError
from visuallens.models.label_space import (
    NEW_LABELS,
    LabelKind,
    LabelSpace,
    new_tokens,
    tokenizer_hash,
)
from visuallens.prompts import PROMPT_VERSION, Style

if TYPE_CHECKING:
    from visuallens.models.backbones.family import Parts
    from visuallens.models.backbones.local import LocalBackbone

RECORD_FILE = "visuallens.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_VERSION = 1
_ADVICE = "Load the base model that it was trained on, or train it again."


@dataclass(frozen=True, slots=True)
class Lora:
    """Size of an adapter.

    Source: Tables 5 and 6: rank and alpha 16 (PaliGemma) or 64 (MiniCPM-V2.5), dropout 0.1.
    """

    rank: int = 16
    alpha: int = 16
    dropout: float = 0.1


def add_adapter(
    backbone: LocalBackbone, lora: Lora, labels: LabelKind, style: Style = "fenced"
) -> LabelSpace:
    """Put a fresh, trainable adapter into a backbone.

    Args:
        backbone: its model is replaced by one with the adapter.
        lora: its size.
        labels: new tokens are added to the vocabulary first.
        style: of the matching prompts it will be trained with; it is asked in no other.

    Returns:
        The label space to train with.

    Raises:
        MissingPackageError: PEFT is not installed.
        BackboneError: the backbone has no labels of that kind.
        AdapterError: it has an adapter already, or PEFT cannot adapt its layers.

    Choice: all linear layers of the language model are adapted; the paper names none. What is
        trained whole is held in float32, for small steps vanish in bfloat16.
    """
    peft = _peft()
    _refuse_second(backbone, "a new one")
    if labels == "new":
        add_label_tokens(backbone.parts)
    label_space = backbone.label_space(labels)
    family = backbone.family
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=family.lora_targets,
        modules_to_save=list(family.trained_with_lora) or None,
        trainable_token_indices=_trained_rows(backbone.parts.model, label_space),
    )
    try:
        with _quiet():
            model = peft.get_peft_model(backbone.parts.model, config)
    except ValueError as error:
        raise AdapterError(backbone.id, "memory", str(error), "Choose another backbone.") from error
    _in_float32(model)
    backbone.parts.model = model.eval()
    backbone.trained_labels, backbone.style, backbone.adapter = label_space, style, "untrained"
    backbone.forget_prefix()
    return label_space


def save_adapter(backbone: LocalBackbone, folder: Path, config: Mapping[str, object]) -> None:
    """Write the adapter of a backbone.

    Args:
        backbone: with an adapter.
        folder: made when missing.
        config: resolved settings of the training, for the record.

    Raises:
        AdapterError: the backbone has no adapter.
    """
    model, labels = backbone.parts.model, backbone.trained_labels
    if labels is None or not hasattr(model, "peft_config"):
        raise AdapterError(backbone.id, folder, "there is none to save", "Train one first.")
    # Without this PEFT writes the whole embedding of a vocabulary that has grown.
    model.save_pretrained(folder, save_embedding_layers=False)
    _write_record(folder, backbone, labels, config)


def attach_adapter(backbone: LocalBackbone, folder: Path, *, trainable: bool = False) -> None:
    """Load an adapter into a backbone.

    Args:
        backbone: of the base model it was trained on.
        folder: that `save_adapter` wrote.
        trainable: to go on with its training (§5 trains in stages).

    Raises:
        AdapterError: it is none, or damaged; base model, prompts, tokenizer or labels differ; or
            the backbone has an adapter already.
        MissingPackageError: PEFT is not installed.
    """
    peft = _peft()
    record = _read_record(backbone.id, folder)
    labels = _labels_of(backbone.id, folder, record)
    _refuse_second(backbone, folder)
    # By revision alone: what a folder is called here is no part of what it is.
    base = str(record.get("base")).rpartition("@")[2]
    _same(backbone.id, folder, "base model", base, backbone.parts.source.id.rpartition("@")[2])
    _same(backbone.id, folder, "family", record.get("family"), backbone.name)
    _same(backbone.id, folder, "prompt version", record.get("prompts"), PROMPT_VERSION)
    if labels.kind == "new":
        add_label_tokens(backbone.parts)
    _check_labels(backbone, folder, labels)
    file = folder / WEIGHTS_FILE
    if not file.is_file():  # PEFT would look for pickles, and then on the hub
        raise AdapterError(backbone.id, folder, f"{WEIGHTS_FILE} is missing", "Copy it again.")
    plain = backbone.parts.model
    try:
        with _quiet():
            model = peft.PeftModel.from_pretrained(plain, folder, is_trainable=trainable)
        _check_tensors(model, file)
    # PEFT answers cut files, wrong shapes and unknown layers with many classes.
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError) as error:
        raise AdapterError(backbone.id, folder, str(error), _ADVICE) from error
    _in_float32(model)
    backbone.parts.model = model.eval()
    backbone.trained_labels, backbone.style = labels, _style_of(backbone.id, folder, record)
    backbone.adapter = sha256(file.read_bytes()).hexdigest()[:12]
    backbone.forget_prefix()


def merge_adapter(backbone: LocalBackbone, folder: Path) -> None:
    """Merge the adapter into the weights and write a model that stands alone.

    Args:
        backbone: with an adapter; afterwards its model is the merged one.
        folder: gets safetensors, tokenizer and image processor, as any model folder.

    Raises:
        AdapterError: the backbone has no adapter, or one for names.

    Choice: servers cannot add label tokens as a LoRA; a merged model can be served as it is.
    """
    parts, labels = backbone.parts, backbone.trained_labels
    if labels is None or not hasattr(parts.model, "merge_and_unload"):
        raise AdapterError(backbone.id, folder, "there is none to merge", "Load one first.")
    if labels.kind == "names":
        problem = "names are scored against the base model, which a merged one no longer has"
        raise AdapterError(backbone.id, "memory", problem, "Use the adapter as it is.")
    parts.model = parts.model.merge_and_unload()
    backbone.forget_prefix()
    parts.model.save_pretrained(folder)
    for part in (parts.tokenizer, parts.image_processor):
        if hasattr(part, "save_pretrained"):
            part.save_pretrained(folder)
    _write_record(folder, backbone, labels, {})


def merged_labels(folder: Path, parts: Parts) -> tuple[LabelSpace | None, Style | None]:
    """Read the label space and the prompt style of a merged model.

    Args:
        folder: of the weights.
        parts: the loaded model.

    Returns:
        Its labels and style, or None for a model that was never trained here.

    Raises:
        AdapterError: the record does not fit the model's tokenizer.
    """
    if not (folder / RECORD_FILE).is_file():
        return None, None
    record = _read_record(parts.source.id, folder)
    labels = _labels_of(parts.source.id, folder, record)
    here = tokenizer_hash(parts.tokenizer)
    _same(parts.source.id, folder, "tokenizer", labels.tokenizer[:12], here[:12])
    _same(parts.source.id, folder, "prompt version", record.get("prompts"), PROMPT_VERSION)
    return labels, _style_of(parts.source.id, folder, record)


def add_label_tokens(parts: Parts) -> None:
    """Add <I1> ... <I100> to the vocabulary, where they are missing.

    Args:
        parts: tokenizer and model, whose embedding grows.

    Source: appendix D.
    Choice: a new row begins as the mean row plus seeded noise of a tenth of the rows' own spread,
        so that untrained labels are told apart and the same on every machine.
    """
    import torch
    from tokenizers import AddedToken

    tokenizer, model = parts.tokenizer, parts.model
    known = set(tokenizer.get_vocab())
    missing = [label for label in NEW_LABELS if label not in known]
    if not missing:
        return
    tokenizer.add_tokens(
        [AddedToken(label, special=True, normalized=False) for label in missing],
        special_tokens=True,
    )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:  # many vocabularies are padded and have room
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ids = tokenizer.convert_tokens_to_ids(missing)
    generator = torch.Generator().manual_seed(0)
    heads = {id(head.weight): head.weight for head in _heads(model)}  # tied heads are one
    with torch.no_grad():
        for weight in heads.values():
            old = weight[: min(ids)].float()
            noise = torch.randn((len(ids), old.shape[1]), generator=generator).to(weight.device)
            weight[ids] = (old.mean(0) + 0.1 * old.std(0) * noise).to(weight.dtype)


def _heads(model: Any) -> Sequence[Any]:  # noqa: ANN401 - Hugging Face's models
    output = model.get_output_embeddings()
    return [model.get_input_embeddings()] + ([] if output is None else [output])


def _trained_rows(model: Any, labels: LabelSpace) -> dict[str, list[int]] | None:  # noqa: ANN401
    """Name the embeddings whose label rows are trained; both ends where they are not tied."""
    if labels.kind in ("letters", "names"):
        return None
    ids = list(labels.token_ids)
    weights: dict[int, Any] = {}
    for module in _heads(model):
        weights.setdefault(id(module.weight), module)
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(module)]: ids for module in weights.values()}


def _refuse_second(backbone: LocalBackbone, folder: Path | str) -> None:
    if hasattr(backbone.parts.model, "peft_config"):
        problem = "the backbone has an adapter already"
        advice = "Merge it first, or open the backbone again."
        raise AdapterError(backbone.id, folder, problem, advice)


def _check_tensors(model: Any, file: Path) -> None:  # noqa: ANN401 - PEFT's model
    """Compare names with what the file holds: PEFT itself fills gaps with random numbers."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        found = set(opened.keys())
    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if found != expected:
        some = ", ".join(sorted(found ^ expected)[:3])
        raise ValueError(f"its tensors are not those of this model ({some}, ...)")


def _in_float32(model: Any) -> None:  # noqa: ANN401 - PEFT's model
    for name, module in model.named_modules():
        if name.endswith(".modules_to_save.default"):
            module.float()


def _peft() -> Any:  # noqa: ANN401 - a module
    try:
        import peft
    except ImportError as error:
        command = 'pip install "visuallens[train]"'
        raise MissingPackageError("peft", "An adapter", command) from error
    return peft


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what PEFT warns of: a name about to be retired, and gaps that are checked here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _write_record(
    folder: Path, backbone: LocalBackbone, labels: LabelSpace, config: Mapping[str, object]
) -> None:
    record = {
        "version": _VERSION,
        "visuallens": __version__,
        "family": backbone.name,
        "base": backbone.parts.source.id,
        "prompts": PROMPT_VERSION,
        "style": backbone.style,
        "labels": asdict(labels),
        "config": dict(config),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


# Any: JSON.
def _read_record(backbone: str, folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        version = int(record["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{RECORD_FILE} is missing or unreadable"
        raise AdapterError(backbone, folder, problem, "Name an adapter's own folder.") from error
    if version > _VERSION:
        problem = f"it has version {version}, this VisualLens reads up to {_VERSION}"
        raise AdapterError(backbone, folder, problem, "Upgrade VisualLens.")
    known: dict[str, Any] = record
    return known


def _labels_of(backbone: str, folder: Path, record: Mapping[str, Any]) -> LabelSpace:
    try:
        return LabelSpace.from_record(record["labels"])
    except (KeyError, TypeError, ValueError) as error:
        problem = f"its label space cannot be read ({error})"
        raise AdapterError(backbone, folder, problem, _ADVICE) from error


def _style_of(backbone: str, folder: Path, record: Mapping[str, Any]) -> Style:
    style: Style = record.get("style", "")
    if style not in get_args(Style):
        problem = f"its prompt style {style!r} is unknown"
        raise AdapterError(backbone, folder, problem, _ADVICE)
    return style


def _check_labels(backbone: LocalBackbone, folder: Path, labels: LabelSpace) -> None:
    tokenizer = backbone.parts.tokenizer
    here = tokenizer_hash(tokenizer)
    _same(backbone.id, folder, "tokenizer", labels.tokenizer[:12], here[:12])
    expected = new_tokens(tokenizer, backbone.name) if labels.kind == "new" else None
    if expected is None:
        expected = backbone.label_space(labels.kind)
    _same(backbone.id, folder, "label ids", labels.token_ids, expected.token_ids)


def _same(backbone: str, folder: Path, what: str, trained_with: object, found_here: object) -> None:
    if trained_with != found_here:
        problem = f"it was trained with the {what} {trained_with!r}, here it is {found_here!r}"
        raise AdapterError(backbone, folder, problem, _ADVICE)
