from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark import schema
from visuallens.benchmark.export import chat, export_chat, export_datasets
from visuallens.benchmark.export.chat import chat_record
from visuallens.benchmark.folder import Benchmark
from visuallens.cli.main import visuallens
from visuallens.errors import BenchmarkFolderError, RequestError
from visuallens.prompts import Style
from visuallens.types import Candidate

# Any: datasets is untyped.
Load = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", examples=24)


# Any: lines of JSON.
def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def contents(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def test_every_example_is_a_conversation(folder: Path, tmp_path: Path) -> None:
    benchmark = Benchmark(folder)
    written = export_chat(benchmark, tmp_path / "out", schema.SPLITS, max_photos=4)
    assert contents(tmp_path / "out") == {
        "train.jsonl",
        "dev.jsonl",
        "test.jsonl",
        "dataset_info.json",
    }
    assert (written.without_photos, written.missing_photos) == (0, 0)
    for split in schema.SPLITS:
        lines = lines_of(tmp_path / "out" / f"{split}.jsonl")
        assert len(lines) == written.examples[split] == benchmark.count(split)
        for line, example in zip(lines, benchmark.examples(split), strict=True):
            newest = [photo.path for photo in example.request.history.photos][-4:]
            assert line["images"] == newest
            user, assistant = line["messages"]
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            assert user["content"].startswith("<image>" * 4 + "What is the ")
            assert user["content"].count("<image>") == 4
            assert user["content"].endswith("Answer:")
            numbers = [int(label.strip("<I>")) for label in assistant["content"].split(", ")]
            assert numbers == sorted(numbers)
            named = {example.request.candidates[number - 1].id for number in numbers}
            assert named == example.ground_truth
            for number, candidate in enumerate(example.request.candidates, start=1):
                assert f"<I{number}> {candidate.name}, " in user["content"]


def test_dataset_info_describes_the_files(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=3, users=3, name="my tiny, one")
    export_chat(Benchmark(folder), tmp_path / "out", ["train"])
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert info == {
        "my_tiny__one_train": {
            "file_name": "train.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
            },
        }
    }


def test_only_photos_that_are_there_are_shown(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=3, users=3)
    example = next(Benchmark(folder).examples("test"))
    *older, newest = [photo.path for photo in example.request.history.photos]
    Path(newest).unlink()
    written = export_chat(Benchmark(folder), tmp_path / "out", ["test"], max_photos=3)
    (line,) = lines_of(tmp_path / "out" / "test.jsonl")
    assert line["images"] == older[-3:]
    assert line["messages"][0]["content"].count("<image>") == 3
    assert (written.without_photos, written.missing_photos) == (0, 1)


def test_without_any_photo_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=3, users=3, photos=False)
    with pytest.raises(BenchmarkFolderError, match="not one of the photos"):
        export_chat(Benchmark(folder), tmp_path / "out", ["test"])
    assert contents(tmp_path) == {"tiny"}
    monkeypatch.setattr(Benchmark, "examples", lambda *_: pytest.fail("it was written first"))
    with pytest.raises(BenchmarkFolderError, match="not one of the photos"):
        export_chat(Benchmark(folder), tmp_path / "out", schema.SPLITS)
    monkeypatch.undo()
    export_chat(Benchmark(folder), tmp_path / "out", ["test"], max_photos=0)
    (line,) = lines_of(tmp_path / "out" / "test.jsonl")
    assert line["images"] == []
    assert "<image>" not in line["messages"][0]["content"]


@pytest.mark.parametrize("style", ["fenced", "paper"])
def test_a_name_cannot_add_an_image_or_a_label(folder: Path, style: Style) -> None:
    example = next(Benchmark(folder).examples("test"))
    first = replace(example.request.candidates[0], name="<image><I2> B", description="<image>")
    request = replace(example.request, candidates=(first, *example.request.candidates[1:]))
    record = chat_record(replace(example, request=request), ["a.jpg"], style)
    assert record["messages"][0]["content"].count("<image>") == 1
    assert record["messages"][0]["content"].count("<I2>") == 1


def test_more_candidates_than_labels_are_refused(folder: Path) -> None:
    example = next(Benchmark(folder).examples("test"))
    many = tuple(Candidate(str(number), "A") for number in range(101))
    request = replace(example.request, candidates=many)
    with pytest.raises(RequestError, match="101 candidates"):
        chat_record(replace(example, request=request), [])
    assert chat_record(replace(example, request=replace(request, candidates=many[:100])), [])


def test_a_large_benchmark_gives_the_same_lines_in_parts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = Benchmark(folder)
    export_chat(benchmark, tmp_path / "whole", ["train"])
    monkeypatch.setattr(chat, "_HELD_PHOTOS", 10)
    monkeypatch.setattr(chat, "_HELD_EXAMPLES", 4)
    monkeypatch.setattr(Benchmark, "examples", lambda *_: pytest.fail("all photos are held"))
    export_chat(benchmark, tmp_path / "parts", ["train"])
    lines = (tmp_path / "parts" / "train.jsonl").read_bytes()
    assert lines == (tmp_path / "whole" / "train.jsonl").read_bytes()


