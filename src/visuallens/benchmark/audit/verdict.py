"""What the audit says of a benchmark: one record per check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """Outcome of a check. The value is what users and JSON see."""

    OK = "ok"
    LEAK = "leak"
    SHORTCUT = "shortcut"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the audit.

    Attributes:
        name: what was checked.
        verdict: LEAK also for a file that is not what benchmark.json says; SHORTCUT for what
            rankers may use, since the paper's rules allow it, and what is no taste.
        evidence: one line with the figures that decide, or the reason why it was not checked.
        figures: the same and more, by name; scores are fractions between 0 and 1.
    """

    name: str
    verdict: Verdict
    evidence: str
    figures: Mapping[str, float] = field(default_factory=dict)


def decide(name: str, faults: Mapping[str, int], clean: str) -> Check:
    """Judge a check that counts faults, none of which may be there.

    Args:
        name: of the check.
        faults: what is wrong, in words → how often it is.
        clean: evidence where nothing is wrong.

    Returns:
        A leak if anything was counted.
    """
    found = [f"{count:,} {fault}" for fault, count in faults.items() if count]
    figures = {fault: float(count) for fault, count in faults.items()}
    verdict = Verdict.LEAK if found else Verdict.OK
    return Check(name, verdict, "; ".join(found) or clean, figures)


def not_checked(name: str, reason: str, figures: Mapping[str, float] | None = None) -> Check:
    """Say why a check was not made."""
    return Check(name, Verdict.NOT_CHECKED, reason, figures or {})
