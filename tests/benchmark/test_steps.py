from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from visuallens.benchmark.steps import Crew, Workshop, opened
from visuallens.errors import BenchmarkFolderError

PLAN = {"name": "tiny", "seed": 0, "rules": {"min_drawn": 30}}


@dataclass(frozen=True)
class Cut:
    """A task: cut one piece, unless there is a knot in it; `log` remembers every attempt."""

    number: int
    log: Path
    knot: Path


@dataclass(frozen=True)
class Piece:
    number: int
    length: float
    labels: dict[str, int]


def cut(task: Cut) -> Piece:
    with task.log.open("a") as log:
        log.write(f"{task.number} ")
    if task.knot.exists() and task.number == 2:
        raise ArithmeticError("a knot")
    return Piece(task.number, task.number / 3, {"é": task.number})


def tasks(folder: Path, count: int = 4) -> list[Cut]:
    return [Cut(number, folder / "log", folder / "knot") for number in range(count)]


def attempts(folder: Path) -> list[int]:
    log = folder / "log"
    return [int(word) for word in log.read_text().split()] if log.exists() else []


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    (tmp_path / "shop").mkdir()
    return Workshop(tmp_path / "shop", Crew())


PIECES = [Piece(number, number / 3, {"é": number}) for number in range(4)]


def test_reports_come_back_in_the_order_of_the_tasks(shop: Workshop, tmp_path: Path) -> None:
    assert shop.run("cut", cut, tasks(tmp_path), Piece) == PIECES
    assert attempts(tmp_path) == [0, 1, 2, 3]


def test_a_step_without_tasks_has_no_reports(shop: Workshop) -> None:
    assert shop.run("cut", cut, [], Piece) == []


def test_finished_tasks_are_not_run_again(shop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "knot").touch()
    with pytest.raises(ArithmeticError, match="a knot"):
        shop.run("cut", cut, tasks(tmp_path), Piece)
    assert attempts(tmp_path) == [0, 1, 2]
    (tmp_path / "knot").unlink()
    # Another process would begin like this.
    again = Workshop(tmp_path / "shop", Crew())
    assert again.run("cut", cut, tasks(tmp_path), Piece) == PIECES
    assert attempts(tmp_path) == [0, 1, 2, 2, 3]
    assert again.run("cut", cut, tasks(tmp_path), Piece) == PIECES
    assert len(attempts(tmp_path)) == 5


def test_another_step_has_reports_of_its_own(shop: Workshop, tmp_path: Path) -> None:
    shop.run("cut", cut, tasks(tmp_path), Piece)
    shop.run("cut again", cut, tasks(tmp_path), Piece)
    assert attempts(tmp_path) == [0, 1, 2, 3] * 2


def test_a_report_that_was_being_written_counts_for_nothing(shop: Workshop, tmp_path: Path) -> None:
    shop.run("cut", cut, tasks(tmp_path), Piece)
    whole = shop.step("reports") / "cut-1.json"
    whole.with_suffix(".part").write_bytes(whole.read_bytes()[:5])
    whole.unlink()
    assert shop.run("cut", cut, tasks(tmp_path), Piece) == PIECES
    assert attempts(tmp_path) == [0, 1, 2, 3, 1]


