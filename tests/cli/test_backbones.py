"""Backbones on the command line: lists, parity, and errors that name the next step."""

from __future__ import annotations

import json
import subprocess
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
    assert "untrained model" in record["notes"][0]
    assert record["counts"] == {"prompts": 1}
    assert record["ranked"] == 25
    scores = [candidate["score"] for candidate in record["candidates"]]
    assert scores == sorted(scores, reverse=True)
    text = call(*ASK, "--backbone", "nano", *model, "--library", library)
    assert "untrained model" in " ".join(text.split())


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
        (
            ("--backbone", "server", "--set", "backbone.server.url=http://localhost:99999/v1"),
            10,
            "from 1 to 65535",
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


@pytest.mark.parametrize("wrong", [("--prompts", "0"), ("--labels", "1"), ("--labels", "53")])
def test_parity_needs_something_to_compare(wrong: tuple[str, str]) -> None:
    result = CliRunner().invoke(visuallens, ("parity", "nano", "nano", *wrong))
    assert (result.exit_code, wrong[0] in result.output) == (2, True)


def test_parity_lists_no_candidate_without_a_label(nano: Path) -> None:
    with FakeServer("openai") as fake:
        chosen = (f"backbone.server.url={fake.url}", f"backbone.model={nano}")
        model = ("--set-first", chosen[1], "--set-second", chosen[0])
        rest = ("--prompts", "1", "--labels", "52", "--json")
        record = json.loads(call("parity", "nano", "server", *model, *rest))
        prompt = fake.chats()[-1]["messages"][0]["content"][1]["text"]
    assert record["labels"] == 20
    assert 0 < record["labels_compared"] <= 20
    assert "T: " in prompt
    assert "U: " not in prompt


def test_the_account_is_said_at_the_end(tmp_path: Path, photo_folder: Path) -> None:
    code = "from visuallens.cli.main import main; main()"
    command = [sys.executable, "-c", code, "index", str(photo_folder), "--backbone", "server"]
    with FakeServer() as fake:
        chosen = (
            "--set",
            f"backbone.server.url={fake.url}",
            "--set",
            "backbone.server.cache=false",
        )
        command += [*chosen, "--library", str(tmp_path / "library"), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout)["indexed"] == 6
    # two questions about each photo, ten tokens read and two written each
    assert done.stderr.count("requests") == 1
    assert "12 requests, 120 tokens in, 24 out." in done.stderr
