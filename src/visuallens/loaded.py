"""The models that the settings name, each loaded when it is first used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING

from visuallens import registry
from visuallens.config import BackboneSettings, Settings
from visuallens.models.backbone_reader import BackboneReader
from visuallens.models.base import Backbone, PhotoModel, PhotoReader

if TYPE_CHECKING:
    from visuallens.models.attention import AttentionMatcher

logger = logging.getLogger(__name__)


class LoadedModels:
    """What encodes, captions, names aspect words and matches.

    Args:
        settings: `index.model`, `index.describe_by`, `backbone`, `captioner`, `ranker.model` and
            the sections of the encoders.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def model(self) -> PhotoModel:
        """The model that reads photos and questions: one opener for each registered name."""
        model: PhotoModel = registry.load("models", self._settings.index.model)(self._settings)
        return model

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone that names aspect words and matches; without a captioner it captions too."""
        return _open_backbone(self._settings.backbone)

    @cached_property
    def captioner(self) -> Backbone | None:
        """The backbone that captions (§4.1), where the settings name one of its own."""
        chosen = self._settings.captioner
        return None if chosen is None else _open_backbone(chosen)

    @cached_property
    def matcher(self) -> Callable[[], AttentionMatcher] | None:
        """Opens the trained matcher of the ranker `attention`; None where none is named."""
        folder = self._settings.ranker.model
        if folder is None:
            return None

        @cache
        def opened() -> AttentionMatcher:
            from visuallens.models.attention_folder import load_matcher

            found = load_matcher(folder, self.model.id)
            here = self._settings.retrieval.model_dump(mode="json")
            if found.retrieval and found.retrieval != here:
                logger.warning(
                    "The matcher was trained with other photos of a user than it is given here "
                    "(%s, not %s). Rank with --config %s",
                    found.retrieval,
                    here,
                    folder.parent / "settings.json",
                )
            return found

        return opened

    def readers(self) -> list[PhotoReader]:
        """Load what reads photos: the model, and the backbones where they describe them.

        Returns:
            The model first.
        """
        self.model.load()
        if self._settings.index.describe_by == "model":
            return [self.model]
        return [self.model, BackboneReader(self.backbone, captioner=self.captioner)]


def open_readers(settings: Settings) -> list[PhotoReader]:
    """Load what reads photos, in a process of its own; see `LoadedModels.readers`."""
    return LoadedModels(settings).readers()


def _open_backbone(settings: BackboneSettings) -> Backbone:
    backbone: Backbone = registry.load("backbones", settings.name)(settings)
    return backbone
