"""Every system of the paper's tables, and those that a table needs beside them, by name.

A system is a ranker or a control with settings of its own; what is trained for it, is trained with
the same settings. So each runs on every backbone: `visuallens rank --system text-llm --backbone
server`.

Source: §6.3, baselines; Table 2, and Table 3 for the parts of the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from visuallens.errors import UnknownNameError

Training = Literal["joint", "attention", "unimp"]


@dataclass(frozen=True, slots=True)
class System:
    """One row of a table.

    Attributes:
        label: for a reader.
        about: what it is there for.
        control: name of a control; or
        ranker: name of a ranker.
        settings: of its ranking and its training, `section.key=value`.
        ranked_with: further ones, of its ranking alone.
        trained_by: `visuallens train` of this name makes its adapter; None: nothing is trained.
        refined: trained on the aspect words of stage 2.
        asks_backbone: slow, so it answers a sample.
        modality: as in Table 2: T for text, I for images.
        paper: row of Table 2 that it stands for, or None.
    """

    label: str
    about: Literal["control", "baseline", "method"] = "baseline"
    control: str | None = None
    ranker: str | None = None
    settings: tuple[str, ...] = ()
    ranked_with: tuple[str, ...] = ()
    trained_by: Training | None = None
    refined: bool = False
    asks_backbone: bool = False
    modality: str = "-"
    paper: str | None = None


_NO_IMAGE = ("matching.image=false",)
_NO_TEXT = ("matching.aspects=false", "matching.captions=false")
_NOT_JOINT = ("training.joint.joint=false",)


def _control(label: str, name: str, paper: str | None = None) -> System:
    return System(label, "control", control=name, paper=paper)


def _asked(label: str, modality: str, paper: str, settings: tuple[str, ...] = ()) -> System:
    """Make a system that asks a backbone nothing was trained into."""
    return System(
        label,
        ranker="visuallens",
        settings=settings,
        asks_backbone=True,
        modality=modality,
        paper=paper,
    )


def _tuned(label: str, modality: str, paper: str, settings: tuple[str, ...]) -> System:
    """Make a baseline that a backbone is fine-tuned for."""
    return System(
        label,
        ranker="visuallens",
        settings=settings,
        trained_by="joint",
        asks_backbone=True,
        modality=modality,
        paper=paper,
    )


SYSTEMS: Mapping[str, System] = MappingProxyType({
    "rating": _control("rank by rating", "rating", "rating"),
    "popularity": _control("train popularity", "popularity"),
    "nearest": _control("nearest to the middle", "nearest"),
    "item-knn": _control("item-kNN, told the ids", "item-knn"),
    "ease": _control("EASE, told the ids", "ease"),
    "similarity": System("similarity, untrained", ranker="similarity", modality="T + I"),
    "unimp": System(
        "UniMP",
        ranker="unimp",
        ranked_with=("backbone.name=unimp",),
        trained_by="unimp",
        asks_backbone=True,
        modality="T + I",
        paper="unimp",
    ),
    "tuned-text": _tuned(
        "text LLM, fine-tuned", "T", "llama-3.1-8b", (*_NO_IMAGE, *_NOT_JOINT)
    ),
    "tuned-image": _tuned(
        "image backbone, fine-tuned", "T + I", "minicpm-v2.5", (*_NO_TEXT, *_NOT_JOINT)
    ),
    "text-llm": _asked("text LLM, direct", "T", "llama-3.1-70b", _NO_IMAGE),
    "multimodal-llm": _asked("multimodal LLM, direct", "T + I", "gpt-4o"),
    "attention-blind": System(
        "attention, trained without history",
        "control",
        ranker="attention",
        settings=("training.attention.history=false",),
        trained_by="attention",
        modality="T",
    ),
    "attention": System(
        "attention", "method", ranker="attention", trained_by="attention", modality="T + I"
    ),
    "visuallens": System(
        "VisualLens",
        "method",
        ranker="visuallens",
        trained_by="joint",
        refined=True,
        asks_backbone=True,
        modality="T + I",
        paper="visuallens",
    ),
})  # fmt: skip
"""Table 2, in its order; controls first.

Choice: the size of a backbone decides which row of the paper a system stands for: any backbone may
take the place of those that the paper names."""

ABLATIONS: Mapping[str, System] = MappingProxyType({
    "visuallens-unrefined": System(
        "without iteration",
        "method",
        ranker="visuallens",
        trained_by="joint",
        asks_backbone=True,
    ),
    "visuallens-not-joint": System(
        "without joint training",
        "method",
        ranker="visuallens",
        settings=_NOT_JOINT,
        trained_by="joint",
        asks_backbone=True,
    ),
    "attention-wordless": System(
        "attention, trained without aspect words",
        "method",
        ranker="attention",
        settings=("training.attention.max_words=0",),
        trained_by="attention",
    ),
})  # fmt: skip
"""Of Table 3: what is trained otherwise. What is only switched off is no system of its own."""


def system(name: str) -> System:
    """Find a system.

    Args:
        name: one of `SYSTEMS` or `ABLATIONS`.

    Returns:
        The system.

    Raises:
        UnknownNameError: there is none of that name.
    """
    known = {**SYSTEMS, **ABLATIONS}
    if name not in known:
        raise UnknownNameError("system", name, known)
    return known[name]
