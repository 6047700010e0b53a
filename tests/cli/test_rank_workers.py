from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.benchmark.tiny import write_tiny
from tests.cluster import ROOT
from tests.indexed import SMALL, USER, index_photos

from visuallens.cli.main import visuallens
from visuallens.cli.options import chosen_workers
from visuallens.errors import EvaluationError, MissingPackageError, RunFileError
from visuallens.workers import Workers


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("workers") / "tiny", examples=24, users=8)


@pytest.fixture(scope="module")
def library(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.sqlite"
    index_photos(path, tiny / "photos")
    return path


@pytest.fixture(autouse=True)
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a small model as a plug-in is, so that workers find it too."""
    about = tmp_path / "plug-ins" / "colours-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[visuallens.models]\ncolours = tests.indexed:ColourModel\n"
    )
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(about.parent)
    monkeypatch.setenv("PYTHONPATH", f"{about.parent}:{ROOT}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(visuallens, [str(one) for one in arguments])


# Any: JSON.
def called(*arguments: object) -> dict[str, Any]:
    result = call(*arguments, "--json")
    assert result.exception is None, result.exception
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def ranked(tiny: Path, library: Path, out: Path, *more: str) -> tuple[object, ...]:
    small = [f"--set={one}" for one in SMALL]
    where = ("--library", library, "--user", USER, "--split", "train", "--out", out)
    return ("rank", tiny, "--ranker", "similarity", *where, *small, *more)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_workers_rank_to_the_same_bytes(
    tiny: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="the `scale` extra is not installed")
    alone = called(*ranked(tiny, library, tmp_path / "alone.run"))
    # Named as seen from here, as a person would.
    monkeypatch.chdir(tiny.parent)
    out = tmp_path / "a.run"
    record = called(*ranked(Path("tiny"), library, out, "--engine", engine, "--workers", "2"))
    assert out.read_bytes() == (tmp_path / "alone.run").read_bytes()
    assert (record["engine"], record["workers"]) == (engine, 2)
    assert (alone["engine"], alone["workers"]) == ("local", 1)
    apart = {"run", "latency_ms", "engine", "workers"}
    assert {k: v for k, v in record.items() if k not in apart} == {
        k: v for k, v in alone.items() if k not in apart
    }
    # A finished run is left alone, whoever asks.
    assert called(*ranked(tiny, library, out)) == record


def test_workers_refuse_in_the_same_words(
    tiny: Path, library: Path, photo_folder: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "library.sqlite"
    index_photos(empty, photo_folder)
    here = call(*ranked(tiny, empty, tmp_path / "a.run")).exception
    there = call(*ranked(tiny, empty, tmp_path / "a.run", "--workers", "2")).exception
    assert isinstance(here, EvaluationError)
    assert str(there) == str(here)
    out = tmp_path / "b.run"
    called(*ranked(tiny, library, out, "--examples", "3"))
    error = call(*ranked(tiny, library, out, "--examples", "4", "--workers", "2")).exception
    assert isinstance(error, RunFileError)
    assert "sample: there 3, here 4" in str(error)


def test_without_ray_the_error_says_how_to_install_it(
    tiny: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    error = call(*ranked(tiny, library, tmp_path / "a.run", "--engine", "ray")).exception
    assert isinstance(error, MissingPackageError)
    assert "pip install 'visuallens[benchmark,scale]'" in str(error)


@pytest.mark.parametrize("more", [("--engine", "ray"), ("--workers", "2"), ("--gpus", "1")])
def test_a_control_takes_no_workers(tiny: Path, tmp_path: Path, more: tuple[str, str]) -> None:
    result = call("rank", tiny, "--control", "rating", "--out", tmp_path / "a.run", *more)
    assert result.exit_code == 2
    assert "--control goes without --engine, --workers and --gpus" in result.output


def test_graphics_cards_are_given_by_ray_alone(tiny: Path, library: Path, tmp_path: Path) -> None:
    result = call(*ranked(tiny, library, tmp_path / "a.run", "--gpus", "1"))
    assert result.exit_code == 2
    assert "--gpus goes with --engine ray" in result.output


def test_several_graphics_cards_are_whole() -> None:
    with pytest.raises(click.UsageError, match="--gpus above 1 must be whole"):
        chosen_workers("ray", 2, 1.5)
    for gpus in (0.5, 1.0, 2.0):
        assert chosen_workers("ray", 2, gpus) == Workers("ray", 2, gpus)


def test_processes_index_the_same(tiny: Path, tmp_path: Path) -> None:
    photos = sorted((tiny / "photos").iterdir())[:8]
    count = sum(1 for folder in photos for _ in folder.iterdir())
    records = []
    for name, more in (("alone", ()), ("together", ("--workers", "2"))):
        where = ("--library", tmp_path / name, "--set", "index.model=colours")
        records.append(called("index", *photos, *where, *more))
        assert called("status", "--library", tmp_path / name)["photos"] == count
    assert records[0] | {"seconds": 0} == records[1] | {"seconds": 0}
    assert records[0]["indexed"] == count > 32
    result = call("index", photos[0], "--library", tmp_path / "x", "--estimate", "--workers", "2")
    assert result.exit_code == 2
    assert "--estimate goes without --engine and --workers" in result.output
