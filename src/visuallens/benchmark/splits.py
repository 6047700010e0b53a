"""Who is in train, dev and test: by user, by category, by time; and by business besides (Table 4).

Two things make a split. *Parts* say which reviews and businesses may meet in an example; they are
known before examples are searched for. *Shares* then say which of the examples found go where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from visuallens.benchmark.base import Rules
from visuallens.benchmark.reading import text_hash

ALWAYS_MS = 2**62
"""Later than any review."""

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Part:
    """Reviews and businesses that may meet in an example.

    Attributes:
        name: empty where there is one part only.
        start_ms: questions and ground truth come from reviews at this time or later,
        end_ms: and before this one; histories reach back before the start.
        half: 0 or 1, the half of the businesses that it may show; None: all.
    """

    name: str = ""
    start_ms: int = -ALWAYS_MS
    end_ms: int = ALWAYS_MS
    half: int | None = None


class Group(NamedTuple):
    """Examples that stay together in a split.

    Attributes:
        user_hash: of their user.
        category: that they ask for.
        part: that they come from.
    """

    user_hash: int
    category: str
    part: str


class Share(NamedTuple):
    """Where the examples of a group go.

    Attributes:
        split: "train", "dev", "test", or empty for nowhere.
        size: how many of them, earliest first.
    """

    split: str
    size: int


def parts_of(rules: Rules, days: Mapping[int, int]) -> tuple[Part, ...]:
    """List the parts of a benchmark.

    Args:
        rules: `split`, `business_disjoint`, and `largest_share` for the length of dev and test.
        days: reviews by day since 1970, UTC.

    Returns:
        One part; or train, dev and test one after the other; or train and the held-out half.

    Source: Table 4: LongHis, train until a certain timestamp and test afterwards.
    Choice: what is known after the timestamp is not used before it, so the ground truth of a
        training question also ends there. The timestamps are the ends of days.
    """
    if rules.split == "by_time":
        dev, test = (_day_after(days, 1 - rules.largest_share * n) * _DAY_MS for n in (2, 1))
        halves = (0, 1, 1) if rules.business_disjoint else (None, None, None)
        return (
            Part("train", -ALWAYS_MS, dev, halves[0]),
            Part("dev", dev, test, halves[1]),
            Part("test", test, ALWAYS_MS, halves[2]),
        )
    if rules.business_disjoint:
        return (Part("train", half=0), Part("held_out", half=1))
    return (Part(),)


def _day_after(days: Mapping[int, int], share: float) -> int:
    """Find the first day before which there is at least this share of the reviews."""
    left = share * sum(days.values())
    for day in sorted(days):
        if left <= 0:
            return day
        left -= days[day]
    return max(days, default=0) + 1


def half_of(business_id: str, seed: int) -> int:
    """Put a business into half 0 or 1, by chance that the seed decides."""
    return text_hash(f"{seed}|half|{business_id}") & 1


def shares_of(groups: Mapping[Group, int], rules: Rules, seed: int) -> dict[Group, Share]:
    """Decide for each group of examples where it goes.

    Args:
        groups: number of examples of each.
        rules: the kind of split, and the sizes of dev and test.
        seed: decides who is held out.

    Returns:
        A share for every group.

    Source: §6.1 and Table 1: disjoint users, dev and test of stated sizes.
    Choice: whole users (or a user's categories) are drawn until the size is reached; what the last
        one has beyond it belongs to no split.
    """
    sources = _sources(rules)
    shares = {
        group: Share("train", count) if group.part == sources["train"] else _NOWHERE
        for group, count in groups.items()
    }
    units = _units(groups, rules, seed)
    held_out: set[_Unit] = set()
    for split in ("test", "dev"):
        left = _size(split, groups, sources[split], rules)
        for unit, members in units.items():
            chosen = [group for group in members if group.part == sources[split]]
            if not left or unit in held_out or not chosen:
                continue
            if rules.split != "by_time":
                held_out.add(unit)
                shares.update(dict.fromkeys(members, _NOWHERE))
            for group in chosen:
                shares[group] = Share(split, min(groups[group], left))
                left -= shares[group].size
    return shares


_NOWHERE = Share("", 0)
_Unit = tuple[int, str]
"""What is held out as a whole: a user, or a user's category."""


def _sources(rules: Rules) -> dict[str, str]:
    """Name the part that each split takes its examples from."""
    if rules.split == "by_time":
        return {split: split for split in ("train", "dev", "test")}
    if rules.business_disjoint:
        return {"train": "train", "dev": "held_out", "test": "held_out"}
    return dict.fromkeys(("train", "dev", "test"), "")


def _size(split: str, groups: Mapping[Group, int], source: str, rules: Rules) -> int:
    wanted = rules.test_examples if split == "test" else rules.dev_examples
    if rules.split == "by_time":
        return wanted
    available = sum(count for group, count in groups.items() if group.part == source)
    return min(wanted, int(rules.largest_share * available))


def _units(groups: Mapping[Group, int], rules: Rules, seed: int) -> dict[_Unit, list[Group]]:
    """Gather what may be held out, in an order that the seed decides.

    Choice: one category of each user always stays in train, else the user would be held out; and
        one user, or train could be empty.
    """
    gathered: dict[_Unit, list[Group]] = {}
    for group in sorted(groups):
        category = group.category if rules.split == "by_category" else ""
        gathered.setdefault((group.user_hash, category), []).append(group)
    drawn = sorted(gathered, key=lambda unit: text_hash(f"{seed}|split|{unit[0]}|{unit[1]}"))
    if rules.split == "by_category":
        first = {user_hash: (user_hash, category) for user_hash, category in reversed(drawn)}
        drawn = [unit for unit in drawn if first[unit[0]] != unit]
    elif rules.split == "by_user":
        drawn = drawn[:-1]
    return {unit: gathered[unit] for unit in drawn}
