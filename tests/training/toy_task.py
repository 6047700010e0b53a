"""A small task for the loop: candidates with random features, some of which are liked.

Run as a module it trains itself, alone or as one of several processes.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from visuallens.config import LoopSettings
from visuallens.errors import CheckpointError
from visuallens.training.base import Losses
from visuallens.training.log import read_log
from visuallens.training.loop import fit
from visuallens.training.losses import match_loss

CANDIDATES, FEATURES = 5, 6
QUICK = LoopSettings(
    steps=12,
    batch_size=4,
    accumulation=1,
    learning_rate=0.02,
    warmup_steps=2,
    evaluate_every=4,
    tensorboard=False,
)


class Scorer(nn.Module):
    """Scores candidates; of its two heads each example uses one, as its number is odd or even."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(FEATURES, hidden)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(2))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, features: Tensor, head: int) -> Tensor:
        """Turn (candidates, features) into (candidates,) logits."""
        hidden = self.dropout(torch.relu(self.expand(features)))
        logits: Tensor = self.heads[head](hidden).squeeze(-1)
        return logits


class ToyTask:
    """See `TrainingTask`.

    Args:
        size: number of training examples.
        dropout: of the model.
        hidden: width of the model.
    """

    name = "toy"

    def __init__(
        self,
        size: int = 24,
        *,
        dropout: float = 0.2,
        hidden: int = 16,
    ) -> None:
        generator = torch.Generator().manual_seed(5)
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.model: nn.Module = Scorer(hidden, dropout)
        self.size = size
        self.features = torch.randn((size + 16, CANDIDATES, FEATURES), generator=generator)
        taste = torch.randn(FEATURES, generator=generator)
        scores = self.features @ taste
        self.relevant = scores >= scores.sort(dim=-1, descending=True).values[:, 1:2]
        self.asked: list[tuple[list[int], int]] = []

    def losses(self, examples: Sequence[int], seed: int) -> Losses:
        """Shuffle the candidates of each example and blur them, as its seed says."""
        self.asked.append((list(examples), seed))
        rows = []
        for example in examples:
            rng = np.random.default_rng((seed, example))
            order = torch.from_numpy(rng.permutation(CANDIDATES))
            blur = torch.from_numpy(rng.normal(0, 0.1, (CANDIDATES, FEATURES))).float()
            rows.append(self._loss(example, order, blur))
        each = torch.stack(rows)
        return Losses(each, {"match": each, "double": 2 * each})

    def evaluate(self) -> Mapping[str, float]:
        """Measure the mean loss of the dev examples; its negative is the score."""
        order, blur = torch.arange(CANDIDATES), torch.zeros(())
        dev = range(self.size, len(self.features))
        loss = float(torch.stack([self._loss(example, order, blur) for example in dev]).mean())
        return {"score": -loss, "dev_loss": loss}

    def save(self, folder: Path) -> None:
        """Write the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights_of(self), folder / "model.safetensors")
        with (folder / "saves.txt").open("a", encoding="utf-8") as file:
            file.write("saved\n")

    def _loss(self, example: int, order: Tensor, blur: Tensor) -> Tensor:
        logits = self.model(self.features[example][order] + blur, example % 2)
        relevant = self.relevant[example][order]
        present = torch.ones_like(relevant)
        return match_loss(logits[None], relevant[None], present[None], "sigmoid")[0]


def weights_of(task: ToyTask) -> dict[str, Tensor]:
    """Copy the weights of the model."""
    return {name: weight.detach().clone() for name, weight in task.model.state_dict().items()}


def losses_of(folder: Path) -> list[dict[str, Any]]:
    """Read the log of a run without what depends on the clock. Any: JSON."""
    return [{key: record[key] for key in record if key != "seconds"} for record in read_log(folder)]


def train(folder: Path, settings: LoopSettings, *, dropout: float, hidden: int) -> None:
    """Train in a process of its own, which may be killed."""
    torch.set_num_threads(1)
    fit(ToyTask(dropout=dropout, hidden=hidden), settings, folder, seed=3)


class FullDisk(ToyTask):
    """From its third evaluation on no file may grow beyond 20 kB."""

    _evaluations = 0

    def evaluate(self) -> Mapping[str, float]:
        """Measure, and fill the disk."""
        self._evaluations += 1
        if self._evaluations == 3:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        return super().evaluate()


def train_until_full(folder: Path, settings: LoopSettings, answer: Path) -> None:
    """Train in a process of its own, and write which error came."""
    torch.set_num_threads(1)
    try:
        fit(FullDisk(hidden=4_000), settings, folder)
    except CheckpointError as error:
        answer.write_text(f"{error.path}\n{error}", encoding="utf-8")


if __name__ == "__main__":
    where, chosen = Path(sys.argv[1]), json.loads(sys.argv[2])
    train(where, QUICK.model_copy(update=chosen), dropout=0.0, hidden=16)
