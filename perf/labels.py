"""Can a backbone learn to answer with the label of a candidate at all?

Run as: python perf/labels.py BENCHMARK [--labels new] [--candidates 4 10] [--steps 100] [--apart]
            [--closed] [--out FOLDER]
The easiest question there is: the words of one candidate's name stand in the profile as aspect
words; its label is the answer. A LoRA as in configs/nano-joint.toml is trained on questions
drawn from the names of BENCHMARK's candidates. Printed every ten steps: how often the likeliest
label was the right one in the last ten steps, and the loss; by chance one in CANDIDATES, and its
logarithm. Of several numbers of candidates, each has its steps, one after the other. With --out the
adapter is kept, as a beginning for `visuallens train joint --adapter FOLDER`.
"""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from visuallens import registry
from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.config import load_settings
from visuallens.models.backbones.adapters import Lora, add_adapter, save_adapter
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.label_space import LabelSpace
from visuallens.prompts.matching import CandidateLine, matching_prompt
from visuallens.training.losses import match_loss

CONFIG = Path(__file__).parents[1] / "configs" / "nano-joint.toml"
_BATCH = 4
_WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and which of its candidates is meant."""

    prompt: str
    answer: int


def main() -> None:
    """Train, and print how it goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("--labels", choices=["new", "letters"], default="new")
    parser.add_argument("--candidates", type=int, nargs="+", default=[10])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--apart", action="store_true", help="labels begin as far apart as words")
    parser.add_argument("--closed", action="store_true", help="the label also ends its line")
    given = parser.parse_args()
    backbone = open_backbone(given.labels, apart=given.apart)
    table = pq.read_table(Benchmark(given.benchmark).path(schema.CANDIDATES), columns=["name"])
    names: list[str] = table.column("name").to_pylist()
    labels = backbone.trained_labels
    if labels is None:
        raise SystemExit("the backbone has no labels")
    generator = np.random.default_rng(0)
    trained = [one for one in backbone.parts.model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=given.rate, weight_decay=0.0)
    for count in given.candidates:
        print(f"{count} candidates; by chance: right {1 / count:.0%}, loss {math.log(count):.2f}")
        hits: list[bool] = []
        losses: list[float] = []
        for step in range(1, given.steps + 1):
            optimiser.param_groups[0]["lr"] = given.rate * min(1.0, step / _WARM_UP)
            asked = [
                ask(names, labels, count, generator, closed=given.closed) for _ in range(_BATCH)
            ]
            loss, right = learn(backbone, labels.token_ids[:count], asked)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            hits += right
            losses.append(float(loss.detach()))
            if step % 10 == 0:
                share, mean = np.mean(hits[-10 * _BATCH :]), np.mean(losses[-10:])
                print(f"step {step}: right {share:.0%}, loss {mean:.2f}", flush=True)
    if given.out is not None:
        save_adapter(backbone, given.out, {"trained_on": {"labels": str(given.benchmark)}})


def open_backbone(labels: str, *, apart: bool) -> LocalBackbone:
    """Open nano with a fresh adapter."""
    settings = load_settings(CONFIG, ["backbone.dtype=float32"])
    backbone: LocalBackbone = registry.load("backbones", "nano")(settings.backbone)
    if apart:
        weight = backbone.parts.model.get_input_embeddings().weight
        ids = backbone.label_space("new").token_ids
        words = weight[: min(ids)].float()
        noise = torch.randn((len(ids), words.shape[1]), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            weight[list(ids)] = (words.mean(0) + words.std(0) * noise).to(weight.dtype)
    lora = settings.training.lora
    torch.manual_seed(0)
    add_adapter(
        backbone,
        Lora(lora.rank, lora.alpha, lora.dropout),
        "letters" if labels == "letters" else "new",
        settings.matching.style,
    )
    backbone.parts.model.train()
    return backbone


def ask(
    names: list[str],
    labels: LabelSpace,
    count: int,
    generator: np.random.Generator,
    *,
    closed: bool,
) -> Question:
    """Draw candidates, and give one of them away by the words of its name."""
    drawn = [names[at] for at in generator.choice(len(names), count, replace=False)]
    answer = int(generator.integers(count))
    words = re.findall(r"[A-Za-z']{4,}", drawn[answer]) or [drawn[answer]]
    lines = [CandidateLine(label, name) for label, name in zip(labels.labels, drawn, strict=False)]
    prompt = matching_prompt("film", [word.lower() for word in words], [], lines)
    if closed:
        for label, name in zip(labels.labels, drawn, strict=False):
            prompt = prompt.replace(f"{label} {name}\n", f"{label} {name} {label}\n")
    return Question(prompt, answer)


def learn(
    backbone: LocalBackbone, ids: tuple[int, ...], asked: list[Question]
) -> tuple[torch.Tensor, list[bool]]:
    """Give the mean loss of a batch, with its gradient, and which were right."""
    with torch.autocast("cpu", torch.bfloat16):
        encoded = backbone.encode([None] * len(asked), [one.prompt for one in asked])
        inputs = backbone.training_inputs(encoded)
        output = backbone.parts.model(**inputs, logits_to_keep=1, use_cache=False)
    logits = output.logits[:, -1][:, list(ids)].float()
    relevant = torch.zeros(logits.shape, dtype=torch.bool)
    for row, one in enumerate(asked):
        relevant[row, one.answer] = True
    loss = match_loss(logits, relevant, torch.ones_like(relevant), "listwise").mean()
    answers = torch.tensor([one.answer for one in asked])
    return loss, (logits.argmax(dim=1) == answers).tolist()


if __name__ == "__main__":
    main()
