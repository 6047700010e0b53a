"""A Ray of two workers on this machine, for tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from visuallens.workers import Workers

ROOT = Path(__file__).resolve().parents[1]

HERE = Workers()
TWO_PROCESSES = Workers(count=2)
TWO_ON_RAY = Workers("ray", count=2)


@contextmanager
def two_workers() -> Iterator[None]:
    """Start Ray with workers that know the modules of the tests, and two graphics cards on paper.

    It takes seconds, so the tests of a module share one.
    """
    ray = pytest.importorskip("ray", reason="the `scale` extra is not installed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        ray.init(
            "local",
            num_cpus=2,
            num_gpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    try:
        yield
    finally:
        ray.shutdown()
