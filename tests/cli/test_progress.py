from __future__ import annotations

import pytest

from visuallens.cli.progress import Bar


def test_notes_stay_out_of_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar()
    bar.total(3)
    bar.note("3 photos will take about 2 minutes.")
    bar.close()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "3 photos will take about 2 minutes.\n"
