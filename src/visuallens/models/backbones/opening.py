"""From settings to a running backbone: find the weights, load them, attach the adapter."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from visuallens.config import BackboneSettings
from visuallens.errors import BackboneError, RemoteCodeError, WeightsMissingError
from visuallens.models.backbones.family import Family, Source
from visuallens.models.backbones.loading import find_source, pick_device, pick_dtype
from visuallens.models.backbones.local import LocalBackbone

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opener:
    """What is registered for a family: call it with settings to load a backbone.

    Attributes:
        family: knows its weights and inputs, without loading anything.
        find: where the weights are.
    """

    family: Family
    find: Callable[[Family, BackboneSettings], Source] = find_source

    def __call__(self, settings: BackboneSettings) -> LocalBackbone:
        """See `open_backbone`."""
        return open_backbone(self.family, settings, self.find(self.family, settings))


def open_backbone(
    family: Family, settings: BackboneSettings, source: Source | None = None
) -> LocalBackbone:
    """Load a backbone of a family.

    Args:
        family: knows its weights and inputs.
        settings: adapter, device, number format.
        source: where the weights are.

    Returns:
        The backbone in evaluation mode, with its adapter.

    Raises:
        WeightsMissingError: the weights are not on this machine, damaged or incomplete.
        RemoteCodeError: they need code of their own, which this family does not run.
        BackboneError: they are not of this family.
        ThinkingModelError: the model thinks before it answers.
        AdapterError: the adapter does not fit.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging as transformers_logging

    from visuallens.models.backbones.adapters import attach_adapter, merged_labels

    transformers_logging.disable_progress_bar()
    source = source or find_source(family, settings)
    device = pick_device(family.name, settings.device)
    try:
        parts = family.load(source, pick_dtype(settings.dtype, device))
    except (OSError, SafetensorError) as error:
        state = "damaged" if isinstance(error, SafetensorError) else "incomplete"
        problem = f"{source.folder} is {state}: {error}"
        advice = f"Fetch it again with: visuallens models pull {family.name}"
        raise WeightsMissingError(source.id, problem, advice) from error
    # What transformers answers to settings, tokenizers and weights of another architecture.
    except (ValueError, AttributeError) as error:
        if "trust_remote_code" in str(error):
            problem = f"the backbone {family.name!r} runs no code from {source.folder}"
            raise RemoteCodeError(source.id, problem) from error
        raise BackboneError(
            source.id,
            f"{source.folder} cannot be read by the backbone {family.name!r}: {error}. "
            "Choose the backbone that the files belong to, or fetch them again.",
        ) from error
    parts.model.to(device).eval()
    backbone = LocalBackbone(family, parts, settings, *merged_labels(source.folder, parts))
    if settings.adapter is not None:
        attach_adapter(backbone, settings.adapter)
    return backbone
