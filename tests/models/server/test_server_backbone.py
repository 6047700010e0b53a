from __future__ import annotations

import asyncio
import base64
import io
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.models.server.connecting import connected
from tests.models.server.fake_server import FakeServer, answer, completion, said, slow, status

from visuallens.config import BackboneSettings, ServerSettings
from visuallens.errors import PromptTooLongError, ServerBusyError, ServerRefusedError
from visuallens.models.base import Backbone, PromptImage
from visuallens.models.server import backbone as module
from visuallens.models.server.backbone import load
from visuallens.models.server.chat import data_url


def drawn(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def decoded(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_it_is_a_backbone() -> None:
    with FakeServer() as fake, connected(fake) as backbone:
        checked: Backbone = backbone
        assert checked.scores == "logits"


def test_answers_come_in_the_order_of_the_prompts() -> None:
    with FakeServer(pause_s=0.05) as fake, connected(fake, concurrency=3) as backbone:
        prompts = [f"prompt {n}" for n in range(7)]
        assert backbone.generate([None] * 7, prompts) == [f"answer to {p}" for p in prompts]
        assert 1 < fake.most_at_once <= 3
        assert backbone.generate([], []) == []
        assert backbone.score_labels([], [], backbone.label_space()).shape == (0, 52)


def test_photos_are_sent_as_jpeg_and_grids_as_they_are() -> None:
    photo, grid = PromptImage(drawn()), PromptImage(drawn(96, 96), grid_side=8)
    with FakeServer() as fake, connected(fake) as backbone:
        backbone.generate([photo, grid, None], ["a", "b", "c"])
        urls = dict(said(chat) for chat in fake.chats())
        (content,) = (c["messages"][0]["content"] for c in fake.chats() if said(c)[0] == "a")
    assert [part["type"] for part in content] == ["image_url", "text"]
    assert (decoded(urls["a"] or "").format, decoded(urls["a"] or "").size) == ("JPEG", (64, 48))
    assert np.array_equal(np.asarray(decoded(urls["b"] or "")), np.asarray(grid.image))
    assert urls["c"] is None
    assert "http" not in str([chat["messages"] for chat in fake.chats()])


def test_an_image_shared_by_prompts_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write(image: PromptImage) -> str:
        written.append(image)
        return data_url(image)

    monkeypatch.setattr(module, "data_url", write)
    image = PromptImage(drawn())
    with FakeServer() as fake, connected(fake) as backbone:
        backbone.generate([image, PromptImage(image.image), image], ["a", "b", "c"])
    assert len(written) == 1


def test_a_server_that_does_not_see_gets_no_images() -> None:
    with FakeServer(kind="llamacpp", vision=False) as fake, connected(fake) as backbone:
        backbone.generate([PromptImage(drawn())], ["a"])
        assert said(fake.chats()[0]) == ("a", None)


def test_a_prompt_with_an_image_is_scored_on_the_open_route_of_sglang() -> None:
    with FakeServer(kind="sglang") as fake, connected(fake) as backbone:
        told = backbone.score_labels([PromptImage(drawn())], ["a"], backbone.label_space())
        assert all(asked.path != "/generate" for asked in fake.asked)
        assert fake.chats()[-1]["top_logprobs"] == 256
    assert not np.isnan(told).any()


def test_what_is_cached_is_not_asked_again(tmp_path: Path) -> None:
    image, other = PromptImage(drawn()), PromptImage(drawn(seed=1))
    results, counts = [], []
    with FakeServer() as fake:
        for _ in range(2):
            with connected(fake, cache=tmp_path / "answers") as backbone:
                space = backbone.label_space()
                told = backbone.score_labels([image], ["a"], space)
                results.append((told.tolist(), backbone.generate([image], ["b"])))
                counts.append(backbone.usage.requests)
        assert results[0] == results[1]
        assert counts[1] == 0
        posts = fake.posts()
        with connected(fake, cache=tmp_path / "answers") as backbone:
            backbone.generate([other], ["b"])
            backbone.generate([image], ["b"], max_new_tokens=7)
        assert fake.posts() == posts + 2


def test_a_run_that_failed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    prompts = [f"prompt {n}" for n in range(5)]
    with FakeServer() as fake:
        fake.script.extend([None, None, status(400, "bad luck"), None, None])
        options: dict[str, Any] = {"cache": tmp_path / "answers", "concurrency": 1}
        with connected(fake, **options) as backbone:
            with pytest.raises(ServerRefusedError, match="bad luck"):
                backbone.generate([None] * 5, prompts)
            assert len(fake.chats()) == 3
        fake.script.clear()
        fake.asked.clear()
        with connected(fake, **options) as backbone:
            assert len(backbone.generate([None] * 5, prompts)) == 5
            assert [said(chat)[0] for chat in fake.chats()] == prompts[2:]
            assert (backbone.usage.requests, backbone.usage.cached) == (3, 2)


def test_what_runs_beside_a_failure_is_finished_and_kept(tmp_path: Path) -> None:
    with FakeServer() as fake:
        fake.script.extend([status(500), slow(0.5)])
        options: dict[str, Any] = {"cache": tmp_path / "answers", "retries": 0, "concurrency": 2}
        with connected(fake, **options) as backbone, pytest.raises(ServerBusyError):
            backbone.generate([None] * 6, [f"prompt {n}" for n in range(6)])
        assert len(fake.chats()) == 2
        assert backbone.usage.requests == 1


def test_it_works_inside_a_running_event_loop() -> None:
    async def notebook() -> list[str]:
        with FakeServer() as fake, connected(fake) as backbone:
            return backbone.generate([None], ["hello"])

    assert asyncio.run(notebook()) == ["answer to hello"]


def test_several_threads_may_share_it() -> None:
    found: dict[int, list[str]] = {}
    with FakeServer() as fake, connected(fake) as backbone:

        def work(number: int) -> None:
            found[number] = backbone.generate([None], [f"prompt {number}"])

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: [f"answer to prompt {n}"] for n in range(6)}


def test_the_key_is_in_the_header_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with FakeServer(key="sk-very-secret") as fake:
        server = ServerSettings(url=fake.url, api_key_variable="MY_KEY")
        with load(BackboneSettings(server=server), cache_file=tmp_path / "answers") as backbone:
            backbone.generate([None], ["a private prompt"])
            for asked in fake.asked:
                assert asked.headers["Authorization"] == "Bearer sk-very-secret"
                assert "secret" not in str(asked.body) + asked.path
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"answer to" in kept
    assert b"secret" not in kept
    assert not (tmp_path / "answers-wal").exists()


def test_without_a_cache_everything_is_asked_again(tmp_path: Path) -> None:
    with FakeServer() as fake:
        server = ServerSettings(url=fake.url, cache=False)
        with load(BackboneSettings(server=server), cache_file=tmp_path / "answers") as backbone:
            backbone.generate([None], ["a"])
            backbone.generate([None], ["a"])
            assert backbone.usage.requests == 2
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_that_does_not_fit_says_by_how_much() -> None:
    with FakeServer(context=20) as fake, connected(fake) as backbone:
        with pytest.raises(PromptTooLongError) as caught:
            backbone.generate([None], ["x" * 30])
        assert (caught.value.tokens, caught.value.max_tokens) == (30, 20)


def test_a_refused_answer_is_empty() -> None:
    with FakeServer() as fake, connected(fake) as backbone:
        fake.script.append(answer(completion(None, refusal="I cannot")))
        assert backbone.generate([None], ["a"]) == [""]


def test_the_account_adds_up() -> None:
    with FakeServer() as fake, connected(fake, price_in=1.0, price_out=1.0) as backbone:
        backbone.generate([None] * 3, ["a", "b", "c"])
        usage = backbone.usage
    assert (usage.requests, usage.tokens_in, usage.tokens_out) == (3, 30, 6)
    assert usage.cost == pytest.approx(36e-6)


def test_the_account_is_said_once_when_all_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="visuallens.models.server.backbone")
    options: dict[str, Any] = {"cache": tmp_path / "answers", "price_in": 1000.0}
    with FakeServer() as fake:
        with connected(fake, **options) as backbone:
            backbone.generate([None], ["a"])
        with connected(fake, **options) as backbone:
            backbone.generate([None] * 3, ["a", "b", "c"])
            assert len(caplog.messages) == 1
            backbone.close()
        with connected(fake, **options):
            pass  # nothing was asked, nothing is said
    assert [text.partition(": ")[2] for text in caplog.messages] == [
        "1 requests, 10 tokens in, 2 out, cost 0.01.",
        "3 requests (1 from the cache), 20 tokens in, 4 out, cost 0.02.",
    ]


def test_what_is_asked_afresh_is_paid_and_kept(tmp_path: Path) -> None:
    with FakeServer() as fake, connected(fake, cache=tmp_path / "answers") as backbone:
        backbone.generate([None], ["a"])
        with backbone.afresh():
            backbone.generate([None] * 2, ["a", "b"])
        backbone.generate([None] * 2, ["a", "b"])
        assert (backbone.usage.requests, backbone.usage.cached) == (3, 2)


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, visuallens.models.server.backbone\n"
        "print([n for n in ('torch', 'transformers', 'openvino', 'httpx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_program_that_never_closes_it_ends_without_a_word() -> None:
    with FakeServer() as fake:
        code = (
            "from visuallens.config import BackboneSettings, ServerSettings\n"
            "from visuallens.models.server.backbone import load\n"
            f"b = load(BackboneSettings(server=ServerSettings(url={fake.url!r}, cache=False)))\n"
            "print(b.generate([None], ['hello'])[0])"
        )
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("answer to hello\n", "")
