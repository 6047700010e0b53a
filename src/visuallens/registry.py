"""Names of everything that can be chosen by name, as import paths in text.

Listing names loads nothing heavy; a class is imported when it is asked for. Other packages add
their own through entry points in the group `visuallens.<kind>` (for instance
`visuallens.rankers`), on the same footing as the built-in ones.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from visuallens.errors import UnknownNameError

BUILT_IN: dict[str, dict[str, str]] = {
    "controls": {
        "ease": "visuallens.evaluation.controls:Ease",
        "item-knn": "visuallens.evaluation.controls:ItemKnn",
        "nearest": "visuallens.evaluation.controls:Nearest",
        "popularity": "visuallens.evaluation.controls:Popularity",
        "random": "visuallens.evaluation.controls:Random",
        "rating": "visuallens.evaluation.controls:Rating",
    },
    "metrics": {
        "coverage": "visuallens.evaluation.spread:coverage",
        "ece": "visuallens.evaluation.spread:calibration_error",
        "gini": "visuallens.evaluation.spread:gini",
        "hit": "visuallens.evaluation.metrics:hit",
        "map": "visuallens.evaluation.metrics:average_precision",
        "mrr": "visuallens.evaluation.metrics:reciprocal_rank",
        "ndcg": "visuallens.evaluation.metrics:ndcg",
    },
    "sources": {
        "folder": "visuallens.sources.folder:FolderSource",
        "manifest": "visuallens.sources.manifest:ManifestSource",
    },
    "datasets": {
        "google-review-v": "visuallens.benchmark.datasets.google:GoogleReviewV",
        "movielens-v": "visuallens.benchmark.datasets.movielens:MovieLensV",
        "synthetic-google": "visuallens.benchmark.datasets.synthetic:SyntheticGoogle",
        "yelp-v": "visuallens.benchmark.datasets.yelp:YelpV",
    },
    "models": {
        "clip": "visuallens.models.contrastive:clip",
        "drawn": "visuallens.models.drawn:drawn",
        "embedded": "visuallens.models.embedded:embedded",
        "siglip2": "visuallens.models.contrastive:siglip2",
    },
    "backbones": {
        "causal": "visuallens.models.backbones.causal:causal",
        "idefics3": "visuallens.models.backbones.idefics3:idefics3",
        "llava-next": "visuallens.models.backbones.llava_next:llava_next",
        "minicpm-v": "visuallens.models.backbones.minicpm_v:minicpm_v",
        "minicpm-v-2.5": "visuallens.models.backbones.minicpm_v:minicpm_v_2_5",
        "nano": "visuallens.models.backbones.nano:nano",
        "paligemma": "visuallens.models.backbones.paligemma:paligemma",
        "qwen2.5-vl": "visuallens.models.backbones.qwen_vl:qwen2_5_vl",
        "qwen3-vl": "visuallens.models.backbones.qwen_vl:qwen3_vl",
        "server": "visuallens.models.server.backbone:load",
        "smolvlm": "visuallens.models.backbones.idefics3:smolvlm",
        "unimp": "visuallens.models.unimp_folder:unimp",
    },
    "rankers": {
        "attention": "visuallens.rankers.attention:AttentionRanker",
        "similarity": "visuallens.rankers.similarity:SimilarityRanker",
        "unimp": "visuallens.rankers.unimp:UniMPRanker",
        "visuallens": "visuallens.rankers.visuallens:VisualLensRanker",
        "random": "visuallens.rankers.baselines:RandomRanker",
        "rating": "visuallens.rankers.baselines:RatingRanker",
        "nearest": "visuallens.rankers.baselines:NearestRanker",
    },
}


def names(kind: str) -> tuple[str, ...]:
    """List the known names of one kind, sorted.

    Args:
        kind: one of `BUILT_IN`.

    Returns:
        The names; nothing is imported.
    """
    return tuple(sorted(_paths(kind)))


def load(kind: str, name: str) -> Any:  # noqa: ANN401 - classes of many kinds, see contract tests
    """Import and return the object registered under a name.

    Args:
        kind: one of `BUILT_IN`.
        name: one of `names(kind)`.

    Returns:
        The class.

    Raises:
        UnknownNameError: nothing of that kind has that name.
    """
    paths = _paths(kind)
    if name not in paths:
        raise UnknownNameError(kind.rstrip("s"), name, paths)
    module, _, attribute = paths[name].partition(":")
    return getattr(import_module(module), attribute)


def _paths(kind: str) -> dict[str, str]:
    if kind not in BUILT_IN:
        raise UnknownNameError("registry", kind, BUILT_IN)
    third_party = {point.name: point.value for point in entry_points(group=f"visuallens.{kind}")}
    return third_party | BUILT_IN[kind]
