"""The prompts of VisualLens as pure functions, each with the parser of its answer.

Matching is Figure 7, selection Figure 6; caption, aspect words and permutation are our own. Text
from outside goes through `as_data`, text from a model through a parser, which never raises.
"""

from visuallens.prompts.answers import has_thinking, strip_thinking
from visuallens.prompts.aspects import MAX_ASPECT_WORDS, aspect_prompt, parse_aspect_words
from visuallens.prompts.caption import MAX_CAPTION_WORDS, caption_prompt, parse_caption
from visuallens.prompts.data import Style, as_data
from visuallens.prompts.matching import CandidateLine, matching_prompt
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
    "matching_prompt",
    "parse_aspect_words",
    "parse_caption",
    "parse_permutation",
    "parse_selection",
    "permutation_prompt",
    "selection_prompt",
    "strip_thinking",
]
