"""Settings of `visuallens reproduce`: which rows are run, on what, and what is trained for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, NonNegativeInt, field_validator

from visuallens.config.frozen import FROZEN


class StudySettings(BaseModel):
    """The tables and figures of §7."""

    model_config = FROZEN

    method: Literal["visuallens", "attention"] = "visuallens"
    """The system that stands for VisualLens: Table 4, the figures, and what others are compared
    with."""
    systems: tuple[str, ...] | None = None
    """Rows of Table 2; None: all."""
    train: tuple[str, ...] = ()
    """Systems that are trained where `adapters` names nothing for them. The others are named as
    missing, with the command that trains them."""
    adapters: Mapping[str, Path] = {}
    """System → folder of what was trained for it before."""
    configs: Mapping[str, Path] = {}
    """Ranker → a file with settings for its training and ranking, in place of this one."""
    questions: int | None = Field(default=1000, ge=1)
    """Systems that ask a backbone answer so many, drawn with the seed; None: all. Source: §6.3, "we
    subsample 1k instances from the test sets"."""
    resamples: int = Field(default=2000, ge=100)
    """Of intervals and tests."""
    annotations: tuple[Path, ...] = ()
    """Exports of `visuallens annotate`, one a person (§6.3)."""
    history_sizes: tuple[NonNegativeInt, ...] = (0, 10, 25, 50, 100, 200)
    """Most recent photos that are known, for the sweep beside Figure 3b."""
    orders: int = Field(default=2, ge=0)
    """Further orders of the candidates, for the audit of positions."""
    examples: int = Field(default=10, ge=0, le=100)
    """Example pages of the report: half of the best cases, half of the worst."""

    @field_validator("history_sizes")
    @classmethod
    def _once_each(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(sizes)))
