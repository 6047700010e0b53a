"""The memory in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visuallens.config.training import AttentionTrainingSettings
from visuallens.errors import TrainingError
from visuallens.models.attention import MatcherShape
from visuallens.training.memory import MemoryMaker, Reductions, Tastes, principal_axes

PHOTOS, DIM = 24, 6
SHAPE = MatcherShape(DIM, 5, image_dims=DIM, text_dims=2, factors=4, sharpness=3)
OWN = AttentionTrainingSettings(shrinkage=1, user_power=0, ridge=1e-6, factors=4)


def two_tastes() -> Tastes:
    """Twelve users of two tastes: photos before the twelfth go together, and those after it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(PHOTOS, DIM, generator=generator), dim=-1)
    texts = torch.nn.functional.normalize(torch.randn(PHOTOS, 4, generator=generator), dim=-1)
    draw = np.random.default_rng(0)
    half = PHOTOS // 2
    chosen = {
        f"u{user}": frozenset((draw.choice(half, 6, replace=False) + half * (user % 2)).tolist())
        for user in range(12)
    }
    return Tastes(images, texts, [np.array([row]) for row in range(PHOTOS)], chosen)


def maker(
    tastes: Tastes | None = None, own: AttentionTrainingSettings = OWN, seed: int = 0
) -> MemoryMaker:
    buffers = {
        "image_mean": torch.zeros(DIM),
        "image_axes": torch.eye(DIM),
        "name_mean": torch.zeros(5),
        "name_axes": torch.zeros(5, 2),
        "description_mean": torch.zeros(5),
        "description_axes": torch.zeros(5, 2),
        "number_means": torch.zeros(2),
        "number_scales": torch.ones(2),
    }
    return MemoryMaker(tastes or two_tastes(), Reductions(buffers), SHAPE, own, seed)


def agreement(made: MemoryMaker, tastes: Tastes) -> torch.Tensor:
    """How well each photo speaks for each candidate, (photos, candidates), by image."""
    memory = made.whole
    photos = memory.recall_photos(tastes.images)
    found = memory.recall_candidates(tastes.images, tastes.texts)
    return photos @ found.by_image[:, :-1].T


def test_ease_by_hand() -> None:
    # Two users: {0, 1} and {1}. X'X = [[1, 1], [1, 2]]; with lambda 1, G = [[2, 1], [1, 3]] and
    # its inverse is [[3, -1], [-1, 2]] / 5. B_01 = 1/5 / (2/5) = 1/2 and B_10 = 1/5 / (3/5) = 1/3.
    tastes = Tastes(
        torch.eye(DIM)[:2],
        torch.eye(4)[:2],
        [np.array([0]), np.array([1])],
        {"a": frozenset({0, 1}), "b": frozenset({1})},
    )
    found = agreement(maker(tastes), tastes)
    expected = torch.tensor([[0, 1 / 2], [1 / 3, 0]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    # Popularity is log(1 + users), around its mean: log 2 and log 3.
    popularity = maker(tastes).whole.recall_candidates(tastes.images, tastes.texts).by_image[:, -1]
    middle = (np.log(2) + np.log(3)) / 2
    assert popularity.tolist() == pytest.approx([np.log(2) - middle, np.log(3) - middle], abs=1e-4)


def test_photos_of_one_taste_speak_for_each_other() -> None:
    tastes = two_tastes()
    found = agreement(maker(tastes), tastes)
    half = PHOTOS // 2
    own = (found[:half, :half].sum() + found[half:, half:].sum()) / (2 * half * (half - 1))
    other = (found[:half, half:].mean() + found[half:, :half].mean()) / 2
    assert own > other + 0.02


def test_a_memory_of_some_users_knows_only_what_they_chose() -> None:
    tastes = two_tastes()
    made = maker(tastes)
    users = [f"u{user}" for user in range(0, 12, 2)]
    assert made.make(users).landmarks == len(frozenset().union(*(tastes.chosen[u] for u in users)))
    assert made.whole.landmarks == len(frozenset().union(*tastes.chosen.values()))


def test_candidates_that_are_left_out_leave_no_landmark() -> None:
    tastes = two_tastes()
    row = min(tastes.chosen["u0"])
    memory = maker(tastes).make(tastes.chosen, without=[row])
    key = tastes.images[row]
    assert not torch.isclose(memory.image_keys, key).all(dim=1).any()
    whole = maker(tastes).whole
    assert torch.isclose(whole.image_keys, key).all(dim=1).any()


def test_factors_of_folds_are_turned_towards_those_of_all() -> None:
    tastes = two_tastes()
    made = maker(tastes)
    target = made.whole.recall_photos(tastes.images)
    users = [user for user in tastes.chosen if user != "u3"]
    turned = made.make(users).recall_photos(tastes.images)
    own = [tastes.chosen[user] for user in users]
    other = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))[0]
    made.whole.photo_values @= other  # as if the factors of all were others
    made.whole.candidate_values[:, :-1] @= other
    again = made.make(users).recall_photos(tastes.images)
    alone = made._make(own, frozenset(), None).recall_photos(tastes.images)

    def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
        return float((found - wanted).norm() / wanted.norm())

    assert distance(again, target @ other) < 0.6 * distance(alone, target @ other)
    torch.testing.assert_close(again, turned @ other, atol=1e-4, rtol=1e-3)
    # Turned or not, they say the same.
    torch.testing.assert_close(turned @ turned.T, alone @ alone.T, atol=1e-3, rtol=1e-3)