def test_progress_counts_what_was_done_before(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    crew = Crew(progress=lambda step, done, total: told.append((step, done, total)))
    shop = Workshop(tmp_path, crew)
    shop.run("cut", cut, tasks(tmp_path, 2), Piece)
    shop.run("cut", cut, tasks(tmp_path, 3), Piece)
    assert told == [("cut", 0, 2), ("cut", 1, 2), ("cut", 2, 2), ("cut", 2, 3), ("cut", 3, 3)]


def test_several_workers_keep_the_order_of_the_reports(tmp_path: Path) -> None:
    # A function of the package, since other processes import it by its name.
    shop = Workshop(tmp_path, Crew(workers=2))
    assert shop.run("count", len, ["a", "bb", "", "cccc"], int) == [1, 2, 0, 4]


def test_several_workers_find_a_step_that_is_done(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, Crew(workers=2))
    for _ in range(2):
        assert shop.run("count", len, ["a", "bb", "", "cccc"], int) == [1, 2, 0, 4]


def leave(folder: Path, plan: dict[str, object] = PLAN) -> None:
    """Begin a build that is killed when it has done one step."""
    with suppress(KeyboardInterrupt), opened(folder, plan) as inside:
        (inside / "rows").mkdir(exist_ok=True)
        (inside / "rows" / "done").touch()
        raise KeyboardInterrupt


def rests(folder: Path, plan: dict[str, object]) -> bool:
    """Say whether a build finds what the last one left, and leave it there."""
    found = False
    with suppress(KeyboardInterrupt), opened(folder, plan) as inside:
        found = (inside / "rows" / "done").exists()
        raise KeyboardInterrupt
    return found


def test_a_folder_is_deleted_on_success_and_kept_on_failure(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out.building"
    leave(folder)
    assert (folder / "rows" / "done").exists()
    with opened(folder, PLAN) as inside:
        assert inside == folder
        assert (inside / "rows" / "done").exists()
    assert not folder.exists()


def test_the_same_plan_goes_on_whatever_the_order_of_its_keys(tmp_path: Path) -> None:
    leave(tmp_path / "a")
    assert rests(tmp_path / "a", {"rules": {"min_drawn": 30}, "seed": 0, "name": "tiny"})


@pytest.mark.parametrize(
    "plan", [{}, {**PLAN, "seed": 1}, {**PLAN, "rules": {"min_drawn": 31}}, {**PLAN, "more": None}]
)
def test_another_plan_starts_anew(tmp_path: Path, plan: dict[str, object]) -> None:
    leave(tmp_path / "a")
    assert not rests(tmp_path / "a", plan)
    assert json.loads((tmp_path / "a" / "plan.json").read_bytes()) == plan


@pytest.mark.parametrize("torn", [b"", b'{"name": "ti', None])
def test_a_torn_plan_starts_anew(tmp_path: Path, torn: bytes | None) -> None:
    leave(tmp_path / "a")
    plan = tmp_path / "a" / "plan.json"
    if torn is None:
        plan.unlink()
    else:
        plan.write_bytes(torn)
    assert not rests(tmp_path / "a", PLAN)
    assert rests(tmp_path / "a", PLAN) is False
    leave(tmp_path / "a")
    assert rests(tmp_path / "a", PLAN)


def test_a_kill_while_old_work_is_thrown_away_never_vouches_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was deleted so far, the first plan does not find the rest of its work."""
    for deleted_before in range(3):
        folder = tmp_path / str(deleted_before)
        leave(folder)
        (folder / "reports").mkdir(exist_ok=True)
        calls = iter(range(9))

        def dying(entry: Path, last: int = deleted_before, calls: Iterator[int] = calls) -> None:
            if next(calls) == last:
                raise KeyboardInterrupt
            shutil.rmtree(entry, ignore_errors=True)

        with monkeypatch.context() as patched:
            patched.setattr("visuallens.benchmark.steps.discard", dying)
            rests(folder, {"another": "plan"})
        assert not rests(folder, PLAN)


def test_a_second_build_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    with opened(tmp_path / "a", PLAN) as folder:
        (folder / "rows").mkdir()
        (folder / "rows" / "done").touch()
        with pytest.raises(BenchmarkFolderError) as caught, opened(folder, {"another": "plan"}):
            pytest.fail("two builds at once")
        assert "another build is writing here. Wait for it, or choose another --out." in str(
            caught.value
        )
        assert (folder / "rows" / "done").exists()
        with opened(tmp_path / "b", PLAN):
            pass
    leave(tmp_path / "a")
