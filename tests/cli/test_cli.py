from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from visuallens import errors
from visuallens.cli.benchmark import COMMANDS as BENCHMARK_COMMANDS
from visuallens.cli.main import COMMANDS, EXIT_CODES, exit_code, main, visuallens
from visuallens.cli.train import COMMANDS as TRAIN_COMMANDS

LONDON = ("--candidates", "london")


@pytest.fixture
def library(tmp_path: Path) -> str:
    return str(tmp_path / "library")


def call(*arguments: str) -> str:
    result = CliRunner().invoke(visuallens, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def called(*arguments: str) -> dict[str, object]:
    record = json.loads(call(*arguments, "--json"))
    assert isinstance(record, dict)
    return record


EVERY_COMMAND = (
    *((name,) for name in COMMANDS if name not in {"adapters", "benchmark", "train"}),
    *(("benchmark", name) for name in BENCHMARK_COMMANDS),
    *(("train", name) for name in TRAIN_COMMANDS),
    *(("adapters", name) for name in ("list", "show", "merge", "export")),
)


@pytest.mark.parametrize("name", EVERY_COMMAND, ids=" ".join)
def test_every_command_explains_itself(name: tuple[str, ...]) -> None:
    text = call(*name, "--help")
    assert "Usage:" in text
    assert "--json" in text


def test_the_json_contracts_hold(library: str, photo_folder: Path, tmp_path: Path) -> None:
    (photo_folder / "empty.jpg").touch()
    where = ("--library", library)
    indexed = called("index", str(photo_folder), *where)
    assert set(indexed) >= {"indexed", "unchanged", "duplicates", "refused", "seconds"}
    assert indexed["indexed"] == 6
    assert indexed["duplicates"] == {"same_bytes": 0, "same_picture": 0, "same_moment": 0}
    assert isinstance(indexed["refused"], list)
    (refused,) = indexed["refused"]
    assert (refused["path"], refused["reason"]) == (str(photo_folder / "empty.jpg"), "empty_file")
    status = called("status", *where)
    assert {k: status[k] for k in ("photos", "users", "refused", "schema_version")} == {
        "photos": 6,
        "users": 1,
        "refused": 1,
        "schema_version": 1,
    }
    assert isinstance(status["models"], list)
    assert status["size_bytes"]
    answer = called("recommend", "a museum", *LONDON, "--anyway", "--top", "3", *where)
    assert answer["abstained"] is False
    assert answer["category"] == "museum"
    assert {"question", "message", "timings_ms"} <= set(answer)
    candidates = answer["candidates"]
    assert isinstance(candidates, list)
    assert [candidate["rank"] for candidate in candidates] == [1, 2, 3]
    assert set(candidates[0]) >= {"rank", "id", "name", "score", "evidence", "aspect_words"}
    assert set(candidates[0]["evidence"][0]) == {"photo", "cell", "similarity"}
    assert Path(str(answer["grid"])).exists()
    out = tmp_path / "profile"
    profile = called("profile", "a museum", "--out", str(out), *where)
    assert Path(str(profile["image"])).parent == out
    receipt = called("forget", "--photo", str(photo_folder / "0.jpg"), *where)
    assert receipt["patterns_found"] == 0
    assert called("status", *where)["photos"] == 5


def test_an_abstention_is_an_answer(library: str, photo_folder: Path) -> None:
    call("index", str(photo_folder), "--library", library)
    strict = ("--set", "abstention.false_answer_rate=0.001")
    record = called("recommend", "a museum", *LONDON, "--library", library, *strict)
    assert (record["abstained"], record["candidates"], record["grid"]) == (True, [], None)
    text = call("recommend", "a museum", *LONDON, "--library", library, *strict)
    assert "say nothing about museum" in text
    assert "--anyway" in text


def test_plain_output_is_made_for_reading(library: str, photo_folder: Path) -> None:
    text = call("index", str(photo_folder), "--library", library)
    assert "Indexed 6 photos" in text
    text = call("recommend", "a museum", *LONDON, "--library", library, "--anyway", "--top", "2")
    assert "I read this as: museum (25 places)." in text
    assert "and 23 more" in text
    assert "grid.png" in text
    assert "Photos      6 of me; 0 refused" in call("status", "--library", library)


def test_every_error_has_an_exit_code() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.VisualLensError)
    ]
    assert len(kinds) > 10
    assert [kind for kind, _ in EXIT_CODES][-1] is errors.VisualLensError
    assert exit_code(errors.LibraryMissingError("x")) == 5
    assert exit_code(errors.RequestError("x")) == 6


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status"], 5, "visuallens index"),
        (["index", "nowhere"], 3, "nowhere"),
        (["recommend", "x", "--candidates", "nowhere.csv"], 4, "nowhere.csv"),
        (["status", "--set", "index.colour=red"], 2, "index.colour"),
        (["recommend", "x", *LONDON, "--near", "91,0"], 2, "latitude comes first"),
        (["forget"], 2, "--photo"),
        (["magic"], 2, "magic"),
    ],
)
def test_errors_end_with_their_code_and_advice(
    library: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv("VISUALLENS_LIBRARY", library)
    monkeypatch.setattr(sys, "argv", ["visuallens", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_library_in_an_odd_folder_works(tmp_path: Path, photo_folder: Path) -> None:
    odd = os.fsencode(photo_folder) + b"/\xff odd"
    Path(os.fsdecode(odd)).mkdir()
    (photo_folder / "0.jpg").rename(os.fsdecode(odd + b"/0.jpg"))
    library = str(tmp_path / "library # 100%")
    call("index", str(photo_folder), "--library", library)
    call("recommend", "a museum", *LONDON, "--anyway", "--library", library)
    record = called("profile", "a museum", "--out", str(tmp_path / "out"), "--library", library)
    assert r"\\xff odd" in Path(str(record["profile"])).read_text()


def test_help_is_instant() -> None:
    command = [str(Path(sys.executable).with_name("visuallens")), "--help"]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
    assert "recommend" in done.stdout
    assert min(times) < 0.4


def test_doctor_runs_every_stage() -> None:
    record = called("doctor", "--photos", "1000")
    assert record["ok"] is True
    stages = record["stages"]
    assert isinstance(stages, list)
    assert len(stages) >= 8
    assert all(stage["ms"] > 0 for stage in stages)


def test_demo_answers_three_questions(tmp_path: Path) -> None:
    record = called("demo", "--out", str(tmp_path / "demo"))
    answers = record["answers"]
    assert isinstance(answers, list)
    assert len(answers) == 3
    for answer in answers:
        assert not answer["abstained"]
        assert Path(answer["grid"]).exists()


@pytest.mark.data
@pytest.mark.parametrize("name", ["photo_formats", "takeout"])
def test_every_file_of_a_real_folder_is_accounted_for(library: str, data: Path, name: str) -> None:
    files = sum(path.is_file() for path in (data / name).rglob("*"))
    record = called("index", str(data / name), "--library", library)
    refused, skipped = record["refused"], record["skipped"]
    assert isinstance(refused, list)
    assert isinstance(skipped, list)
    known = int(str(record["indexed"])) + int(str(record["unchanged"]))
    assert known + len(refused) + len(skipped) == files
    assert all(refusal["reason"] and refusal["detail"] for refusal in refused)
    again = called("index", str(data / name), "--library", library)
    assert (again["indexed"], again["unchanged"]) == (0, known)
    assert again["refused"] == refused


@pytest.mark.data
def test_real_photos_choose_among_real_businesses(library: str, data: Path) -> None:
    call("index", str(data / "food_aspects/images"), "--library", library)
    record = called(
        "recommend",
        "an Italian restaurant",
        *("--candidates", str(data / "yelp/business.json")),
        *("--near", "39.9526,-75.1652", "--within", "3"),
        *("--library", library),
    )
    assert "Italian" in str(record["message"])
    assert record["abstained"] is False
    assert 10 < int(str(record["ranked"])) <= 100


def test_backbones_and_encoders_are_listed() -> None:
    listed = called("models")
    backbones, encoders = listed["backbones"], listed["encoders"]
    assert isinstance(backbones, list)
    assert isinstance(encoders, list)
    assert {"nano", "server"} <= {record["backbone"] for record in backbones}
    assert {record["encoder"]: record["model"] for record in encoders} == {
        "clip": "openai/clip-vit-large-patch14-336",
        "drawn": "for synthetic photos only; has no weights",
        "embedded": "packaged",
        "siglip2": "google/siglip2-base-patch16-256",
    }
    text = call("models")
    assert "siglip2        google/siglip2-base-patch16-256" in text
    assert "visuallens models pull NAME" in text


def test_encoders_are_fetched_like_backbones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched: list[tuple[str, object]] = []

    def fetch(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        fetched.append((name, revision))
        assert "*.safetensors" in allow_patterns
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    (tmp_path / "model.safetensors").touch()
    folder = str(tmp_path)
    assert called("models", "pull", "clip") == {"encoder": "clip", "folder": folder}
    assert called("models", "pull", "causal") == {"backbone": "causal", "folder": folder}
    assert folder in call("models", "pull", "siglip2", "--revision", "refs/pr/1")
    assert fetched[0] == ("openai/clip-vit-large-patch14-336", None)
    assert fetched[2] == ("google/siglip2-base-patch16-256", "refs/pr/1")
    for name in ("embedded", "nano", "server"):
        result = CliRunner().invoke(visuallens, ["models", "pull", name])
        assert result.exit_code == 2
        assert "nothing to fetch" in result.output
