"""The prompt for the captions of all photos of a grid, and the answer it is trained with (§5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from visuallens.prompts.answers import first_words
from visuallens.prompts.data import as_data


def multi_image_prompt(count: int) -> str:
    """Ask for a caption of each photo of a grid.

    Args:
        count: number of photos, numbered from 1.

    Returns:
        The prompt; the grid goes with it.

    Source: §5.1; the wording is ours, as the paper does not print its own.
    """
    if count == 1:
        return "This image is one numbered photo. Describe it, as: Image 1: ..."
    return (
        f"This image is a grid of {count} numbered photos. Describe each of them in the order of "
        "their numbers, as: Image 1: ..., Image 2: ..."
    )


def multi_image_answer(captions: Sequence[str]) -> str:
    """Write the captions of a grid, T(C): "Image 1: ..., Image w: ...".

    Args:
        captions: in the order of their numbers, see `short_caption`.

    Returns:
        One line.

    Source: §5.1.
    """
    numbered = enumerate(captions, start=1)
    return ", ".join(f"{image_mark(number)} {caption}" for number, caption in numbered)


def image_mark(number: int) -> str:
    """Write what stands before the caption of a photo, without the space that follows."""
    return f"Image {number}:"


def short_caption(caption: str, max_words: int) -> str:
    """Make a foreign caption harmless (`as_data`) and short.

    Args:
        caption: of any length.
        max_words: longer ones are cut.

    Returns:
        One line without a full stop at its end; empty for text that shows nothing.

    Choice: the stop goes because T(C) writes a comma after a caption, and a caption that was cut
        has none either.
    """
    return first_words(as_data(caption), max_words).rstrip(" .,;:-")
