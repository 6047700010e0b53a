"""The prompt for a caption, and the parser of its answer (§4.1, caption generation)."""

from __future__ import annotations

import re

from visuallens.prompts.answers import (
    count_words,
    first_words,
    is_refusal,
    json_strings,
    plain_text,
)
from visuallens.prompts.data import as_data

MAX_CAPTION_WORDS = 30
"""Source: §4.1, captions within 30 words."""

_MAX_CHARACTERS = 400
_LEAST_SENTENCE_WORDS = 5
_MOST_PREAMBLES = 4

_PROMPT = (
    "Describe this photo in one sentence of at most 30 words. Say only what is visible: the "
    "place, the things, what is happening. Do not guess, do not name people you do not know, and "
    "write nothing before or after the sentence."
)

_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):])\s+")
_PREAMBLES = re.compile(
    r"^(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|great|yes|gladly)\s*[,!.:;-]+\s*"
    r"|^(?:here(?:'s| is| are)|this is|below is)\b[^:.!?\n]{0,60}"
    r"\b(?:caption|description|sentence|summary|answer|option|response)s?\b[^:.!?\n]{0,60}:\s*"
    r"|^here (?:you|we) go\s*[:!.]\s*"
    r"|^(?:my |a |the )?(?:short |brief |possible )?(?:image |photo |picture )?"
    r"(?:caption|description|answer|output|title)\b[^:.!?\n]{0,20}:\s*",
    re.IGNORECASE,
)
_QUOTES = {
    '"': '"',
    "'": "'",
    "«": "»",
    "\u2039": "\u203a",
    "「": "」",
    "(": ")",
}
_SENTENCE_END = re.compile(r"[.!?]+[\"')]*(?=\s|$)|。")


def caption_prompt() -> str:
    """Ask for a caption.

    Returns:
        The prompt; the photo goes with it.

    Source: §4.1 gives the length; the wording is ours, as the paper does not print its own.
    """
    return _PROMPT


def parse_caption(answer: str) -> str:
    """Read a caption out of an answer.

    Args:
        answer: as the model wrote it.

    Returns:
        One harmless line (`as_data`) of at most 30 words; empty for a refusal and for an answer
        without a letter or digit.

    Choice: of several paragraphs or list entries the first is the caption. A longer one ends
        after its last whole sentence within 30 words, if that has five words or more, else after
        the 30th word. Three characters count as a word in scripts without spaces. "The image
        shows" stays: what follows would seldom stand alone.
    """
    if is_refusal(answer):
        return ""
    text = plain_text(answer)
    strings = json_strings(text)
    if strings is not None:
        text = strings[0] if strings else ""
    caption = _unquoted(as_data(_first_paragraph(text)))
    if is_refusal(caption) or not any(sign.isalnum() for sign in caption):
        return ""
    return _shorten(caption)


def _first_paragraph(text: str) -> str:
    """Find the first lines with content that are no preamble."""
    kept: list[str] = []
    lines = text.splitlines()
    for index, raw in enumerate(lines):
        is_entry = _BULLET.match(raw) is not None
        line = raw.strip()
        if kept and (not line or is_entry):
            break
        line = _BULLET.sub("", line) if is_entry else line
        if not kept:
            line = _without_preamble(line)
            if line.endswith(":") and any(map(str.strip, lines[index + 1 :])):
                continue
        if line:
            kept.append(line)
    return " ".join(kept)


def _without_preamble(line: str) -> str:
    for _ in range(_MOST_PREAMBLES):
        line = _PREAMBLES.sub("", line, count=1)
    return line


def _unquoted(line: str) -> str:
    while len(line) > 1 and _QUOTES.get(line[0]) == line[-1]:
        inner = line[1:-1]
        if line[0] in inner or line[-1] in inner:
            break
        line = inner.strip()
    return line


def _shorten(caption: str) -> str:
    head = first_words(caption, MAX_CAPTION_WORDS)[:_MAX_CHARACTERS]
    if head == caption:
        return caption
    ends = [end.end() for end in _SENTENCE_END.finditer(caption) if end.end() <= len(head)]
    if ends and count_words(head[: ends[-1]]) >= _LEAST_SENTENCE_WORDS:
        return head[: ends[-1]]
    if len(head) == _MAX_CHARACTERS and " " in head:
        head = head[: head.rindex(" ")]
    return head.rstrip(" ,;:-")
