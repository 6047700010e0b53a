from __future__ import annotations

import subprocess
import sys

import pytest

from visuallens import registry
from visuallens.errors import UnknownNameError


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in registry.BUILT_IN for name in registry.names(kind)],
)
def test_every_registered_name_loads(kind: str, name: str) -> None:
    assert registry.load(kind, name).__doc__


def test_a_wrong_name_answers_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="nearest, random, rating, similarity"):
        registry.load("rankers", "magic")


def test_a_wrong_kind_answers_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="rankers"):
        registry.names("spells")


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, visuallens; from visuallens import registry; registry.names('models');"
        "print([m for m in ('torch', 'transformers', 'openvino', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
