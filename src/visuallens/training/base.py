"""What the loop trains: anything that gives the losses of examples, and a score on dev."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses of some examples.

    Attributes:
        each: (examples,) the loss of each, which is minimised; float32.
        parts: name → (examples,) what it is made of, for the log.
    """

    each: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class TrainingTask(Protocol):
    """A stage of §5, or a baseline: its examples, its model, its losses.

    Attributes:
        name: of the stage.
        model: of its parameters those that require a gradient are trained.
        size: number of training examples.
    """

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def size(self) -> int: ...

    def losses(self, examples: Sequence[int], seed: int) -> Losses:
        """Compute the losses of some examples, with a graph for their gradients.

        Args:
            examples: numbers of examples, at least one.
            seed: of the step; with the number of an example it decides every draw for it, such as
                the order of its candidates, whichever others it is computed with. That makes a
                resumed run the same as an unbroken one, and two processes the same as one.

        Returns:
            One loss per example.
        """
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Measure the model on dev.

        Returns:
            Metrics; "score" is the one that is maximised.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what a reader of the trained model needs, such as an adapter."""
        ...