def test_of_too_many_photos_clusters_are_remembered() -> None:
    tastes = two_tastes()
    few = OWN.model_copy(update={"landmarks": 5})
    memory = maker(tastes, few).whole
    assert memory.landmarks <= 5
    norms = memory.image_keys.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    again = maker(tastes, few).whole
    assert torch.equal(memory.image_keys, again.image_keys)


def lonely(photos: int, users: int) -> Tastes:
    """Everybody chose photos of their own, and nobody those of the last third."""
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(photos, DIM, generator=generator), dim=-1)
    each = photos * 2 // 3 // users
    chosen = {f"u{at}": frozenset(range(at * each, (at + 1) * each)) for at in range(users)}
    shown = [np.array([row]) for row in range(photos)]
    return Tastes(images, torch.ones(photos, 4) / 2, shown, chosen)


@pytest.mark.parametrize("landmarks", [4096, 40], ids=["photos", "clusters"])
def test_a_user_left_out_leaves_no_trace(landmarks: int) -> None:
    # What the user chose must be as familiar as what nobody chose, and changing it changes nothing.
    tastes = lonely(300, 20)
    own = OWN.model_copy(update={"landmarks": landmarks})
    users = [user for user in tastes.chosen if user != "u3"]
    memory = maker(tastes, own).make(users)
    other = {**tastes.chosen, "u3": frozenset(range(250, 260))}
    changed = Tastes(tastes.images, tastes.texts, tastes.shown, other)
    assert torch.equal(maker(changed, own).make(users).image_keys, memory.image_keys)


def test_with_clusters_candidates_that_are_left_out_take_only_their_photos() -> None:
    tastes = lonely(300, 20)
    own = OWN.model_copy(update={"landmarks": 40})
    without = range(0, 200, 2)
    memory = maker(tastes, own).make(tastes.chosen, without)
    assert memory.landmarks > 30
    kept = {user: rows.difference(without) for user, rows in tastes.chosen.items()}
    alone = Tastes(tastes.images, tastes.texts, tastes.shown, kept)
    assert torch.equal(memory.image_keys, maker(alone, own).whole.image_keys)


def test_the_same_seed_gives_the_same_memory() -> None:
    one, two = (maker().whole.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("chosen", [{}, {"a": frozenset({1})}], ids=["none", "one"])
def test_too_few_photos_are_refused(chosen: dict[str, frozenset[int]]) -> None:
    tastes = two_tastes()
    few = Tastes(tastes.images, tastes.texts, tastes.shown, chosen)
    with pytest.raises(TrainingError, match="fewer than two photos"):
        maker(few)


def test_a_fold_that_knows_too_little_is_refused() -> None:
    with pytest.raises(TrainingError, match="a fold of the training users"):
        maker().make(["u0"], without=range(PHOTOS))


def test_principal_axes_find_the_widest_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.1, 5.0, 1.0])
    vectors = torch.randn(200, 3, generator=generator) * spread + torch.tensor([1.0, 2.0, 3.0])
    mean, axes = principal_axes(vectors, 2)
    torch.testing.assert_close(mean, vectors.mean(dim=0))
    assert axes[1, 0] == pytest.approx(1, abs=0.02)
    assert axes[2, 1] == pytest.approx(1, abs=0.02)


def test_axes_that_there_are_not_are_zero() -> None:
    _, axes = principal_axes(torch.randn(4, 2), 5)
    assert axes.shape == (2, 5)
    assert not axes[:, 2:].any()
