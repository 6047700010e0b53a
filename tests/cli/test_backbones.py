"""Backbones on the command line: lists, parity, and errors that name the next step."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.models.backbones import tiny_nano
from tests.models.server.fake_server import FakeServer

from visuallens import registry
from visuallens.cli.main import main, visuallens
from visuallens.config import BackboneSettings
from visuallens.models.backbones.adapters import Lora, add_adapter, save_adapter

ASK = ("recommend", "a museum", "--candidates", "london", "--anyway", "--no-grid")


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny-nano"
    tiny_nano.write(folder)
    return folder


@pytest.fixture
def library(tmp_path: Path, photo_folder: Path) -> str:
    library = str(tmp_path / "library")
    call("index", str(photo_folder), "--library", library)
    return library


def call(*arguments: str) -> str:
    result = CliRunner().invoke(visuallens, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str]:
    monkeypatch.setattr(sys, "argv", ["visuallens", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr().err


def test_an_untrained_answer_says_so(library: str, nano: Path) -> None:
    model = ("--set", f"backbone.model={nano}")
    record = json.loads(call(*ASK, "--backbone", "nano", *model, "--library", library, "--json"))
    assert "not trained" in record["notes"][0]
    assert record["counts"] == {"prompts": 1}
    assert record["ranked"] == 25
    scores = [candidate["score"] for candidate in record["candidates"]]
    assert scores == sorted(scores, reverse=True)
    text = call(*ASK, "--backbone", "nano", *model, "--library", library)
    assert "order of an untrained\nmodel" in text


def test_an_adapter_makes_a_matcher(library: str, nano: Path, tmp_path: Path) -> None:
    backbone = registry.load("backbones", "nano")(BackboneSettings(model=str(nano)))
    add_adapter(backbone, Lora(rank=2, alpha=2), "new")
    save_adapter(backbone, tmp_path / "adapter", {})
    chosen = ("--adapter", str(tmp_path / "adapter"), "--set", f"backbone.model={nano}")
    record = json.loads(call(*ASK, *chosen, "--library", library, "--json"))
    assert record["notes"] == []


def test_backbones_are_listed() -> None:
    listed = json.loads(call("models", "--json"))["backbones"]
    assert {record["backbone"] for record in listed} == set(registry.names("backbones"))
    (packaged,) = (record for record in listed if record["backbone"] == "nano")
    assert packaged["here"] is True
    assert any(record.get("remote_code") for record in listed)
    text = call("models")
    assert "google/paligemma-3b-pt-896" in text
    assert "remote code" in text


def test_parity_of_a_model_with_itself(nano: Path) -> None:
    arguments = ("--set", f"backbone.model={nano}", "--prompts", "2", "--labels", "5", "--json")
    record = json.loads(call("parity", "nano", "nano", *arguments))
    assert (record["kendall_tau"], record["largest_difference"]) == (1.0, 0.0)
    text = call("parity", "nano", "nano", *arguments[:-1], "--no-image")
    assert "Kendall's tau        1.0000" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--backbone", "qwen3-vl"), 9, "visuallens models pull qwen3-vl"),
        (("--backbone", "gpt"), 2, "Known: causal"),
        (("--backbone", "minicpm-v-2.5"), 9, "backbone.allow_remote_code=true"),
        (("--backbone", "nano", "--adapter", "nowhere"), 9, "Name an adapter's own folder"),
        (("--backbone", "nano", "--set", "backbone.device=cuda:9"), 9, "such as cpu"),
        (
            ("--backbone", "server", "--set", "backbone.server.url=http://127.0.0.1:9/v1"),
            10,
            "Start it",
        ),
    ],
)
def test_errors_name_the_next_step(
    library: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    found, error = failed(monkeypatch, capsys, *ASK, *arguments, "--library", library)
    assert (found, words in error) == (code, True), error
    assert "Traceback" not in error


def test_a_server_ranks(library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("visuallens.models.server.cache.cache_folder", lambda: tmp_path)
    with FakeServer("vllm") as fake:
        server = ("--backbone", "server", "--set", f"backbone.server.url={fake.url}")
        record = json.loads(call(*ASK, *server, "--library", library, "--json"))
        asked = len(fake.chats())
        again = json.loads(call(*ASK, *server, "--library", library, "--json"))
        assert len(fake.chats()) == asked  # answers are kept
    assert record["candidates"] == again["candidates"]
    assert record["ranked"] == 25
    assert "image_url" in json.dumps(fake.chats()[-1])
