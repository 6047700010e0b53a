"""Opens the backbone that is trained, with a fresh adapter or the one of the stage before (§5)."""

from __future__ import annotations

from visuallens import registry
from visuallens.config import BackboneSettings, LoraSettings
from visuallens.errors import TrainingError
from visuallens.models.backbones.adapters import Lora, add_adapter, attach_adapter
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.opening import Opener
from visuallens.models.label_space import LabelKind
from visuallens.prompts import Style


def open_adapted(
    settings: BackboneSettings, lora: LoraSettings, labels: LabelKind, style: Style, *, seed: int
) -> LocalBackbone:
    """Open a backbone whose adapter is trainable.

    Args:
        settings: which backbone; its adapter is gone on with, where one is named.
        lora: size of a fresh adapter.
        labels: that a fresh adapter has, for candidate matching in stage 3.
        style: of the matching prompts that a fresh adapter is asked in.
        seed: of a fresh adapter's weights.

    Returns:
        The backbone.

    Raises:
        TrainingError: the backbone is a server.
        BackboneError: it cannot be opened, or the adapter does not fit.
    """
    import torch

    plain = settings.model_copy(update={"adapter": None})
    opener: object = registry.load("backbones", settings.name)
    if not isinstance(opener, Opener):
        raise TrainingError(
            f"the backbone {settings.name!r} is not on this machine",
            "Choose one whose weights are here: --backbone nano.",
        )
    backbone = opener(plain)
    if settings.adapter is not None:
        attach_adapter(backbone, settings.adapter, trainable=True)
        return backbone
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        add_adapter(backbone, Lora(lora.rank, lora.alpha, lora.dropout), labels, style)
    return backbone
