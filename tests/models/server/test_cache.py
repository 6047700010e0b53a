from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from visuallens.models.server.cache import (
    FILE_NAME,
    AnswerCache,
    answer_files,
    delete_answers,
    request_key,
)


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


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_only_the_user_can_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    for _ in range(2):  # made, and found with a wider mode
        cache = AnswerCache(file)
        cache.put("k", {"a": 1})
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert modes == {0o600}
        cache.close()
        file.chmod(0o644)


def test_deleted_answers_leave_no_bytes_while_others_have_the_file_open(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    cache, other = AnswerCache(file), AnswerCache(file)
    for number in range(100):
        cache.put(f"k{number}", {"caption": "a lighthouse " * 100})
    assert other.get("k1") is not None
    assert delete_answers(file) == 100
    assert b"lighthouse" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert other.get("k1") is None
    other.put("k1", {"a": 1})
    assert cache.get("k1") == {"a": 1}
    assert delete_answers(file) == 1
    cache.close()
    other.close()


def test_a_file_that_is_read_for_too_long_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visuallens.models.server.cache._WAIT_S", 0.01)
    cache = AnswerCache(tmp_path / "answers")
    cache.put("k", {"a": 1})
    reader = sqlite3.connect(tmp_path / "answers", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM answers").fetchall()
    with pytest.raises(sqlite3.Error):
        delete_answers(tmp_path / "answers")
    reader.close()
    cache.close()
    assert delete_answers(tmp_path / "answers") == 0  # now it is empty, and overwritten


def test_a_broken_file_is_deleted_and_none_is_made(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    assert delete_answers(file) == 0
    assert list(tmp_path.iterdir()) == []
    file.write_bytes(b"this is no database" * 100)
    (tmp_path / "answers-wal").write_bytes(b"a lighthouse")
    assert delete_answers(file) == 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "answers-wal").write_bytes(b"a lighthouse")
    delete_answers(file)
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_versions_are_found(answers_folder: Path) -> None:
    other = answers_folder.with_name("models-0.0.1")
    other.mkdir()
    assert answer_files() == (other / FILE_NAME, answers_folder / FILE_NAME)


def test_without_a_folder_there_are_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise PermissionError

    monkeypatch.setattr("visuallens.models.server.cache.cache_folder", refuse)
    assert answer_files() == ()
