"""Settings of benchmark building (§6.1, appendix A)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from visuallens.config.frozen import FROZEN


class BenchmarkSettings(BaseModel):
    """How a raw dump becomes examples. None: the value of the dataset, which the paper gives."""

    model_config = FROZEN

    split: Literal["by_user", "by_category", "by_time"] = "by_user"
    """Source: Table 4. By user: disjoint users, the default (§6.1); by category: held-out
    categories of each user; by time (LongHis): train until a moment, test after it."""
    business_disjoint: bool = False
    """Half of the businesses never appear in training, the other half never in dev or test."""
    min_drawn: int = Field(default=30, ge=1)
    """rc_min. Source: appendix A.1."""
    max_drawn: int = Field(default=100, ge=1)
    """rc_max. Source: appendix A.1."""
    min_candidates: int = Field(default=10, ge=1)
    """fc_min. Source: appendix A.1."""
    min_ground_truth: int | None = Field(default=None, ge=1)
    """gtc_min. Source: §6.1, 2 for Google Review-V and 5 for Yelp-V."""
    min_history: int = Field(default=10, ge=0)
    """Photos before the question. Source: §6.1."""
    history_gap_days: float | None = Field(default=None, ge=0)
    """How much older than the question a photo of the history must be, at least."""
    min_category_reviews: int | None = Field(default=None, ge=0)
    """Smaller categories are removed. Source: appendix A.2, 10,000 and 50,000."""
    categories: tuple[str, ...] = ()
    """Only questions of these; empty: of all that are large enough. Histories stay whole. Choice:
    a small benchmark of a few categories shows every candidate more often than one of all."""
    most_reviewed: int = Field(default=0, ge=0)
    """Only so many businesses, those with the most reviews: no history and no question knows
    another. 0: all. Choice: of few, a small model sees each often enough to learn it."""
    kept_phrases: tuple[str, ...] | None = None
    """Categories of several words that are kept whole; without regard to letter case."""
    visited: Literal["keep", "drop"] | None = None
    """Candidates that the user has reviewed before the question."""
    genre_words: bool = False
    """movielens-v: the genres are part of a film's description, which then names its category."""
    dev_examples: int | None = Field(default=None, ge=0)
    """Source: Table 1, 2,000."""
    test_examples: int | None = Field(default=None, ge=0)
    """Source: Table 1, 200,000 and 100,000."""
    largest_share: float | None = Field(default=None, gt=0, lt=0.5)
    """A small dump gives dev and test at most this share of its examples each."""
    candidate_photos: int = Field(default=8, ge=0)
    """Photos of a candidate that a request shows. Choice: the paper does not say how many."""
    category_photos: int = Field(default=256, ge=0)
    """Photos per category to draw category embeddings from."""
    max_rejected_share: float = Field(default=0.05, ge=0, le=1)
    """A raw file with a larger share of malformed rows stops the build."""
    memory_gb: float = Field(default=1.0, gt=0)
    """For sorting and joining, of each worker; what does not fit goes to disk."""

    @field_validator("kept_phrases", "categories")
    @classmethod
    def _as_tags_are_compared(cls, phrases: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return phrases and tuple(" ".join(phrase.casefold().split()) for phrase in phrases)

    @model_validator(mode="after")
    def _the_range_is_one(self) -> BenchmarkSettings:
        if self.min_drawn > self.max_drawn:
            message = f"min_drawn is {self.min_drawn}, more than max_drawn, {self.max_drawn}"
            raise ValueError(message)
        if self.min_candidates > self.max_drawn:
            message = (
                f"min_candidates is {self.min_candidates}, more than can be drawn, {self.max_drawn}"
            )
            raise ValueError(message)
        return self
