from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.cli.matchers import write_matcher
from tests.indexed import SMALL, USER, index_photos

from visuallens import registry
from visuallens.cli.main import visuallens
from visuallens.errors import AdapterError

ASK = ("recommend", "a museum", "--category", "museum", "--candidates", "london", "--anyway")


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN["models"], "colours", "tests.indexed:ColourModel")


@pytest.fixture
def where(tmp_path: Path, photo_folder: Path) -> tuple[object, ...]:
    library = tmp_path / "library.sqlite"
    index_photos(library, photo_folder)
    return ("--library", library, "--user", USER, "--no-grid", *(f"--set={one}" for one in SMALL))


# Any: JSON.
def called(*arguments: object) -> list[dict[str, Any]]:
    words = [str(one) for one in (*arguments, "--json")]
    result = CliRunner().invoke(visuallens, words)
    if result.exception is not None:
        raise result.exception
    found: list[dict[str, Any]] = json.loads(result.stdout)["candidates"]
    return found


def test_the_settings_may_name_the_ranker_whose_adapter_it_is(
    where: tuple[object, ...], tmp_path: Path
) -> None:
    folder, config = write_matcher(tmp_path / "model"), tmp_path / "settings.toml"
    config.write_text('[ranker]\nname = "attention"\n')
    expected = called(*ASK, "--ranker", "attention", "--adapter", folder, *where)
    assert called(*ASK, "--config", config, "--adapter", folder, *where) == expected
    named = ("--set", "ranker.name=attention", "--adapter", folder)
    assert called(*ASK, *named, *where) == expected
    # The default ranker takes no adapter, so one that is given means the ranker visuallens.
    with pytest.raises(AdapterError, match="Name an adapter's own folder"):
        called(*ASK, "--adapter", folder, *where)
    with pytest.raises(AdapterError, match="Name an adapter's own folder"):
        called(*ASK, "--config", config, "--ranker", "visuallens", "--adapter", folder, *where)
