"""Profiles of benchmark requests, out of a library that holds the benchmark's photos."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.benchmark.tiny import write_tiny
from tests.indexed import ColourModel, index_photos, open_profiles, small_settings
from visuallens.benchmark.folder import Benchmark
from visuallens.images import open_pixels
from visuallens.profile.category import category_embedding
from visuallens.profiles import BenchmarkProfiles
from visuallens.rankers.similarity import SimilarityRanker
from visuallens.types import FloatArray, PhotoMetadata, RankingRequest


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", examples=9, users=3)


@pytest.fixture(scope="module")
def library(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.sqlite"
    index_photos(path, tiny / "photos")
    return path


@pytest.fixture(scope="module")
def profiles(tiny: Path, library: Path) -> BenchmarkProfiles:
    return open_profiles(tiny, library, small_settings())


@pytest.fixture(scope="module")
def request_(tiny: Path) -> RankingRequest:
    return next(Benchmark(tiny).requests("train"))


def embedded(path: str) -> FloatArray:
    """Embed a photo file without any library."""
    model = ColourModel()
    image = open_pixels(path, model.input_side_px, 10**9)
    assert image is not None
    (row,) = np.asarray(model.read([model.prepare(image)], [PhotoMetadata()]).embeddings)
    found: FloatArray = row
    return found


def test_a_profile_shows_the_photos_of_its_history_nearest_to_the_category(
    profiles: BenchmarkProfiles, request_: RankingRequest
) -> None:
    profile = profiles.profile(request_)
    category = profiles.category(request_)
    likeness = {photo.id: embedded(photo.path) @ category for photo in request_.history.photos}
    nearest = sorted(likeness, key=lambda one: -likeness[one])[:4]
    assert [cell.photo.id for cell in profile.cells] == nearest
    assert [cell.similarity for cell in profile.cells] == pytest.approx(
        [likeness[one] for one in nearest], abs=1e-5
    )
    assert all(cell.caption == f"A {cell.aspect_words[0]} photo" for cell in profile.cells)
    assert profile.user_id == request_.history.user_id
    assert set(profile.aspect_words) <= {"red", "green", "blue"}


def test_the_category_is_the_mean_of_photos_that_show_no_candidate(
    profiles: BenchmarkProfiles, request_: RankingRequest
) -> None:
    count = small_settings().retrieval.category_images
    paths = profiles.benchmark.category_photos(request_, count)
    shown = {path for candidate in request_.candidates for path in candidate.photos}
    assert paths
    assert not shown & set(paths)
    expected = category_embedding(np.stack([embedded(path) for path in paths]))
    np.testing.assert_allclose(profiles.category(request_), expected, atol=1e-5)


def test_a_category_without_indexed_photos_is_embedded_by_its_name(
    tiny: Path, request_: RankingRequest, tmp_path: Path
) -> None:
    history = [Path(photo.path) for photo in request_.history.photos]
    photos = [path for path in (tiny / "photos").rglob("*.jpg") if path in set(history)]
    index_photos(tmp_path / "library.sqlite", photos)
    narrow = open_profiles(tiny, tmp_path / "library.sqlite", small_settings())
    known = narrow.embeddings(narrow.benchmark.category_photos(request_, 32))
    assert len(known) == 0
    (named,) = ColourModel().encode_categories([request_.question.category])
    np.testing.assert_array_equal(narrow.category(request_), named)


def test_photos_that_are_not_indexed_are_left_out(
    tiny: Path, request_: RankingRequest, tmp_path: Path
) -> None:
    photos = [Path(photo.path) for photo in request_.history.photos[:3]]
    index_photos(tmp_path / "library.sqlite", photos)
    some = open_profiles(tiny, tmp_path / "library.sqlite", small_settings())
    assert some.count_indexed(request_.history) == 3
    assert {cell.photo.path for cell in some.profile(request_).cells} == set(map(str, photos))
    stranger = next(some.benchmark.requests("test"))
    assert some.count_indexed(stranger.history) == 0
    empty = some.profile(stranger)
    assert empty.cells == ()
    assert empty.text == ""


def test_a_benchmark_that_moved_is_recognised_by_the_bytes_of_its_photos(
    tiny: Path, library: Path, profiles: BenchmarkProfiles, request_: RankingRequest, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "moved", ignore=shutil.ignore_patterns("local.json"))
    moved = open_profiles(tmp_path / "moved", library, small_settings())
    request = next(moved.benchmark.requests("train"))
    assert request.history.photos[0].path != request_.history.photos[0].path
    there = [(cell.photo.id, cell.caption) for cell in moved.profile(request).cells]
    assert there == [(cell.photo.id, cell.caption) for cell in profiles.profile(request_).cells]


def test_two_photos_of_the_same_bytes_are_both_known(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "own", ignore=shutil.ignore_patterns("local.json"))
    request = next(Benchmark(folder).requests("train"))
    first, second = (Path(photo.path) for photo in request.history.photos[:2])
    shutil.copyfile(first, second)
    index_photos(tmp_path / "library.sqlite", [first, second])
    twice = open_profiles(folder, tmp_path / "library.sqlite", small_settings())
    assert twice.count_indexed(request.history) == 2
    captions = {cell.caption for cell in twice.profile(request).cells}
    assert len(captions) == 1


def test_without_retrieval_the_seed_draws_the_photos(
    tiny: Path, library: Path, request_: RankingRequest
) -> None:
    drawn = open_profiles(tiny, library, small_settings("retrieval.by_category=false"))
    cells = drawn.profile(request_).cells
    assert cells == drawn.profile(request_).cells
    assert len(cells) == 4
    nearest = open_profiles(tiny, library, small_settings()).profile(request_).cells
    assert {cell.photo.id for cell in cells} != {cell.photo.id for cell in nearest}


def test_rankers_find_what_they_need(profiles: BenchmarkProfiles, request_: RankingRequest) -> None:
    resources = profiles.resources()
    ranking = SimilarityRanker(resources).rank(request_)
    ids = {ranked.candidate.id for ranked in ranking.candidates}
    assert ids == {candidate.id for candidate in request_.candidates}
    path = next(candidate.photos[0] for candidate in request_.candidates if candidate.photos)
    images = resources.images([path, "/nowhere/gone.jpg"])
    assert list(images) == [path]
    np.testing.assert_allclose(images[path], embedded(path), atol=1e-5)
