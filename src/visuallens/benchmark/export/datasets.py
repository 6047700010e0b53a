"""A folder that `datasets.load_dataset` opens, which is also what the Hugging Face Hub shows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from visuallens.benchmark import schema
from visuallens.benchmark.export.staging import finished

if TYPE_CHECKING:
    from visuallens.benchmark.folder import Benchmark

CARD = "README.md"

_SPLIT_NAMES = {"train": "train", "dev": "validation", "test": "test"}
_WHOLE = {
    "candidates": schema.CANDIDATES,
    "photos": schema.PHOTOS,
    "categories": schema.CATEGORIES,
}
_EXPLAINED = """
```python
from datasets import load_dataset

examples = load_dataset("FOLDER", "examples")  # train, validation, test
answers = load_dataset("FOLDER", "ground_truth")  # the same splits, by example_id
candidates = load_dataset("FOLDER", "candidates", split="train")
photos = load_dataset("FOLDER", "photos", split="train")
```

- `examples`: question, history (photo ids, oldest first) and candidates (ids, shuffled).
- `ground_truth`: the answers, apart from the questions. No ranker may read it.
- `candidates`: name, description and photos. Leave out of a question the photos that its own user
  took.
- `photos`: path or address, who took it, and of what. The files themselves are not here.
- `categories`: photos that show what a category looks like, of which none may be of the question's
  own candidates.

Where the candidates are is left out on purpose: they were drawn around a place of the ground truth.

Settings of the build:
"""


def export_datasets(benchmark: Benchmark, out: Path, splits: Sequence[str]) -> list[str]:
    """Write the tables with a dataset card, so that `load_dataset(OUT, "examples")` works.

    Configurations: `examples` (the default) and, apart from it, `ground_truth`, each with the
    splits train, validation (our dev) and test; `candidates`, `photos` and `categories`. Photo
    files are not in it, only their paths and addresses.

    Args:
        benchmark: an open one.
        out: does not exist, or is an empty folder.
        splits: which to write; those without examples are left out of the card, since `datasets`
            refuses an empty one.

    Returns:
        Names of the files.

    Raises:
        BenchmarkFolderError: there is something at `out` already.

    Choice: positions are not exported. The candidates lie around a place of the ground truth, so
        whoever loads positions beside the examples holds the answer. The anchor, in
        `ground_truth`, stays: it is part of the answer.
    Choice: files are hard links where the disk allows it, and copies elsewhere. Nothing of ours
        changes a file in place.
    """
    filled = [split for split in splits if benchmark.count(split)]
    tables = {
        "examples": {split: schema.examples_file(split) for split in filled},
        "ground_truth": {split: schema.ground_truth_file(split) for split in filled},
    }
    names = [*(file for files in tables.values() for file in files.values()), *_WHOLE.values()]
    with finished(out) as work:
        for name in names:
            _link(benchmark.path(name), work / name)
        card = "\n".join(_card(benchmark, tables))
        (work / CARD).write_text(card + "\n", encoding="utf-8", newline="\n")
    return [*names, CARD]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _card(benchmark: Benchmark, tables: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Write the dataset card: what `datasets` reads, then what people read."""
    card = {"title": benchmark.name, **benchmark.about.get("card", {})}
    yield from ("---", f"pretty_name: {json.dumps(card['title'])}", "license: other", "configs:")
    for config, files in tables.items():
        if not files:
            continue
        yield f"- config_name: {config}"
        if config == "examples":
            yield "  default: true"
        yield "  data_files:"
        for split, file in files.items():
            yield f"  - split: {_SPLIT_NAMES[split]}"
            yield f"    path: {file}"
    for config, file in _WHOLE.items():
        yield from (f"- config_name: {config}", f"  data_files: {file}")
    yield from ("---", "", f"# {card['title']}", "")
    yield "A benchmark for recommending from a visual history (VisualLens, §6.1)."
    for key in ("note", "source", "licence", "citation"):
        if card.get(key):
            yield from ("", f"{key.capitalize()}: {card[key]}")
    yield _EXPLAINED
    yield from ("```json", json.dumps(benchmark.about.get("settings", {}), indent=2), "```", "")
    yield f"Name {benchmark.name}, seed {benchmark.seed}, checksum of the whole benchmark"
    yield f"`{benchmark.about['checksum']}`."
