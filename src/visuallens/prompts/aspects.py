"""The prompt for aspect words, x_asp, and the parser of its answer (§4.1, §5.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from visuallens.prompts.answers import count_words, is_refusal, json_strings, plain_text
from visuallens.prompts.data import as_data

MAX_ASPECT_WORDS = 20

_MAX_WORDS_EACH = 3
_MAX_CHARACTERS = 40

_PROMPT = (
    "List the aspect words of this photo: things, materials, styles, activities and moods that "
    "tell what kind of place it is. One or two words each, the most telling first, separated by "
    "commas. Write nothing else."
)

_BULLET = re.compile(r"^\s*(?:(?:[-*•·]|\(?\d{1,2}[.):])\s*)+")
_SEPARATOR = re.compile(r"[,;•·|、。]|\.(?=\s|$)|(?<=\s)/(?=\s)")
_HEADING = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|here (?:is|are)|here's|the|some|useful|visible)?[\s,!]*"
    r"[^:]{0,60}\b(?:aspects?|words?|keywords?|tags?|answer|list|features)\b[^:]{0,40}:",
    re.IGNORECASE,
)
_EXPLAINED = re.compile(r"^([^:]{1,40}?)(?:\s*:\s*|\s+[-=]+>?\s+)(\S.*)$")
_FILLER = re.compile(
    r"^(?:and|or|also|plus|sure|certainly|of course|okay|ok|"
    r"(?:the|this)\s+(?:image|photo|picture)\s+(?:shows|depicts|features|contains|includes|has)|"
    r"there (?:is|are)|i (?:can )?see|a|an|the|some)(?:\s*!|\s+|$)",
    re.IGNORECASE,
)
_NOTHING = {"none", "n/a", "nothing", "unknown", "null", "etc", "other"}
_EDGES = " \t\"'«»\u2039\u203a!?-*_#`~=+.:{}"
_LONGEST_ENTRY = 200
_PROMPT_WORD = re.compile(r"\w+")
_ASKED = f" {' '.join(_PROMPT_WORD.findall(_PROMPT.lower()))} "


def aspect_prompt() -> str:
    """Ask for the aspect words of a photo.

    Returns:
        x_asp; the photo goes with it.

    Source: §4.1, aspect word generation; the wording is ours, as the paper does not print its own
        (Figure 6 is the selection of §5.2).
    """
    return _PROMPT


def parse_aspect_words(answer: str) -> tuple[str, ...]:
    """Read aspect words out of an answer.

    Args:
        answer: as the model wrote it.

    Returns:
        Harmless words (`as_data`) in lower case, one to three words each, each once, in the order
        of the answer; empty for a refusal and for an answer that is only sentences.

    Choice: at most 20 a photo: models without training repeat themselves, and 64 photos share
        one prompt. An entry of more than three words, or of more than 40 characters, is a
        sentence and left out, and so are words of the question itself, which small models repeat.
        Singular and plural stay two words.
    """
    if is_refusal(answer):
        return ()
    found: dict[str, None] = {}
    for entry in _entries(plain_text(answer, tag="\n")):
        word = _clean(entry)
        if word and word not in found:
            found[word] = None
            if len(found) == MAX_ASPECT_WORDS:
                break
    return tuple(found)


def _entries(text: str) -> Iterator[str]:
    strings = json_strings(text)
    for line in text.splitlines() if strings is None else strings:
        for part in _SEPARATOR.split(_list_of(line)):
            if count_words(part) > _MAX_WORDS_EACH:
                yield from re.split(r"\s(?:and|or|with|&)\s", part)
            else:
                yield part


def _list_of(line: str) -> str:
    """Drop a line's bullet, its heading, and what explains a single word."""
    text = _BULLET.sub("", line)
    heading = _HEADING.match(text)
    if heading:
        return text[heading.end() :]
    explained = _EXPLAINED.match(text)
    if explained:
        return explained[2] if _SEPARATOR.search(explained[2]) else explained[1]
    return text


def _clean(entry: str) -> str:
    if len(entry) > _LONGEST_ENTRY:
        return ""
    text = re.sub(r"[(\[][^()\[\]]*[)\]]", " ", entry)
    text = as_data(_BULLET.sub("", text)).lower().strip(_EDGES)
    before = None
    while before != text:
        before = text
        text = _FILLER.sub("", text, count=1).strip(_EDGES)
    text = as_data(text)
    is_word = any(sign.isalpha() for sign in text) and text not in _NOTHING
    fits = len(text) <= _MAX_CHARACTERS and count_words(text) <= _MAX_WORDS_EACH
    return text if is_word and fits and not _is_asked(text) else ""


def _is_asked(text: str) -> bool:
    """Tell whether words stand one after the other in the prompt."""
    words = " ".join(_PROMPT_WORD.findall(text))
    return bool(words) and f" {words} " in _ASKED
