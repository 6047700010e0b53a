"""Modes in which a model is asked, also in the middle of training: without dropout, or adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any


# Any, here and below: Hugging Face's models.
@contextmanager
def evaluating(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Switch dropout off.

    Args:
        model: of PyTorch.

    Yields:
        Nothing; afterwards dropout is as before.
    """
    training = bool(model.training)
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def untrained(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Switch the adapter off, where there is one.

    Args:
        model: with or without an adapter of PEFT.

    Yields:
        Nothing; afterwards the adapter is on.
    """
    with model.disable_adapter() if hasattr(model, "peft_config") else nullcontext():
        yield
