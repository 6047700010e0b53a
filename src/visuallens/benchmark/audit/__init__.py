"""The audit of a benchmark: does anything but taste point at the ground truth?"""

from visuallens.benchmark.audit.run import Audit, audit
from visuallens.benchmark.audit.verdict import Check, Verdict

__all__ = ["Audit", "Check", "Verdict", "audit"]