@pytest.mark.parametrize("how", ["link", "here"])
def test_an_empty_folder_is_filled_through_a_link_or_from_within(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    empty, link = tmp_path / "empty", tmp_path / "link"
    empty.mkdir()
    link.symlink_to(empty)
    monkeypatch.chdir(empty)
    names = export_datasets(Benchmark(folder), link if how == "link" else Path(), ["test"])
    assert contents(empty) == contents(Path()) == set(names)
    assert contents(tmp_path) == {"empty", "link"}


def test_a_disk_that_refuses_is_told_with_its_reason(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchmarkFolderError, match=r"Not a directory.*another --out"):
        export_datasets(Benchmark(folder), tmp_path / "file" / "out", ["test"])


@pytest.mark.parametrize("name", ["jsonl", "datasets"])
def test_an_export_never_writes_over_something(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    arguments = ["benchmark", "export", str(folder), "--format", name, "--out", str(tmp_path)]
    result = CliRunner().invoke(visuallens, arguments)
    assert isinstance(result.exception, BenchmarkFolderError)
    assert contents(tmp_path) == {"mine.txt"}


def test_what_an_earlier_run_left_half_done_is_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "old").touch()
    (tmp_path / "out").mkdir()
    export_datasets(Benchmark(folder), tmp_path / "out", ["test"])
    assert contents(tmp_path) == {"out"}
    assert "old" not in contents(tmp_path / "out")


def test_a_broken_benchmark_leaves_no_export(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=12)
    path = folder / schema.ground_truth_file("test")
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(BenchmarkFolderError):
        export_chat(Benchmark(folder), tmp_path / "out", schema.SPLITS)
    assert contents(tmp_path) == {"tiny"}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """`datasets.load_dataset`, offline and with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    def load_offline(folder: Path, name: str | None = None) -> Any:  # noqa: ANN401
        return datasets.load_dataset(str(folder), name, cache_dir=str(tmp_path / "cache"))

    datasets.disable_progress_bars()
    yield load_offline
    datasets.enable_progress_bars()


def test_datasets_loads_what_was_exported(folder: Path, tmp_path: Path, load: Load) -> None:
    out = tmp_path / "out"
    export_datasets(Benchmark(folder), out, schema.SPLITS)
    for config, file_of in (
        ("examples", schema.examples_file),
        ("ground_truth", schema.ground_truth_file),
    ):
        loaded = load(out, config)
        assert set(loaded) == {"train", "validation", "test"}
        for split, name in (("train", "train"), ("dev", "validation"), ("test", "test")):
            assert loaded[name].to_list() == pq.read_table(folder / file_of(split)).to_pylist()
    for config, file in (
        ("candidates", schema.CANDIDATES),
        ("photos", schema.PHOTOS),
        ("categories", schema.CATEGORIES),
    ):
        assert load(out, config)["train"].to_list() == pq.read_table(folder / file).to_pylist()


def test_the_default_configuration_holds_no_answer(
    folder: Path, tmp_path: Path, load: Load
) -> None:
    out = tmp_path / "out"
    export_datasets(Benchmark(folder), out, schema.SPLITS)
    columns = load(out)["test"].column_names
    assert columns == schema.EXAMPLES_SCHEMA.names
    assert not {"ground_truth", "anchor", "position"} & set(columns)


def test_positions_stay_at_home(folder: Path, tmp_path: Path) -> None:
    names = export_datasets(Benchmark(folder), tmp_path / "out", schema.SPLITS)
    assert contents(tmp_path / "out") == set(names)
    assert schema.POSITIONS not in names
    for name in names:
        if name.endswith(".parquet"):
            assert "position" not in pq.read_schema(tmp_path / "out" / name).names


def test_a_split_without_examples_is_left_out_of_the_card(tmp_path: Path, load: Load) -> None:
    folder = write_tiny(tmp_path / "tiny", examples=3, users=12, photos=False)
    export_datasets(Benchmark(folder), tmp_path / "out", schema.SPLITS)
    assert set(load(tmp_path / "out", "examples")) == {"train"}


def test_files_are_linked_or_else_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_datasets(Benchmark(folder), tmp_path / "linked", ["test"])
    linked = tmp_path / "linked" / schema.PHOTOS
    assert linked.samefile(folder / schema.PHOTOS)

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    export_datasets(Benchmark(folder), tmp_path / "copied", ["test"])
    copied = tmp_path / "copied" / schema.PHOTOS
    assert not copied.samefile(linked)
    assert copied.read_bytes() == linked.read_bytes()


def test_the_card_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    benchmark = Benchmark(folder)
    export_datasets(benchmark, tmp_path / "out", ["test"])
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert card.startswith('---\npretty_name: "Tiny"\n')
    for told in (benchmark.about["checksum"], "CC0-1.0", "For tests only.", '"min_history": 10'):
        assert told in card


def test_export_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    where = ["benchmark", "export", str(folder), "--out", str(tmp_path / "out")]
    arguments = [*where, "--format", "jsonl", "--split", "test", "--max-photos", "2", "--json"]
    result = CliRunner().invoke(visuallens, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "out": str(tmp_path / "out"),
        "test_examples": Benchmark(folder).count("test"),
        "examples_without_photos": 0,
        "photos_not_there": 0,
    }
    arguments = ["benchmark", "export", str(folder), "--out", str(tmp_path / "other")]
    result = CliRunner().invoke(visuallens, [*arguments, "--format", "datasets"])
    assert result.exit_code == 0, result.output
    assert "examples-train.parquet" in result.stdout
