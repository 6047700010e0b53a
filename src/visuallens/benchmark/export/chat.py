"""Chat JSON lines for trainers such as LLaMA-Factory and ms-swift (§5, candidate matching)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from visuallens.benchmark import schema
from visuallens.benchmark.export.staging import finished
from visuallens.benchmark.writing import write_json
from visuallens.errors import BenchmarkFolderError, RequestError
from visuallens.prompts import CandidateLine, matching_prompt

if TYPE_CHECKING:
    from visuallens.benchmark.folder import Benchmark
    from visuallens.prompts import Style
    from visuallens.types import Example

MAX_LABELS = 100
"""<I1> to <I100>, as many candidates as the paper draws."""

DATASET_INFO = "dataset_info.json"

_LOOKED_AT = 64
_HELD_PHOTOS = 2_000_000
"""More of them are read again and again, which takes longer, instead of held."""

_HELD_EXAMPLES = 4096
_IMAGE = "<image>"
_COLUMNS = {"messages": "messages", "images": "images"}
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
}


@dataclass(frozen=True, slots=True)
class ExportedChat:
    """What was written.

    Attributes:
        examples: split → lines.
        without_photos: examples none of whose photos is there.
        missing_photos: times that a photo was left out because its file is not there.
    """

    examples: Mapping[str, int]
    without_photos: int
    missing_photos: int


def export_chat(
    benchmark: Benchmark,
    out: Path,
    splits: Sequence[str],
    *,
    max_photos: int = 64,
    style: Style = "fenced",
) -> ExportedChat:
    """Write SPLIT.jsonl and dataset_info.json: one conversation an example.

    Each line has `messages`, a user's turn (an `<image>` for each photo, then the prompt of Figure
    7) and an assistant's turn (the labels of the ground truth, in the order of the candidates,
    joined by comma), and `images`, absolute paths of the newest photos of the history, oldest
    first. dataset_info.json names the files NAME_SPLIT for LLaMA-Factory; ms-swift reads the files
    as they are.

    What is not in it: the method of §4. No photo is chosen by category (the newest stand for the
    retrieved), there is no grid, no caption and no aspect word, and no photo of a candidate.
    Neither is the loss of §5: trainers of conversations learn the labels as text, token by token.

    Args:
        benchmark: an open one.
        out: does not exist, or is an empty folder.
        splits: which to write, each into a file of its own.
        max_photos: w; 0 for text alone.
        style: of the prompt.

    Returns:
        How much was written, and what is missing in it.

    Raises:
        BenchmarkFolderError: there is something at `out`, or no photo is on this machine.
        RequestError: an example has more candidates than there are labels.

    Source: Figure 7; §4.2 for max_photos = 64.
    Choice: a photo whose file is not there is left out, because trainers stop at one, and the next
        older takes its place; how often is returned.
    Choice: where the first examples of every split have no photo at all, nothing is written: photos
        lie in no order of the examples, so hardly any other would have one.
    """
    examples: dict[str, int] = {}
    photos = _Photos(max_photos)
    with finished(out) as work:
        if max_photos:
            _refuse_without_photos(benchmark, splits)
        for split in splits:
            lines = _lines(benchmark, split, photos, style)
            with (work / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(lines)
            examples[split] = benchmark.count(split)
        write_json(work / DATASET_INFO, _dataset_info(benchmark.name, splits))
    return ExportedChat(examples, photos.examples_without, photos.missing)


# Any: JSON values.
def chat_record(example: Example, photos: Sequence[str], style: Style = "fenced") -> dict[str, Any]:
    """Turn an example into one conversation.

    Args:
        example: with at most 100 candidates.
        photos: paths of what is shown of its history.
        style: of the prompt.

    Returns:
        `messages` and `images`.

    Raises:
        RequestError: it has more candidates than there are labels.
    """
    request = example.request
    if len(request.candidates) > MAX_LABELS:
        raise RequestError(
            f"Example {request.id} has {len(request.candidates)} candidates, labels go from <I1> "
            f"to <I{MAX_LABELS}>. Build the benchmark with at most {MAX_LABELS} candidates."
        )
    labels = {one.id: f"<I{at}>" for at, one in enumerate(request.candidates, start=1)}
    lines = [CandidateLine(labels[one.id], one.name, one.description) for one in request.candidates]
    prompt = matching_prompt(request.question.category, (), (), lines, style=style)
    answer = ", ".join(label for one, label in labels.items() if one in example.ground_truth)
    return {
        "messages": [
            {"role": "user", "content": _IMAGE * len(photos) + prompt},
            {"role": "assistant", "content": answer},
        ],
        "images": list(photos),
    }


class _Photos:
    """Chooses the photos of examples, and counts what is not there."""

    def __init__(self, max_photos: int) -> None:
        self._max_photos = max_photos
        # Histories of one user overlap, so the same files are asked for again and again.
        self._is_there = lru_cache(maxsize=262_144)(lambda path: Path(path).is_file())
        self.missing = 0
        self.examples_without = 0

    def newest(self, example: Example) -> list[str]:
        """List the newest photos whose files are there, oldest first."""
        newest: list[str] = []
        for photo in reversed(example.request.history.photos):
            if len(newest) == self._max_photos:
                break
            if self._is_there(photo.path):
                newest.append(photo.path)
            else:
                self.missing += 1
        self.examples_without += not newest
        return newest[::-1]


def _refuse_without_photos(benchmark: Benchmark, splits: Sequence[str]) -> None:
    looked_at = 0
    for split in splits:
        for found in benchmark.some(split, range(_LOOKED_AT)):
            looked_at += 1
            if any(Path(photo.path).is_file() for photo in found.example.request.history.photos):
                return
    if looked_at:
        raise BenchmarkFolderError(
            benchmark.folder,
            f"not one of the photos of {looked_at:,} examples is in {benchmark.photos_folder}",
            f"Fetch them with: visuallens benchmark fetch {benchmark.folder}, or give "
            "--max-photos 0.",
        )


def _examples(benchmark: Benchmark, split: str) -> Iterator[Example]:
    """Yield the examples of a split, some at a time if all their photos are too many to hold."""
    with benchmark.open_table(schema.PHOTOS) as file:
        is_large = file.metadata.num_rows > _HELD_PHOTOS
    if not is_large:
        yield from benchmark.examples(split)
        return
    count = benchmark.count(split)
    for first in range(0, count, _HELD_EXAMPLES):
        rows = range(first, min(first + _HELD_EXAMPLES, count))
        yield from (found.example for found in benchmark.some(split, rows))


def _lines(benchmark: Benchmark, split: str, photos: _Photos, style: Style) -> Iterator[str]:
    examples = tqdm(
        _examples(benchmark, split),
        desc=split,
        total=benchmark.count(split),
        unit="example",
        disable=None,
    )
    for example in examples:
        record = chat_record(example, photos.newest(example), style)
        yield json.dumps(record, ensure_ascii=False) + "\n"


# Any: JSON values.
def _dataset_info(name: str, splits: Sequence[str]) -> dict[str, Any]:
    """Describe the files as LLaMA-Factory wants it; its names must not hold commas or spaces."""
    plain = re.sub(r"[^\w.-]", "_", name)
    return {
        f"{plain}_{split}": {
            "file_name": f"{split}.jsonl",
            "formatting": "sharegpt",
            "columns": _COLUMNS,
            "tags": _TAGS,
        }
        for split in splits
    }
