from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuallens import registry
from visuallens.benchmark.base import Rules
from visuallens.benchmark.splits import (
    ALWAYS_MS,
    Group,
    Part,
    Share,
    half_of,
    parts_of,
    shares_of,
)
from visuallens.config import BenchmarkSettings

DAY_MS = 86_400_000
SPLITS = ("train", "dev", "test")
Groups = dict[Group, int]


# Any: settings of many types.
def rules_of(**given_: Any) -> Rules:  # noqa: ANN401
    settings_ = BenchmarkSettings.model_validate(
        {"largest_share": 0.25, "dev_examples": 20, "test_examples": 30, **given_}
    )
    return Rules.resolve(settings_, registry.load("datasets", "google-review-v").defaults)


def groups_of(*parts: str) -> st.SearchStrategy[Groups]:
    group = st.builds(
        Group, st.integers(0, 11), st.sampled_from(["bar", "park", "zoo"]), st.sampled_from(parts)
    )
    return st.dictionaries(group, st.integers(1, 40), max_size=30)


SIZES = st.fixed_dictionaries(
    {
        "dev_examples": st.integers(0, 60),
        "test_examples": st.integers(0, 60),
        "largest_share": st.floats(0.01, 0.49),
    }
)
SEEDS = st.integers(0, 2**32)
checked = settings(max_examples=80, deadline=None)


def sizes(shares: dict[Group, Share]) -> Counter[str]:
    found: Counter[str] = Counter()
    for share in shares.values():
        found[share.split] += share.size
    return found


def stated(wanted: int, rules: Rules, available: int) -> int:
    return min(wanted, int(rules.largest_share * available))


def splits_of_user(shares: dict[Group, Share], user_hash: int) -> set[str]:
    return {
        share.split
        for group, share in shares.items()
        if group.user_hash == user_hash and share.size
    }


def every_group_has_a_share(groups: Groups, shares: dict[Group, Share]) -> None:
    assert shares.keys() == groups.keys()
    for group, share in shares.items():
        assert share.split in {*SPLITS, ""}
        assert 0 <= share.size <= groups[group]
        assert bool(share.split) or not share.size
        if share.split == "train":
            assert share.size == groups[group]


@checked
@given(groups=groups_of(""), given_=SIZES, seed=SEEDS)
def test_by_user_no_user_is_in_two_splits(
    groups: Groups, given_: dict[str, float], seed: int
) -> None:
    rules = rules_of(**given_)
    shares = shares_of(groups, rules, seed)
    every_group_has_a_share(groups, shares)
    for user_hash in {group.user_hash for group in groups}:
        assert len(splits_of_user(shares, user_hash)) <= 1
    total = sum(groups.values())
    found = sizes(shares)
    assert found["test"] <= stated(rules.test_examples, rules, total)
    assert found["dev"] <= stated(rules.dev_examples, rules, total)
    assert found["train"] or not groups
    if len({group.user_hash for group in groups}) > 10 and rules.largest_share < 0.1:
        assert found["test"] == stated(rules.test_examples, rules, total)


@checked
@given(groups=groups_of(""), given_=SIZES, seed=SEEDS)
def test_by_category_a_category_of_a_user_is_in_one_split_and_one_stays_in_train(
    groups: Groups, given_: dict[str, float], seed: int
) -> None:
    rules = rules_of(split="by_category", **given_)
    shares = shares_of(groups, rules, seed)
    # A user's category is one group here, and a group has one share.
    every_group_has_a_share(groups, shares)
    users = {group.user_hash for group in groups}
    assert all("train" in splits_of_user(shares, one) for one in users)
    total = sum(groups.values())
    found = sizes(shares)
    assert found["test"] <= stated(rules.test_examples, rules, total)
    assert found["dev"] <= stated(rules.dev_examples, rules, total)


