"""The prompts of VisualLens as pure functions, each with the parser of its answer.

Matching is Figure 7, selection Figure 6, the answer about a grid T(C) of §5.1; the rest is our own.
Text from outside goes through `as_data`, text from a model through a parser, which never raises.
"""

from visuallens.prompts.answers import has_thinking, strip_thinking
from visuallens.prompts.aspects import MAX_ASPECT_WORDS, aspect_prompt, parse_aspect_words
from visuallens.prompts.caption import MAX_CAPTION_WORDS, caption_prompt, parse_caption
from visuallens.prompts.data import Style, as_data
from visuallens.prompts.matching import CandidateLine, matching_prompt
from visuallens.prompts.multi_image import (
    image_mark,
    multi_image_answer,
    multi_image_prompt,
    short_caption,
)
from visuallens.prompts.permutation import Permutation, parse_permutation, permutation_prompt
from visuallens.prompts.selection import parse_selection, selection_prompt

PROMPT_VERSION = "prompts-1"
"""Changes whenever a wording or a parser changes what is stored."""

__all__ = [
    "MAX_ASPECT_WORDS",
    "MAX_CAPTION_WORDS",
    "PROMPT_VERSION",
    "CandidateLine",
    "Permutation",
    "Style",
    "as_data",
    "aspect_prompt",
    "caption_prompt",
    "has_thinking",
    "image_mark",
    "matching_prompt",
    "multi_image_answer",
    "multi_image_prompt",
    "parse_aspect_words",
    "parse_caption",
    "parse_permutation",
    "parse_selection",
    "permutation_prompt",
    "selection_prompt",
    "short_caption",
    "strip_thinking",
]
