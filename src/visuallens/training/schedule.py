"""What a step works with, by its number alone: learning rate, examples, seeds of draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from visuallens.config import LoopSettings


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Compute the learning rate of a step: up over the warm-up, then along the schedule.

    Args:
        step: from 0.
        settings: of the loop.

    Returns:
        The rate; the last step of "linear" and "cosine" has nearly none.
    """
    top, warmup = settings.learning_rate, settings.warmup_steps
    if step < warmup:
        return top * (step + 1) / warmup
    done = (step - warmup) / max(settings.steps - warmup, 1)
    shapes = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return top * shapes[settings.schedule]


class Order:
    """The order of examples: a new shuffle in every round, found again from the step alone.

    Args:
        size: number of examples.
        seed: of the run.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._round, self._shuffle = -1, np.empty(0, np.int64)

    def batch(self, step: int, size: int) -> list[int]:
        """Return the examples of a step's global batch."""
        return [self._at(place) for place in range(step * size, (step + 1) * size)]

    def _at(self, place: int) -> int:
        number, within = divmod(place, self._size)
        if number != self._round:
            self._round = number
            self._shuffle = np.random.default_rng((self._seed, number)).permutation(self._size)
        return int(self._shuffle[within])


def share(batch: Sequence[int], process: int, processes: int) -> Sequence[int]:
    """Return what one process computes of a global batch."""
    return batch[process::processes]


def pieces(examples: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Cut examples into those of one forward pass each."""
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def draw_seed(seed: int, step: int, *examples: int) -> int:
    """Seed the draws of a step by what it computes, not by where or when."""
    return int(np.random.SeedSequence([seed, step, *examples]).generate_state(1, np.uint32)[0])
