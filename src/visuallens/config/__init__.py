"""All settings, in one frozen tree.

Defaults are the paper's values where the paper gives one; each says its source. Order of
precedence: defaults, then the preset, then a TOML file, then environment variables
(`VISUALLENS_RETRIEVAL__MAX_PHOTOS=16`), then the command line (`--set retrieval.max_photos=16`).
A preset only changes defaults, key by key. An unknown key of a file or the command line is an
error, and all problems are shown at once.
"""

from visuallens.config.benchmark import BenchmarkSettings
from visuallens.config.models import (
    BackboneSettings,
    EmbeddedSettings,
    EncoderSettings,
    ServerSettings,
)
from visuallens.config.pipeline import (
    AbstentionSettings,
    ImageSettings,
    IndexSettings,
    MatchingSettings,
    ProfileSettings,
    RankerSettings,
    RetrievalSettings,
)
from visuallens.config.study import StudySettings
from visuallens.config.training import LoopSettings, LoraSettings, TrainingSettings
from visuallens.config.tree import Settings, load_settings

__all__ = [
    "AbstentionSettings",
    "BackboneSettings",
    "BenchmarkSettings",
    "EmbeddedSettings",
    "EncoderSettings",
    "ImageSettings",
    "IndexSettings",
    "LoopSettings",
    "LoraSettings",
    "MatchingSettings",
    "ProfileSettings",
    "RankerSettings",
    "RetrievalSettings",
    "ServerSettings",
    "Settings",
    "StudySettings",
    "TrainingSettings",
    "load_settings",
]
