from __future__ import annotations

from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.benchmark.genuine import (
    FILM,
    GOOGLE_BUSINESS,
    GOOGLE_REVIEW,
    YELP_BUSINESS,
    YELP_PHOTO,
    YELP_REVIEW,
    line,
    opened,
)

from visuallens import registry
from visuallens.benchmark.base import (
    Business,
    BusinessPhoto,
    Distance,
    MalformedRowError,
    Review,
    Rules,
    Table,
)
from visuallens.config import BenchmarkSettings
from visuallens.errors import RawDataError

NAMES = registry.names("datasets")
TABLES: tuple[Table, ...] = get_args(Table)

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just("2020-01-01")
)
JSON_VALUES = st.recursive(
    VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
FIELDS = sorted(
    {*GOOGLE_REVIEW, *GOOGLE_BUSINESS, *YELP_REVIEW, *YELP_BUSINESS, *YELP_PHOTO, *FILM, "url"}
)
ROWS = st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES)
GENUINE = st.sampled_from(
    [GOOGLE_REVIEW, GOOGLE_BUSINESS, YELP_REVIEW, YELP_BUSINESS, YELP_PHOTO, FILM]
)
RATINGS = st.lists(st.text() | st.integers().map(str) | st.floats().map(str), max_size=5)


def reads_or_refuses(name: str, text: bytes) -> None:
    dataset = opened(name)
    for table in TABLES:
        try:
            read = dataset.read(table, text)
        except MalformedRowError as error:
            assert str(error)  # noqa: PT017 - whether it is raised is up to the bytes
        else:
            assert read is None or isinstance(read, Review | Business | BusinessPhoto)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(text=st.binary())
def test_any_bytes_are_read_or_refused(name: str, text: bytes) -> None:
    reads_or_refuses(name, text)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(genuine=GENUINE, changes=ROWS)
def test_any_json_is_read_or_refused(
    name: str, genuine: dict[str, object], changes: dict[str, object]
) -> None:
    reads_or_refuses(name, line(changes))
    reads_or_refuses(name, line({**genuine, **changes}))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(columns=RATINGS)
def test_any_columns_are_read_or_refused(name: str, columns: list[str]) -> None:
    reads_or_refuses(name, ",".join(columns).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", NAMES)
def test_the_deepest_json_is_refused(name: str) -> None:
    reads_or_refuses(name, b"[" * 100_000)
    reads_or_refuses(name, b'{"odd": ' + b"[" * 100_000)


@pytest.mark.parametrize("name", NAMES)
def test_every_dataset_keeps_the_contract(name: str, tmp_path: Path) -> None:
    dataset = opened(name, tmp_path)
    assert dataset.name == name
    card = dataset.card
    assert all((card.title, card.source, card.licence, card.citation, card.files))
    # What is made up comes from a command, not from a page.
    assert card.source.startswith("https://") or card.note.startswith("synthetic")
    assert dataset.distance in get_args(Distance)
    assert dataset.photo_share is None or 0 < dataset.photo_share <= 1
    assert all(one == one.casefold() and len(one.split()) == 1 for one in dataset.removed)
    path = PurePosixPath(dataset.photo_path("abcdef"))
    assert not path.is_absolute()
    assert "abcdef" in path.name
    folder = dataset.photos_folder()
    assert folder is None or folder.is_relative_to(tmp_path)
    for category in ("museum", "steak house", "children's"):
        assert category in dataset.question(category)


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_of_every_dataset_are_complete(name: str) -> None:
    kind = registry.load("datasets", name)
    rules = Rules.resolve(BenchmarkSettings(), kind.defaults)
    known = {one.name for one in fields(Rules)}
    assert set(kind.defaults) <= known
    assert all(getattr(rules, one) is not None for one in known)
    # What the dataset decides, the settings can still overrule.
    given_ = BenchmarkSettings(min_ground_truth=3, kept_phrases=("fish market",))
    changed: Any = Rules.resolve(given_, kind.defaults)  # Any: compared field by field
    assert (changed.min_ground_truth, changed.kept_phrases) == (3, ("fish market",))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="there is no such folder"):
        opened(name, tmp_path / "nowhere").files()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RawDataError, match="there is no such folder"):
        opened(name, tmp_path / "file").files()
