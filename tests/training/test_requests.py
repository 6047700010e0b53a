"""What the backbone is asked in training: the ranker's own prompts, in ever new orders."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny
from tests.indexed import index_photos, open_profiles, small_settings
from tests.models.toy_backbone import ToyBackbone

from visuallens.benchmark.folder import Benchmark
from visuallens.errors import TrainingError
from visuallens.rankers.visuallens import VisualLensRanker
from visuallens.rankers.windows import shuffled_windows
from visuallens.training.requests import RefinedWords, TrainingRequests
from visuallens.types import Candidate, Example


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("benchmark") / "tiny", examples=15, users=5)


@pytest.fixture(scope="module")
def library(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.sqlite"
    index_photos(path, tiny / "photos")
    return path


@pytest.fixture(scope="module")
def example(tiny: Path) -> Example:
    return next(Benchmark(tiny).examples("train"))


def opened(
    tiny: Path,
    library: Path,
    *overrides: str,
    backbone: ToyBackbone | None = None,
    refined: RefinedWords | None = None,
) -> TrainingRequests:
    settings = small_settings(*overrides)
    profiles = open_profiles(tiny, library, settings)
    return TrainingRequests(profiles, backbone or ToyBackbone(), settings, refined)


def words_below(example: Example, words: Mapping[str, tuple[str, ...]]) -> RefinedWords:
    """Name photos of a history by their paths below the folder of photos."""
    paths = {
        photo.id: "/".join(Path(photo.path).parts[-2:]) for photo in example.request.history.photos
    }
    return {paths[photo_id]: found for photo_id, found in words.items()}


def test_a_training_prompt_is_what_the_ranker_asks(
    tiny: Path, library: Path, example: Example
) -> None:
    backbone, settings = ToyBackbone(), small_settings()
    requests = opened(tiny, library, backbone=backbone)
    made = requests.make(example)
    profiles = open_profiles(tiny, library, settings)
    VisualLensRanker(profiles.resources(lambda: backbone, requests.draw)).rank(example.request)
    (asked,), (shown,) = backbone.prompts, backbone.images
    assert len(made.relevant) == len(example.request.candidates)
    generator = np.random.default_rng((example.request.seed, 2))
    (window,) = shuffled_windows(len(made.relevant), 52, 1, generator)
    assert made.prompts.write(window) == asked
    assert "Captions:" in asked
    assert shown is not None
    assert made.prompts.image is not None
    assert made.prompts.image.digest == shown.digest


def test_answers_go_with_their_candidates(tiny: Path, library: Path, example: Example) -> None:
    requests = opened(tiny, library, "matching.style=paper")
    question = requests.question(requests.make(example), np.random.default_rng(7))
    names = {one.id: one.name for one in example.request.candidates}
    (listed,) = question.prompt.split("Candidates:\n")[1:]
    lines = listed.split("\n\n")[0].splitlines()
    right = {names[one] for one in example.ground_truth}
    for line, relevant in zip(lines, question.relevant, strict=True):
        assert any(f" {name}" in line for name in right) is relevant


def test_ground_truth_is_balanced_over_the_places(
    tiny: Path, library: Path, example: Example
) -> None:
    requests = opened(tiny, library)
    made = requests.make(example)
    count, draws = len(made.relevant), 400
    sums = np.zeros(count)
    for seed in range(draws):
        sums += requests.question(made, np.random.default_rng((seed, 0))).relevant
    share = len(example.ground_truth) / count
    # A place holds ground truth Binomial(400, share) times; five standard deviations either way.
    assert np.abs(sums - draws * share).max() < 5 * np.sqrt(draws * share * (1 - share))


def test_the_same_seed_asks_the_same(tiny: Path, library: Path, example: Example) -> None:
    requests = opened(tiny, library)
    made = requests.make(example)
    first, again, other = (
        requests.question(made, np.random.default_rng((seed, 0))).prompt for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_with_too_many_candidates_all_ground_truth_stays(
    tiny: Path, library: Path, example: Example, caplog: pytest.LogCaptureFixture
) -> None:
    others = tuple(Candidate(f"more-{number}", f"Place {number}") for number in range(100))
    request = replace(example.request, candidates=(*example.request.candidates, *others))
    requests = opened(tiny, library)
    made = requests.make(Example(request, example.ground_truth))
    windows = [requests.question(made, np.random.default_rng(seed)) for seed in range(20)]
    assert {len(one.relevant) for one in windows} == {made.prompts.cut.window}
    assert made.prompts.cut.window <= 52  # letters
    assert {sum(one.relevant) for one in windows} == {len(example.ground_truth)}
    assert len({one.prompt for one in windows}) == 20
    assert len({one.relevant for one in windows}) > 10
    assert requests.counts["shortened_requests"] == 1
    assert "its ground truth and a draw of the others" in caplog.text


def test_with_more_ground_truth_than_places_one_other_stays(
    tiny: Path, library: Path, example: Example
) -> None:
    others = tuple(Candidate(f"more-{number}", f"Place {number}") for number in range(100))
    request = replace(example.request, candidates=others)
    requests = opened(tiny, library)
    made = requests.make(Example(request, frozenset(one.id for one in others[:90])))
    relevant = requests.question(made, np.random.default_rng(0)).relevant
    assert relevant.count(False) == 1


def test_an_example_without_its_answers_is_refused(
    tiny: Path, library: Path, example: Example
) -> None:
    requests = opened(tiny, library)
    with pytest.raises(TrainingError, match=f"{example.request.id}: none of its ground truth"):
        requests.make(Example(example.request, frozenset(["elsewhere"])))


@pytest.mark.parametrize(
    ("override", "absent"),
    [("matching.aspects=false", "Aspect words:"), ("matching.captions=false", "Captions:")],
)
def test_words_can_be_switched_off(
    tiny: Path, library: Path, example: Example, override: str, absent: str
) -> None:
    requests = opened(tiny, library, override)
    question = requests.question(requests.make(example), np.random.default_rng(0))
    assert absent not in question.prompt
    assert question.image is not None


def test_the_image_can_be_switched_off(tiny: Path, library: Path, example: Example) -> None:
    requests = opened(tiny, library, "matching.image=false")
    assert requests.question(requests.make(example), np.random.default_rng(0)).image is None


def test_photos_are_described_with_the_words_of_the_library(
    tiny: Path, library: Path, example: Example
) -> None:
    requests = opened(tiny, library)
    made = requests.make(example)
    assert len(made.photos) == 4
    drawn = [requests.photo(made, np.random.default_rng(seed)) for seed in range(40)]
    assert all(one is not None and one[1] in {"red", "green", "blue"} for one in drawn)
    assert len({one[0].digest for one in drawn if one is not None}) == 4
    assert all(one[0].grid_side == 1 for one in drawn if one is not None)


def test_refined_words_are_answers_and_never_asked(
    tiny: Path, library: Path, example: Example
) -> None:
    first = opened(tiny, library).make(example).photos[0].photo
    refined = words_below(example, {first.id: ("<I1> marble", "dome")})
    requests = opened(tiny, library, refined=refined)
    made = requests.make(example)
    (only,) = made.photos
    assert only.photo.id == first.id
    assert only.answer.endswith("marble, dome")
    assert "<" not in only.answer
    assert "marble" not in requests.question(made, np.random.default_rng(0)).prompt


def test_a_backbone_that_does_not_see_describes_no_photo(
    tiny: Path, library: Path, example: Example
) -> None:
    class Blind(ToyBackbone):
        sees = False

    requests = opened(tiny, library, backbone=Blind())
    made = requests.make(example)
    assert requests.photo(made, np.random.default_rng(0)) is None
    assert requests.question(made, np.random.default_rng(0)).image is None


def test_photos_that_vanished_leave_an_empty_cell_and_are_counted(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "own", ignore=shutil.ignore_patterns("local.json"))
    index_photos(tmp_path / "library.sqlite", folder / "photos")
    example = next(Benchmark(folder).examples("train"))
    requests = opened(folder, tmp_path / "library.sqlite")
    before = requests.make(example)
    gone, *kept = (named.photo for named in before.photos)
    Path(gone.path).unlink()
    after = requests.make(example)
    assert before.prompts.image is not None
    assert after.prompts.image is not None
    assert after.prompts.write([0, 1]) == before.prompts.write([0, 1])

    boxes = [(left, top, left + 32, top + 32) for top in (0, 32) for left in (0, 32)]
    grids = [before.prompts.image.image, after.prompts.image.image]
    cells = [[grid.crop(box).tobytes() for box in boxes] for grid in grids]
    same = [one == other for one, other in zip(*cells, strict=True)]
    assert same == [False, True, True, True]
    shown = [requests.photo(after, np.random.default_rng(seed)) for seed in range(40)]
    assert len({one[0].digest for one in shown if one is not None}) == len(kept)
    assert requests.counts["vanished_photos"] == 1
    assert caplog.text.count("cannot be opened any more") == 1


def test_requests_are_remembered_up_to_a_number(tiny: Path, library: Path) -> None:
    requests = opened(tiny, library, "training.joint.remembered=2")
    first = requests.take([3, 0, 1])
    again = requests.take([1, 0])
    assert again[0] is first[2]
    assert again[1] is first[1]
    (third,) = requests.take([3])
    assert third is not first[0]
    assert third.prompts.write([0, 1]) == first[0].prompts.write([0, 1])
