from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from visuallens.models.server.cache import AnswerCache, request_key


def test_the_key_knows_address_path_and_every_value_but_no_order() -> None:
    first = request_key("http://a", "chat", {"a": 1, "b": [1, 2]})
    assert first == request_key("http://a", "chat", {"b": [1, 2], "a": 1})
    others = [
        request_key("http://b", "chat", {"a": 1, "b": [1, 2]}),
        request_key("http://a", "tokenize", {"a": 1, "b": [1, 2]}),
        request_key("http://a", "chat", {"a": 1, "b": [2, 1]}),
        request_key("http://a", "chat", {"a": "1", "b": [1, 2]}),
    ]
    assert len({first, *others}) == 5


def test_what_is_kept_is_found_again_by_another(tmp_path: Path) -> None:
    first, second = AnswerCache(tmp_path / "answers"), AnswerCache(tmp_path / "answers")
    assert first.get("k") is None
    first.put("k", {"text": "ä \ud83d"})
    first.put("k", {"text": "newer"})
    assert second.get("k") == {"text": "newer"}
    first.close()
    second.close()
    assert first.get("k") is None
    first.put("k", {})


def test_threads_and_processes_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    code = (
        "import sys; from pathlib import Path\n"
        "from visuallens.models.server.cache import AnswerCache\n"
        "c = AnswerCache(Path(sys.argv[1]))\n"
        "for n in range(50): c.put(f'p{n}', {'n': n})\n"
        "c.close()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(file)])
    cache = AnswerCache(file)

    def write(name: str) -> None:
        for n in range(50):
            cache.put(f"{name}{n}", {"n": n})

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert process.wait(60) == 0
    assert all(cache.get(f"{name}{n}") == {"n": n} for name in "abp" for n in range(50))
    cache.close()


def test_a_broken_file_costs_the_cache_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "answers"
    file.write_bytes(b"this is no database" * 100)
    cache = AnswerCache(file)
    cache.put("k", {"a": 1})
    assert cache.get("k") is None
    cache.close()
    assert caplog.text.count("not kept") == 1


def test_a_folder_that_cannot_be_made_costs_the_cache_and_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = AnswerCache(tmp_path / "file" / "answers")
    cache.put("k", {"a": 1})
    assert cache.get("k") is None
