from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluation.report import made

from visuallens.errors import EvaluationError
from visuallens.evaluation.report.write import write_report


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_a_report_is_written_with_its_plots_and_again_the_same(tmp_path: Path) -> None:
    found = made.report()
    first = write_report(found, tmp_path / "new" / "one")
    wanted = ["images/figure3a.svg", "images/figure4.svg", "report.html", "report.md"]
    assert files(tmp_path / "new" / "one") == wanted
    assert first[0].name == "report.html"
    assert sorted(first) == [tmp_path / "new" / "one" / name for name in wanted]
    write_report(found, tmp_path / "two")
    for name in wanted:
        assert (tmp_path / "two" / name).read_bytes() == (first[0].parent / name).read_bytes()


def test_the_links_of_the_text_lead_to_the_plots(tmp_path: Path) -> None:
    write_report(made.report(), tmp_path)
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "(images/figure3a.svg)" in text
    assert (tmp_path / "images/figure3a.svg").read_text("utf-8").startswith("<?xml")


def test_photos_are_in_the_page_alone(tmp_path: Path) -> None:
    write_report(made.report(), tmp_path)
    holding = [name for name in files(tmp_path) if b"base64," in (tmp_path / name).read_bytes()]
    assert holding == ["report.html"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EvaluationError, match="cannot be written"):
        write_report(made.report(), tmp_path / "file" / "report")
    assert files(tmp_path) == ["file"]
