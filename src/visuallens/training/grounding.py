"""Does cell k get caption k? The metric of multi-image caption pretraining (§5.1).

A model can learn to write likely captions without looking at the right cell, and its loss falls all
the same. So each cell of held-out grids is asked for: after "Image k:", which of the grid's
captions does the model find likeliest?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage
from visuallens.prompts import image_mark, multi_image_prompt
from visuallens.training.answers import continuation_scores
from visuallens.types import FloatArray


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that is asked for.

    Attributes:
        grid: that it is in.
        photos: number of photos of that grid.
        number: of the cell, from 1.
        caption: of its photo.
    """

    grid: PromptImage
    photos: int
    number: int
    caption: str


def caption_scores(backbone: LocalBackbone, cells: Sequence[Cell]) -> FloatArray:
    """Compute how likely each caption is for each cell.

    Args:
        backbone: without dropout.
        cells: those of one grid next to each other.

    Returns:
        (cells, cells) float32: mean log-likelihood per token of caption j after "Image k:", where k
        is the number of cell i; right are those on the diagonal.

    Choice: no other caption stands before "Image k:", although training writes them in order: the
        captions that were used up would give the rest away.
    """
    rows: list[float] = []
    for _, group in groupby(cells, key=lambda cell: id(cell.grid)):
        asked = list(group)
        prompt = multi_image_prompt(asked[0].photos)
        pairs = [
            (image_mark(cell.number), f" {other.caption}") for cell in asked for other in cells
        ]
        rows += continuation_scores(backbone, asked[0].grid, prompt, pairs)
    return np.array(rows, np.float32).reshape(len(cells), len(cells))


def grounding(scores: Sequence[FloatArray]) -> Mapping[str, float]:
    """Measure how often a cell and its caption find each other.

    Args:
        scores: from `caption_scores`, at least one.

    Returns:
        "caption_of_cell": the share of cells whose own caption is the likeliest of all;
        "cell_of_caption": the share of captions that are likeliest after their own cell's number;
        "matched": the mean of both once what a caption and a number gain everywhere is taken off;
        "chance" of all three; "asked": number of cells. Equal scores share a hit.

    Choice: a short and common caption is likely whatever is seen, and every caption is likelier
        after some numbers than after others. So a model that sees little still gives all cells one
        caption; taking the means of rows and columns off shows what the image itself changes.
    """
    even = [_centred(of_grid) for of_grid in scores]
    chances = np.concatenate([np.full(len(of_grid), 1 / len(of_grid)) for of_grid in scores])
    return {
        "caption_of_cell": _share(scores),
        "cell_of_caption": _share([of_grid.T for of_grid in scores]),
        "matched": (_share(even) + _share([of_grid.T for of_grid in even])) / 2,
        "chance": float(chances.mean()),
        "asked": float(len(chances)),
    }


def _centred(scores: FloatArray) -> FloatArray:
    """Take the means of rows and columns off; in float64, so that what is equal stays equal."""
    exact = scores.astype(np.float64)
    rows, columns = exact.mean(axis=1, keepdims=True), exact.mean(axis=0, keepdims=True)
    return np.asarray((exact - rows - columns + exact.mean()).round(7), np.float32)


def _share(scores: Sequence[FloatArray]) -> float:
    return float(np.concatenate([_hits(of_grid) for of_grid in scores]).mean())


def _hits(scores: FloatArray) -> FloatArray:
    """Tell for each row whether its best is on the diagonal."""
    best = scores == scores.max(axis=1, keepdims=True)
    return np.asarray(np.diagonal(best) / best.sum(axis=1), np.float32)