@checked
@given(groups=groups_of("train", "dev", "test"), given_=SIZES, seed=SEEDS)
def test_by_time_examples_stay_in_their_part(
    groups: Groups, given_: dict[str, float], seed: int
) -> None:
    rules = rules_of(split="by_time", **given_)
    shares = shares_of(groups, rules, seed)
    every_group_has_a_share(groups, shares)
    assert all(share.split in {group.part, ""} for group, share in shares.items())
    available: Counter[str] = Counter()
    for group, count in groups.items():
        available[group.part] += count
    assert sizes(shares) == {
        split: size
        for split, size in (
            ("train", available["train"]),
            ("dev", min(rules.dev_examples, available["dev"])),
            ("test", min(rules.test_examples, available["test"])),
            ("", 0),
        )
        if size or split in {share.split for share in shares.values()}
    }


@checked
@given(
    groups=groups_of("train", "held_out"),
    given_=SIZES,
    split=st.sampled_from(["by_user", "by_category"]),
    seed=SEEDS,
)
def test_business_disjoint_splits_use_one_half_each(
    groups: Groups, given_: dict[str, float], split: str, seed: int
) -> None:
    rules = rules_of(split=split, business_disjoint=True, **given_)
    shares = shares_of(groups, rules, seed)
    every_group_has_a_share(groups, shares)
    where = {"train": "train", "dev": "held_out", "test": "held_out"}
    assert all(not one.split or where[one.split] == g.part for g, one in shares.items())
    units: dict[tuple[int, str], set[str]] = {}
    for group, share in shares.items():
        category = group.category if split == "by_category" else ""
        if share.size:
            units.setdefault((group.user_hash, category), set()).add(share.split)
    assert all(len(found) == 1 for found in units.values())
    held_out = sum(count for group, count in groups.items() if group.part == "held_out")
    assert sizes(shares)["test"] <= stated(rules.test_examples, rules, held_out)
    assert sizes(shares)["dev"] <= stated(rules.dev_examples, rules, held_out)


@checked
@given(
    groups=groups_of("", "train", "dev", "test", "held_out"),
    order=st.randoms(use_true_random=False),
    seed=SEEDS,
)
def test_the_same_seed_gives_the_same_shares_in_whatever_order(
    groups: Groups,
    order: Random,
    seed: int,
) -> None:
    listed = list(groups.items())
    order.shuffle(listed)
    for given_ in (
        {"split": "by_user"}, {"split": "by_category"}, {"split": "by_time"},
        {"business_disjoint": True},
    ):  # fmt: skip
        rules = rules_of(**given_)
        known = {group for group in groups if group.part in _parts(rules)}
        some = {group: count for group, count in listed if group in known}
        again = {group: groups[group] for group in groups if group in known}
        assert shares_of(some, rules, seed) == shares_of(again, rules, seed)


def _parts(rules: Rules) -> set[str]:
    return {part.name for part in parts_of(rules, {0: 1, 1: 1, 2: 1})}


MANY = {Group(user * 7919, "bar", ""): 5 for user in range(80)}


def test_a_seed_changes_who_is_held_out() -> None:
    rules = rules_of()
    testers = [
        frozenset(
            group.user_hash
            for group, share in shares_of(MANY, rules, seed).items()
            if share.split == "test"
        )
        for seed in range(20)
    ]
    assert len(set(testers)) == 20
    # 30 examples are six of 80 users, so 20 draws of 6 miss a given user with (74/80)**20 = 0.21.
    assert len(frozenset.union(*testers)) > 50


def test_stated_sizes_are_met_and_what_is_beyond_them_goes_nowhere() -> None:
    # 80 users with five examples each. Test wants 13: two users and three examples of a third,
    # two of whose go nowhere. Dev wants 7: one user and two of another, three go nowhere. Train
    # keeps the other 75 users.
    shares = shares_of(MANY, rules_of(test_examples=13, dev_examples=7), 0)
    assert sizes(shares) == {"train": 375, "dev": 7, "test": 13}


def test_a_small_dump_gives_test_and_dev_at_most_their_largest_share() -> None:
    # Of 400 examples at most 10 percent: 40, though 2,000 and 200,000 are stated.
    rules = rules_of(largest_share=0.1, dev_examples=2_000, test_examples=200_000)
    assert sizes(shares_of(MANY, rules, 0)) == {"train": 320, "dev": 40, "test": 40}


