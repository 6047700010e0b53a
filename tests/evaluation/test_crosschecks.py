"""Other programs read our run and qrels files, and come to our figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import read_lists
from visuallens.benchmark.run_file import align, read_run
from visuallens.benchmark.schema import qrels_file
from visuallens.config import load_settings
from visuallens.evaluation.evaluate import evaluate
from visuallens.evaluation.measures import measure
from visuallens.evaluation.metrics import ordered
from visuallens.evaluation.runs import Asked, write_run
from visuallens.rankers.baselines import RandomRanker


class Files(NamedTuple):
    """A run without equal scores, the ground truth, and what we say of it."""

    run: Path
    qrels: Path
    ours: Mapping[str, Mapping[str, float]]
    """Metric → question → value."""


METRICS = ("hit@1", "hit@3", "hit@10", "mrr", "ndcg", "ndcg@10", "map")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("crosschecks")
    tiny, run = Benchmark(write_tiny(folder / "tiny", photos=False)), folder / "random.run"
    write_run(RandomRanker(), tiny, run, Asked("train", load_settings()))
    lists = read_lists(tiny, "train")
    scores = align(read_run(run), lists, tiny)
    assert len(np.unique(scores)) == len(scores)
    answers = ordered(lists, scores)
    ours = {}
    for name in METRICS:
        values = measure(name).compute(answers)
        assert isinstance(values, np.ndarray)
        ours[name] = dict(zip(lists.example_ids, values.tolist(), strict=True))
    said = evaluate(tiny, [run], metrics=METRICS).runs[0].metrics
    assert said == pytest.approx({name: np.mean(list(ours[name].values())) for name in METRICS})
    return Files(run, tiny.path(qrels_file("train")), ours)


def test_trec_eval_says_the_same_of_every_question(files: Files) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    theirs = {
        "hit@1": "success_1", "hit@3": "success_3", "hit@10": "success_10", "mrr": "recip_rank",
        "ndcg": "ndcg", "ndcg@10": "ndcg_cut_10", "map": "map",
    }  # fmt: skip
    with files.qrels.open() as qrels, files.run.open() as run:
        parsed = pytrec_eval.parse_qrel(qrels), pytrec_eval.parse_run(run)
    measures = {"success.1,3,10", "recip_rank", "ndcg", "ndcg_cut.10", "map"}
    found = pytrec_eval.RelevanceEvaluator(parsed[0], measures).evaluate(parsed[1])
    for name, their in theirs.items():
        values = {example_id: found[example_id][their] for example_id in found}
        assert values == pytest.approx(files.ours[name], abs=1e-9), name


RANX = {
    "hit@1": 0.17142857142857143,
    "hit@3": 0.4857142857142857,
    "hit@10": 0.8,
    "mrr": 0.38415100772243627,
    "ndcg": 0.5140039043811305,
    "ndcg@10": 0.30703602540742586,
    "map": 0.27985416020236725,
}
"""What `ranx.evaluate` of ranx 0.3.21 says of these two files, read by `Qrels.from_file` and
`Run.from_file`. It is in no extra: 252 MB with numba and llvmlite, and it compiles for a minute."""


def test_ranx_says_the_same(files: Files) -> None:
    means = {name: np.mean(list(values.values())) for name, values in files.ours.items()}
    assert means == pytest.approx(RANX, abs=1e-9)
