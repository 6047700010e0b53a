"""`visuallens train ...`: the stages of §5; one file per command."""

from __future__ import annotations

import click

from visuallens.cli.lazy import LazyGroup

COMMANDS = {
    "captions": ("visuallens.cli.train.captions", "Stage 1: multi-image captions (§5.1)."),
    "aspects": ("visuallens.cli.train.aspects", "Stage 2: refine aspect words (§5.2)."),
    "joint": ("visuallens.cli.train.joint", "Stage 3: aspect words and matching (§5.3)."),
    "attention": ("visuallens.cli.train.attention", "The ranker for low latency."),
    "unimp": ("visuallens.cli.train.unimp", "The baseline UniMP (§6.3)."),
}


@click.group(cls=LazyGroup, commands=COMMANDS)
def command() -> None:
    """Train in the stages of the paper, or a baseline; each goes on where it stopped."""
