from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tests.benchmark.audit.planting import change_examples, seal
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark import schema
from visuallens.benchmark.audit import audit
from visuallens.benchmark.folder import Benchmark
from visuallens.cli.benchmark import command
from visuallens.cli.benchmark.audit import LEAK


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_benchmark_raises_no_alarm(tmp_path: Path, seed: int) -> None:
    folder = write_tiny(tmp_path / "tiny", seed=seed, photos=False)
    assert [one.evidence for one in audit(Benchmark(folder)).leaks] == []


@pytest.mark.parametrize("seed", range(20, 22))
def test_a_clean_benchmark_with_photos_passes_every_check(tmp_path: Path, seed: int) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=120, users=24, seed=seed)
    verdicts = {one.name: one.verdict.value for one in audit(Benchmark(folder)).checks}
    assert verdicts.pop("business overlap") == "not checked"
    assert set(verdicts.values()) == {"ok"}


def test_it_says_what_it_looked_at_and_draws_the_same_again(tmp_path: Path) -> None:
    benchmark = Benchmark(write_tiny(tmp_path / "tiny", examples=90, users=20, photos=False))
    found = audit(benchmark, sample=20, requests=5)
    assert found.looked_at == {split: min(20, benchmark.count(split)) for split in schema.SPLITS}
    assert found.requests == 15
    assert audit(benchmark, sample=20, requests=5) == found


def test_without_photo_files_pictures_are_not_checked(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", photos=False)
    checks = {one.name: one for one in audit(Benchmark(folder)).checks}
    for name in ("near-duplicate photos", "category pictures"):
        assert checks[name].verdict.value == "not checked"
        assert "0 of" in checks[name].evidence


def test_a_benchmark_without_examples_is_not_checked_and_no_error(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=12, photos=False)
    for split in schema.SPLITS:
        for name in (schema.examples_file(split), schema.ground_truth_file(split)):
            pq.write_table(pq.read_table(folder / name).slice(0, 0), folder / name)
        (folder / schema.qrels_file(split)).write_text("")
    seal(folder)
    found = audit(Benchmark(folder))
    assert found.leaks == ()
    assert {one.name: one.verdict.value for one in found.checks}["candidate order"] == "not checked"


def test_the_command_prints_verdicts_and_exits_with_0_or_12(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", photos=False)
    clean = CliRunner().invoke(command, ["audit", str(folder), "--json"])
    assert clean.exit_code == 0, clean.output
    record = json.loads(clean.stdout)
    assert record["leaks"] == 0
    assert record["checksum"] == Benchmark(folder).about["checksum"]
    assert {"name", "verdict", "evidence", "figures"} == set(record["checks"][0])

    def truth_first(row: dict[str, list[str]]) -> None:
        row["candidates"].sort(key=lambda one: one not in row["ground_truth"])

    change_examples(folder, truth_first)
    leaky = CliRunner().invoke(command, ["audit", str(folder), "--split", "train"])
    assert leaky.exit_code == LEAK
    lines = leaky.stdout.splitlines()
    assert any(line.startswith("leak         candidate order") for line in lines)
    assert any(line.startswith("leak         checksums") for line in lines)
    assert any(line.startswith("not checked  business overlap") for line in lines)
