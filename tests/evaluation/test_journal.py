from __future__ import annotations

import math
from pathlib import Path

import pytest

from visuallens.errors import RunFileError
from visuallens.evaluation.journal import Answered, Journal

MADE_WITH = {"ranker": "any", "settings": {"seed": 0, "ranker": {"name": "any"}}, "version": "1"}
FIRST = Answered("q1", (("a", 0.1 + 0.2), ("b", -math.inf)), 1.5, {"cut": 1}, {"tokens_in": 7})
SECOND = Answered("q2", (("ö", 2.0),), 2.5, {}, {})


def test_what_is_kept_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", MADE_WITH) as journal:
        journal.add(FIRST)
        journal.add(SECOND)
        assert list(journal.read()) == [FIRST, SECOND]
    with Journal(tmp_path / "j", MADE_WITH) as again:
        assert again.example_ids == ["q1", "q2"]
        assert list(again.read()) == [FIRST, SECOND]


def test_a_kill_costs_the_last_line_at_most(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, MADE_WITH) as journal:
        journal.add(FIRST)
        whole = path.read_bytes()
        journal.add(SECOND)
    torn = path.read_bytes()
    for cut in range(len(torn) + 1):
        path.write_bytes(torn[:cut])
        with Journal(path, MADE_WITH) as journal:
            known = list(journal.example_ids)
            assert len(known) == max(torn[:cut].count(b"\n") - 1, 0)
            for one in (FIRST, SECOND)[len(known) :]:
                journal.add(one)
        assert path.read_bytes() == torn
    assert torn.startswith(whole)


def test_a_run_made_with_something_else_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", MADE_WITH) as journal:
        journal.add(FIRST)
    other = {**MADE_WITH, "settings": {"seed": 1, "ranker": {"name": "any"}}}
    with pytest.raises(RunFileError, match=r"settings\.seed: there 0, here 1"):
        Journal(tmp_path / "j", other)
    # A newer version may finish what an older one began.
    with Journal(tmp_path / "j", {**MADE_WITH, "version": "2"}) as journal:
        assert journal.example_ids == ["q1"]


@pytest.mark.parametrize("line", [b"{}\n", b"not json\n", b"[]\n", b"\xff\n"])
def test_a_broken_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "j"
    with Journal(path, MADE_WITH) as journal:
        journal.add(FIRST)
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(RunFileError, match="line 3: it is broken"):
        Journal(path, MADE_WITH)


def test_a_journal_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="cannot be written"):
        Journal(tmp_path / "nowhere" / "j", MADE_WITH)
