"""The whole method on the synthetic world beats every control, and each part it is denied costs.

The commands build and index the dump, train a small PaliGemma and write the run files, which are
compared by the bootstrap of users. See docs/synthetic.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from visuallens.benchmark.folder import Benchmark
from visuallens.cli.evaluate import as_text
from visuallens.cli.main import visuallens
from visuallens.evaluation.evaluate import Evaluation, evaluate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/synthetic.toml"
EXAMPLES = 240
CONTROLS = {
    "random": ("--control", "random"),
    "rating": ("--control", "rating"),
    "train popularity": ("--control", "popularity"),
    "nearest": ("--control", "nearest"),
}
DENIED = {
    "shuffled history": ("--shuffled-history",),
    "no photos": ("--set=matching.aspects=false", "--set=matching.captions=false",
                  "--set=matching.image=false"),
    "no retrieval": ("--set=retrieval.by_category=false",),
    "no aspect words": ("--set=matching.aspects=false",),
    "no captions": ("--set=matching.captions=false",),
    "no image": ("--set=matching.image=false",),
}  # fmt: skip
METHOD = "the method"


# Any: JSON.
def called(*arguments: object) -> dict[str, Any]:
    texts = [*map(str, arguments), "--json"]
    result = CliRunner().invoke(visuallens, texts, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def interval(found: Evaluation, run: str) -> tuple[float, float]:
    """How much better a run is than the method, at 95%."""
    return next(one.interval for one in found.differences if one.run == run)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Make the world, train on it, and write a run file of each row."""
    at = tmp_path_factory.mktemp("synthetic")
    configured = ("--config", CONFIG)
    called("benchmark", "synthesize", at / "world", "--backbone", at / "small")
    built = at / "synthetic-google"
    called("benchmark", "build", "synthetic-google", "--raw", at / "world", "--out", built,
           "--workers", 1, *configured)  # fmt: skip
    library = ("--library", at / "drawn")
    called("index", at / "world/photos", *library, *configured)
    weights = f"--set=backbone.model={json.dumps(str(at / 'small'))}"
    backbone = ("--backbone", "paligemma", weights, *library, *configured)
    trained = called("train", "joint", built, *backbone, "--out", at / "run")
    asked = ("--ranker", "visuallens", *backbone, "--adapter", trained["adapter"])
    denied = {name: (*asked, *more) for name, more in DENIED.items()}
    rows = {**CONTROLS, METHOD: asked, **denied}
    files = {name: at / f"{name}.run" for name in rows}
    for name, arguments in rows.items():
        called("rank", built, "--out", files[name], "--examples", EXAMPLES, *arguments)
    return {"benchmark": built, **files}


@pytest.fixture(scope="module")
def found(runs: Mapping[str, Path]) -> Evaluation:
    others = [runs[name] for name in (*CONTROLS, *DENIED)]
    return evaluate(Benchmark(runs["benchmark"]), others, baseline=runs[METHOD], metrics=("mrr",))


def test_the_method_beats_chance_and_every_control(found: Evaluation) -> None:
    sys.stdout.write(as_text(found))  # seen with -s or -rP
    method = next(one for one in found.runs if one.run == METHOD)
    low, _ = method.intervals["mrr"]
    assert low > found.random.metrics["mrr"] + 0.1
    for name in CONTROLS:
        _, high = interval(found, name)
        assert high < -0.05, name


@pytest.mark.parametrize("name", DENIED)
def test_whatever_it_is_denied_costs(found: Evaluation, name: str) -> None:
    _, high = interval(found, name)
    assert high < 0


@pytest.mark.parametrize("name", ["shuffled history", "no photos"])
def test_without_the_photos_of_the_user_little_more_than_chance_is_left(
    found: Evaluation, name: str
) -> None:
    score = next(one for one in found.runs if one.run == name)
    assert score.metrics["mrr"] < found.random.metrics["mrr"] + 0.1


def test_what_is_printed_is_labelled_synthetic(runs: Mapping[str, Path], found: Evaluation) -> None:
    assert as_text(found).startswith("synthetic-google, test split")
    about = Benchmark(runs["benchmark"]).about
    assert str(about["card"]["note"]).startswith("synthetic")
