"""`visuallens parity A B`: do two backbones answer the same prompts alike?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visuallens.cli.options import backbone_overrides, print_json

if TYPE_CHECKING:
    from visuallens.models.base import Backbone, PromptImage

_WORDS = ("palace", "clock", "ship", "garden", "painting", "train", "flower", "castle")
_SIDE_PX = 448
_GRID_SIDE = 4


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--set-first", multiple=True, metavar="KEY=VALUE", help="Setting of FIRST only.")
@click.option("--set-second", multiple=True, metavar="KEY=VALUE", help="Setting of SECOND only.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Setting of both.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file.")
@click.option("--prompts", type=click.IntRange(1), default=6, show_default=True, help="How many.")
@click.option(
    "--labels",
    type=click.IntRange(2, 52),
    default=20,
    show_default=True,
    help="Candidates of each; fewer where one side has fewer labels.",
)
@click.option("--no-image", is_flag=True, help="Show no image.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    first: str,
    second: str,
    set_first: tuple[str, ...],
    set_second: tuple[str, ...],
    overrides: tuple[str, ...],
    config: Path | None,
    prompts: int,
    labels: int,
    no_image: bool,
    as_json: bool,
) -> None:
    """Ask backbones FIRST and SECOND the same: Kendall's tau and the largest difference.

    For instance: visuallens parity causal server --set-first backbone.model=FOLDER
    """
    from visuallens.models.parity import parity, shared_labels

    one = _open(first, config, (*overrides, *set_first))
    other = _open(second, config, (*overrides, *set_second))
    images = [None if no_image else _grid(seed) for seed in range(prompts)]
    spaces = shared_labels(one, other, labels)
    asked = [_prompt(seed, spaces[0].labels) for seed in range(prompts)]
    found = parity(one, other, images, asked, spaces)
    if as_json:
        print_json({"first": one.id, "second": other.id, **asdict(found)})
        return
    click.echo(
        f"{one.id}  against  {other.id}\n"
        f"prompts, labels      {found.prompts}, {found.labels} "
        f"({found.labels_compared:.1f} told by both on average)\n"
        f"Kendall's tau        {found.kendall_tau:.4f} (worst prompt "
        f"{found.least_kendall_tau:.4f})\n"
        f"largest difference   {found.largest_difference:.2e} of a log-probability\n"
        f"same best label      {found.same_first:.0%}"
    )


def _open(name: str, config: Path | None, overrides: Sequence[str]) -> Backbone:
    from visuallens import registry
    from visuallens.config import load_settings

    settings = load_settings(config, (*overrides, *backbone_overrides(name))).backbone
    backbone: Backbone = registry.load("backbones", name)(settings)
    return backbone


def _prompt(seed: int, labels: Sequence[str]) -> str:
    """Write a matching prompt with a place in London for each label, different for each seed."""
    import numpy as np

    from visuallens.places import bundled_city
    from visuallens.prompts import CandidateLine, matching_prompt

    generator = np.random.default_rng(seed)
    places = bundled_city("london")
    chosen = generator.choice(len(places), size=len(labels), replace=False)
    words = [str(word) for word in generator.permutation(_WORDS)]
    captions = [(number, f"A {word}") for number, word in enumerate(words, start=1)]
    lines = [
        CandidateLine(label, places[at].name, places[at].description)
        for label, at in zip(labels, chosen, strict=True)
    ]
    return matching_prompt("place", words, captions, lines)


def _grid(seed: int) -> PromptImage:
    """Draw a grid of coarse noise, different for each seed."""
    import numpy as np
    from PIL import Image

    from visuallens.models.base import PromptImage
    from visuallens.profile.grid import gridify

    generator = np.random.default_rng(seed)
    photos = [
        Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((112, 112))
        for _ in range(_GRID_SIDE**2)
    ]
    return PromptImage(gridify(photos, grid_side=_GRID_SIDE, image_side_px=_SIDE_PX), _GRID_SIDE)