@pytest.mark.parametrize("split", ["by_user", "by_category", "by_time"])
@pytest.mark.parametrize("disjoint", [False, True])
def test_nothing_gives_nothing(split: str, disjoint: bool) -> None:
    assert shares_of({}, rules_of(split=split, business_disjoint=disjoint), 0) == {}


def test_one_example_goes_to_train() -> None:
    # A quarter of one example is none.
    group = Group(1, "bar", "")
    assert shares_of({group: 1}, rules_of(), 0) == {group: Share("train", 1)}
    assert shares_of({group: 9}, rules_of(split="by_category"), 0) == {group: Share("train", 9)}


def test_a_user_held_out_loses_the_half_of_train_too() -> None:
    groups = {Group(user, "bar", part): 4 for user in range(4) for part in ("train", "held_out")}
    # 16 held-out examples, a quarter of them is four: one user each.
    shares = shares_of(groups, rules_of(business_disjoint=True), 0)
    assert sizes(shares) == {"train": 8, "dev": 4, "test": 4, "": 0}


# --- parts ------------------------------------------------------------------------------------


def test_by_user_and_by_category_have_one_part() -> None:
    for split in ("by_user", "by_category"):
        assert parts_of(rules_of(split=split), {3: 10}) == (Part("", -ALWAYS_MS, ALWAYS_MS, None),)


def test_parts_by_time_end_with_the_days_that_complete_their_share() -> None:
    # 8 reviews, shares 1/2, 1/4, 1/4. Four are before day 12 (day 10 has 3, day 11 has 1);
    # six before day 15 (day 12 has 2). Days without reviews are not named.
    days = {15: 1, 10: 3, 11: 1, 12: 2, 20: 1}
    assert parts_of(rules_of(split="by_time"), days) == (
        Part("train", -ALWAYS_MS, 12 * DAY_MS),
        Part("dev", 12 * DAY_MS, 15 * DAY_MS),
        Part("test", 15 * DAY_MS, ALWAYS_MS),
    )


@checked
@given(
    days=st.dictionaries(st.integers(-1000, 20_000), st.integers(1, 50), max_size=40),
    share=st.floats(0.01, 0.49),
)
def test_parts_by_time_touch_and_hold_their_shares(days: dict[int, int], share: float) -> None:
    train, dev, test = parts_of(rules_of(split="by_time", largest_share=share), days)
    assert (train.start_ms, test.end_ms) == (-ALWAYS_MS, ALWAYS_MS)
    assert train.end_ms == dev.start_ms <= dev.end_ms == test.start_ms
    assert dev.start_ms % DAY_MS == test.start_ms % DAY_MS == 0
    total = sum(days.values())
    for part, before in ((dev, 1 - 2 * share), (test, 1 - share)):
        start = part.start_ms // DAY_MS
        earlier = sum(count for day, count in days.items() if day < start)
        assert earlier >= before * total - 1e-6
        # The last day before it was needed.
        last = max((day for day in days if day < start), default=None)
        if last is not None:
            assert earlier - days[last] < before * total + 1e-6


def test_everything_in_one_day_is_train() -> None:
    train, dev, test = parts_of(rules_of(split="by_time"), {9: 100})
    assert train.end_ms == dev.end_ms == test.start_ms == 10 * DAY_MS
    assert parts_of(rules_of(split="by_time"), {})[0].end_ms == DAY_MS


def test_business_disjoint_parts_show_one_half_of_the_businesses() -> None:
    assert [(one.name, one.half) for one in parts_of(rules_of(business_disjoint=True), {1: 1})] == [
        ("train", 0),
        ("held_out", 1),
    ]
    by_time = parts_of(rules_of(split="by_time", business_disjoint=True), {1: 1})
    assert [(one.name, one.half) for one in by_time] == [("train", 0), ("dev", 1), ("test", 1)]


def test_halves_are_halves_that_the_seed_decides() -> None:
    ids = [f"b{number}" for number in range(2000)]
    first, again, other = ([half_of(one, seed) for one in ids] for seed in (0, 0, 1))
    assert first == again
    # 1,000 expected; 90 is four standard deviations.
    assert 910 <= sum(first) <= 1090
    assert 910 <= sum(one == two for one, two in zip(first, other, strict=True)) <= 1090
