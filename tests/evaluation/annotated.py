"""Annotation pages as tests look into them, and what people export from them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visuallens.benchmark.folder import Benchmark
from visuallens.evaluation.annotation.export import FORMAT, VERSION

# Any, here and below: JSON.
Record = dict[str, Any]


def data_of(html: str) -> Record:
    """Read what the script of a page reads."""
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script', html, re.DOTALL
    )
    record: Record = json.loads(text)
    return record


def export_of(
    benchmark: Benchmark, annotator: str, rankings: Mapping[str, Sequence[str]], **changed: object
) -> Record:
    """Make what the page exports when somebody ranks these candidates of these test examples."""
    offered = {one.id: [c.id for c in one.candidates] for one in benchmark.requests("test")}
    return {
        "format": FORMAT,
        "version": VERSION,
        "benchmark": benchmark.name,
        "checksum": benchmark.about["checksum"],
        "split": "test",
        "annotator": annotator,
        "questions": [
            {
                "example_id": example_id,
                "ranked": list(ranked),
                "unranked": [one for one in offered[example_id] if one not in ranked],
            }
            for example_id, ranked in rankings.items()
        ],
        **changed,
    }


def write_export(path: Path, record: Record) -> Path:
    path.write_text(json.dumps(record), encoding="utf-8")
    return path
