from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visuallens import registry
from visuallens.benchmark.synthesis import vocabulary
from visuallens.config import BackboneSettings
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.small import write_small
from visuallens.prompts import CandidateLine, matching_prompt

LABELS = [f"<I{number}>" for number in range(1, 11)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LocalBackbone:
    folder = tmp_path_factory.mktemp("weights") / "small"
    write_small(folder, vocabulary())
    settings = BackboneSettings(name="paligemma", model=str(folder), device="cpu")
    backbone: LocalBackbone = registry.load("backbones", "paligemma")(settings)
    return backbone


def prompt() -> str:
    captions = [(1, "A piano"), (2, "A piano"), (3, "A piano"), (4, "A piano")]
    names = ("Ashgate", "Elmham", "Oakdale", "Birchham", "Cedargate")
    words = ("amber piano quiet", "jade lantern rustic")
    lines = [CandidateLine(label, names[at % 5], words[at % 2]) for at, label in enumerate(LABELS)]
    return matching_prompt("cafe", ["quiet"], captions, lines, style="paper")


def test_the_words_of_the_world_and_of_the_prompts_are_tokens(small: LocalBackbone) -> None:
    tokenizer = small.parts.tokenizer
    ids = tokenizer.encode(prompt(), add_special_tokens=False)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.encode("zebra", add_special_tokens=False) == [tokenizer.unk_token_id]


def attentions(small: LocalBackbone, text: str) -> tuple[list[int], list[torch.Tensor]]:
    """Token ids, and the attention (heads, tokens, tokens) of each layer."""
    model = small.parts.model
    model.set_attn_implementation("eager")
    inputs = small.encode([None], [text])
    with torch.no_grad():
        found = model(**inputs, output_attentions=True).attentions
    return inputs["input_ids"][0].tolist(), [one[0] for one in found]


def test_the_first_heads_look_three_four_and_five_words_back(small: LocalBackbone) -> None:
    _, (first, _) = attentions(small, prompt())
    for head, back in enumerate((3, 4, 5)):
        looked = first[head].argmax(dim=-1)[10:].tolist()
        assert np.mean([at - one == back for at, one in enumerate(looked, start=10)]) > 0.9


def test_the_end_of_a_prompt_reads_its_beginning(small: LocalBackbone) -> None:
    ids, (first, _) = attentions(small, prompt())
    candidates = ids.index(small.parts.tokenizer.convert_tokens_to_ids(LABELS[0]))
    for head in (3, 4, 5):
        assert first[head][-1, :candidates].sum() > 0.8


def test_untrained_it_finds_the_words_that_were_read(small: LocalBackbone) -> None:
    ids, (_, second) = attentions(small, prompt())
    tokenizer = small.parts.tokenizer
    start = ids.index(tokenizer.convert_tokens_to_ids(LABELS[0]))
    mean = {
        word: np.mean(
            [
                float(second[0, -1, at])
                for at in range(start, len(ids))
                if ids[at] == tokenizer.convert_tokens_to_ids(word)
            ]
        )
        for word in ("piano", "lantern")
    }
    assert mean["piano"] > 3 * mean["lantern"]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        write_small(tmp_path / name, ["word"], seed=seed)
    one, again, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "again", "other")
    )
    assert one == again
    assert one != other
