"""Settings of the pipeline: from photos to a ranked answer (§4)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from visuallens.config.frozen import FROZEN


class ImageSettings(BaseModel):
    """How photos are opened."""

    model_config = FROZEN

    max_pixels: int = Field(default=200_000_000, ge=1)
    """Larger pictures are refused before decoding. Choice: the largest phone cameras make 200
    million pixels; decoding one takes 600 MB."""


class IndexSettings(BaseModel):
    """Offline augmentation (§4.1)."""

    model_config = FROZEN

    model: str = "embedded"
    """A registered encoder of photos: "embedded", "clip" or "siglip2"."""
    batch_size: int = Field(default=16, ge=1)
    threads: int = Field(default=2, ge=1)
    """Threads that read and decode photos."""
    burst_seconds: float = Field(default=10.0, ge=0)
    """Photos of one user taken within this time of the one before, and alike, are one moment."""
    burst_similarity: float = Field(default=0.8, ge=-1, le=1)
    """Cosine above which two photos taken within a burst are alike."""
    describe_by: Literal["model", "backbone"] = "model"
    """Who writes captions and aspect words: the model that encodes, or the backbone (§4.1)."""
    place_words: bool = True
    """Captions of photos with a position name the nearest town, looked up offline."""


class RetrievalSettings(BaseModel):
    """History retrieval (§4.2)."""

    model_config = FROZEN

    max_photos: int = Field(default=64, ge=1)
    """w. Source: §4.2, w = d * d with the 8 x 8 grid."""
    category_images: int = Field(default=32, ge=1)
    """Candidate images averaged into the category embedding, drawn with the request's seed.
    Choice: the paper does not say how many."""
    by_category: bool = True
    """Table 3, Ret.: the photos nearest to the category. Without it, as many are drawn by chance.
    Choice: the paper does not say which photos it took instead; the seed draws them."""
    half_life_days: float | None = Field(default=None, gt=0)
    """Optional recency: a photo this many days older than the newest counts half. Choice: off, the
    paper uses none."""


class ProfileSettings(BaseModel):
    """Preference profiling (§4.2)."""

    model_config = FROZEN

    grid_side: int = Field(default=8, ge=1, le=32)
    """d. Source: §4.2, d * d = w."""
    image_side_px: int = Field(default=896, ge=64)
    """h. Source: Table 5, PaliGemma at 896 x 896."""


class AbstentionSettings(BaseModel):
    """When the answer is that the photos say nothing about the question."""

    model_config = FROZEN

    false_answer_rate: float = Field(default=0.05, gt=0, lt=1)
    """How often a question that the photos say nothing about may still be answered."""
    top_photos: int = Field(default=5, ge=1)
    """The evidence for a category is the mean similarity of this many photos."""


class RankerSettings(BaseModel):
    """Candidate matching (§4.2) and the baselines."""

    model_config = FROZEN

    name: str = "similarity"
    """A registered ranker."""
    max_candidates: int = Field(default=100, ge=2)
    """Source: appendix D, at most 100 candidates. With a position given, the nearest are kept."""
    model: Path | None = None
    """Folder of a trained matcher, for the ranker `attention`."""


class MatchingSettings(BaseModel):
    """The ranker `visuallens`: candidate matching by a backbone (§4.2, appendix C and D)."""

    model_config = FROZEN

    aspects: bool = True
    """Table 3, Asp.: aspect words are part of the prompt."""
    captions: bool = True
    """Table 3, Cap.: numbered captions are part of the prompt."""
    image: bool = True
    """Table 3, Img.: the grid is shown, to backbones that see."""
    style: Literal["fenced", "paper"] = "fenced"
    """"paper" writes Figure 7 to the letter; "fenced" also marks what is data, so that text in a
    photo, caption or description is not taken for an instruction. An adapter decides for itself."""
    labels: Literal["auto", "new", "reserved", "letters", "names"] = "auto"
    """Which tokens name the candidates. "auto": those of the adapter, else letters, which a model
    knows without training. "names": none; each is scored by how likely its name is as the answer,
    by backbones on this machine. Descriptions are not read then."""
    order: Literal["own", "given"] = "own"
    """Of the candidates in a prompt. "own": one that has nothing to do with how they came, shuffled
    with the request's seed. "given": as they came, so that an audit sees what places decide."""
    shuffles: int = Field(default=1, ge=1, le=32)
    """Scores are averaged over so many orders of the candidates."""
    rounds: int = Field(default=2, ge=1, le=32)
    """With more candidates than labels: how often each is seen in a window before the merge."""
    max_tokens: int | None = Field(default=None, ge=256)
    """Longest prompt; what is longer is cut by rule and reported. None: the backbone's own."""
