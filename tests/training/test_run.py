from __future__ import annotations

import json
from pathlib import Path

import pytest

from visuallens import __version__
from visuallens.config import load_settings
from visuallens.errors import TrainingError
from visuallens.training.run import RUN, SETTINGS, open_run

CHOSEN = [
    "preset=paper-8b",
    "captioner=none",
    "seed=4",
    "backbone.adapter='a folder/b'",
    "training.captions.grid_sides=[2, 4]",
    "training.loop.learning_rate=3e-5",
]


def test_a_run_is_repeated_from_its_own_settings(tmp_path: Path) -> None:
    settings = load_settings(None, CHOSEN)
    open_run(tmp_path / "new" / "run", "joint", settings)
    again = load_settings(tmp_path / "new" / "run" / SETTINGS)
    assert again.model_dump() == settings.model_dump()
    assert again.captioner is None
    record = json.loads((tmp_path / "new" / "run" / RUN).read_text())
    assert record == {"stage": "joint", "version": __version__, "seed": 4}


def test_a_run_goes_on_with_the_same_settings(tmp_path: Path) -> None:
    open_run(tmp_path, "joint", load_settings(None, CHOSEN))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    open_run(tmp_path, "joint", load_settings(tmp_path / SETTINGS))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_that_was_killed_between_its_two_files_goes_on(tmp_path: Path) -> None:
    for missing in (RUN, SETTINGS):
        open_run(tmp_path, "joint", load_settings())
        (tmp_path / missing).unlink()
        open_run(tmp_path, "joint", load_settings())
        assert (tmp_path / missing).is_file()


def test_other_settings_are_refused_and_the_first_ones_named(tmp_path: Path) -> None:
    open_run(tmp_path, "joint", load_settings(None, ["seed=1"]))
    other = ["seed=2", "training.loop.steps=7", "training.lora.rank=3", "backbone.model='x'"]
    with pytest.raises(TrainingError) as caught:
        open_run(tmp_path, "joint", load_settings(None, other))
    message = str(caught.value)
    assert "seed: there 1, here 2" in message
    assert "and 1 more" in message
    assert "--out" in message
    assert json.loads((tmp_path / SETTINGS).read_text())["seed"] == 1


def test_settings_of_another_version_are_named_too(tmp_path: Path) -> None:
    open_run(tmp_path, "joint", load_settings())
    record = json.loads((tmp_path / SETTINGS).read_text())
    record["training"]["loop"]["speed"] = record["training"]["loop"].pop("steps")
    (tmp_path / SETTINGS).write_text(json.dumps(record))
    with pytest.raises(TrainingError, match=r"loop\.steps: there nothing, here 1000.*loop\.speed"):
        open_run(tmp_path, "joint", load_settings())


def test_another_stage_is_refused(tmp_path: Path) -> None:
    open_run(tmp_path, "captions", load_settings())
    with pytest.raises(TrainingError, match="stage 'captions', not 'joint'"):
        open_run(tmp_path, "joint", load_settings())


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff"])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    open_run(tmp_path, "joint", load_settings())
    (tmp_path / SETTINGS).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(TrainingError, match=r"settings\.json cannot be read"):
        open_run(tmp_path, "joint", load_settings())


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file"):
        open_run(tmp_path / "file", "joint", load_settings())
