from __future__ import annotations

from pathlib import Path

import pytest

import visuallens
from visuallens import Candidate, GeoPoint, VisualLens, bundled_city
from visuallens.cli.demo import sample_photos
from visuallens.errors import LibraryMissingError, NothingIndexedError, RequestError, SourceError


@pytest.fixture(scope="module")
def lens(tmp_path_factory: pytest.TempPathFactory) -> VisualLens:
    """A library of the real photos that scikit-image and scikit-learn carry."""
    folder = tmp_path_factory.mktemp("lens")
    made = VisualLens(folder / "library")
    made.index(sample_photos(folder / "photos"))
    return made


def test_public_names_are_what_they_say() -> None:
    assert len(visuallens.__all__) <= 25
    assert sorted(visuallens.__all__) == sorted(visuallens._HOMES)
    for name in visuallens.__all__:
        assert getattr(visuallens, name).__name__ == name
    with pytest.raises(AttributeError, match="magic"):
        visuallens.magic  # noqa: B018


def test_coffee_photo_speaks_for_coffee(lens: VisualLens) -> None:
    answer = lens.recommend("where can I get a good coffee?", bundled_city("london"))
    assert not answer.abstained
    assert "coffee" in answer.understood.matched[0]
    best = answer.candidates[0]
    assert best.evidence[0].photo.endswith("coffee.png")
    assert "espresso" in best.aspect_words
    assert [ranked.rank for ranked in answer.candidates] == list(
        range(1, len(answer.candidates) + 1)
    )


def test_it_abstains_where_the_photos_say_nothing(lens: VisualLens) -> None:
    places = [Candidate("1", "Zoo North", categories=("zoo",)), Candidate("2", "Zoo South")]
    answer = lens.recommend("a zoo", places)
    assert answer.abstained
    assert answer.candidates == ()
    assert "say nothing about zoo" in answer.message
    anyway = lens.recommend("a zoo", places, anyway=True)
    assert [ranked.candidate.name for ranked in anyway.candidates] == ["Zoo North"]


def test_near_keeps_the_nearest_places(lens: VisualLens) -> None:
    greenwich = GeoPoint(51.4779, -0.0015)
    answer = lens.recommend(
        "a museum", bundled_city("london"), near=greenwich, within_km=2, anyway=True
    )
    names = {ranked.candidate.name for ranked in answer.candidates}
    assert "Royal Observatory Greenwich" in names
    assert "British Museum" not in names


def test_candidate_images_make_the_category(lens: VisualLens, tmp_path: Path) -> None:
    photos = sample_photos(tmp_path)
    places = [
        Candidate("cat", "Place A", photos=(str(photos / "chelsea.png"),)),
        Candidate("moto", "Place B", photos=(str(photos / "motorcycle_left.png"), "missing.jpg")),
    ]
    answer = lens.recommend("a motorcycle shop", places[1:], anyway=True)
    assert answer.profile.cells[0].photo.path.endswith("motorcycle_left.png")
    assert answer.profile.cells[0].similarity == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("ranker", ["random", "nearest", "rating"])
def test_baselines_answer_too(lens: VisualLens, ranker: str) -> None:
    answer = lens.recommend("a garden", bundled_city("london"), ranker=ranker, anyway=True)
    assert len(answer.candidates) == len({r.candidate.id for r in answer.candidates}) > 5


def test_profile_has_its_image_and_words(lens: VisualLens) -> None:
    profile = lens.profile("a place with coffee", category="coffee")
    assert profile.image is not None
    assert profile.image.size == (896, 896)
    assert profile.cells[0].photo.path.endswith("coffee.png")
    assert "Image 1: Espresso" in profile.text


def test_wrong_requests_say_what_to_do(lens: VisualLens) -> None:
    city = bundled_city("london")
    with pytest.raises(RequestError, match="--near"):
        lens.recommend("a museum", city, within_km=3)
    with pytest.raises(RequestError, match="Widen --within"):
        lens.recommend("a museum", city, near=GeoPoint(0, 0), within_km=1)
    with pytest.raises(NothingIndexedError, match="Users with photos: me"):
        lens.recommend("a museum", city, user="nobody")
    with pytest.raises(SourceError):
        lens.index("nowhere at all")
    with pytest.raises(LibraryMissingError):
        VisualLens(lens.path.parent / "other").status()


def test_forgetting_is_seen_by_the_next_question(tmp_path: Path, photo_folder: Path) -> None:
    with VisualLens(tmp_path / "library") as lens:
        lens.index(photo_folder)
        assert len(lens.profile("a garden").cells) == 6
        lens.forget(photo=str(photo_folder / "0.jpg"))
        assert len(lens.profile("a garden").cells) == 5
        lens.forget(user="me")
        with pytest.raises(NothingIndexedError):
            lens.profile("a garden")


def test_relative_paths_are_found_from_anywhere(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo_folder.parent)
    lens = VisualLens(tmp_path / "library")
    lens.index(photo_folder.name)
    monkeypatch.chdir("/")
    assert all(Path(cell.photo.path).exists() for cell in lens.profile("a garden").cells)
