"""What answers of models have in common: thinking traces, markup, refusals, length."""

from __future__ import annotations

import html
import json
import re
import unicodedata

_OPENS = (
    r"<\s*(?:seed:)?(?:think(?:ing)?|thought|reasoning)\s*>|◁think▷|\[THINK\]"
    r"|<\|begin_of_thought\|>|<\|channel\|?>\s*(?:analysis|commentary|thought)\b(?:\s*<\|message\|>)?"
    r"|<unused94>"
)
_CLOSES = (
    r"<\s*/\s*(?:seed:)?(?:think(?:ing)?|thought|reasoning)\s*>|◁/think▷|\[/THINK\]"
    r"|<\|end_of_thought\|>|<\|channel\|?>\s*final\b(?:\s*<\|message\|>)?|<channel\|>|<unused95>"
)
_THINKING = re.compile(f"(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})", re.IGNORECASE)

_TAG = re.compile(
    r"</?[A-Za-z][\w:-]{0,40}(?:\s[^<>\n]{0,200}=[^<>\n]{0,200})?\s?/?>|<[!|][^<>\n]{0,80}>"
    r"|\[/?[A-Z][A-Z_0-9]{2,40}\]|<</?SYS>>"
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_MARKDOWN = re.compile(r"\*\*|__|`|^[ \t]*#{1,6}[ \t]+|^[ \t]*>[ \t]+", re.MULTILINE)
_EMPHASIS = re.compile(r"(?<![\w*])([*_])(?=\S)([^*_\n]{1,200})(?<=\S)\1(?![\w*])")

_REFUSAL = re.compile(
    r"(?:unfortunately,?\s+)?(?:"
    r"(?:i'?m|i am)\s+(?:really |very |so |terribly )?(?:sorry|afraid|unable|not able)\b"
    r"|(?:i|we)\s+(?:can't|cannot|can not|won't|will not|don't|do not)\b)"
    r"|(?:i\s+)?apologi[sz]e\b|(?:my\s+)?apologies\b|sorry(?:[,.!;:]| but\b| i\b)"
    r"|as an ai\b|there is no (?:image|photo|picture)\b|no (?:image|photo|picture) (?:was|is|has)\b"
    r"|es tut mir leid|ich kann (?:leider )?(?:nicht|kein)|(?:je suis )?désolée?\b|lo siento\b"
    r"|mi dispiace\b|desculpe\b|抱歉|对不起|很抱歉|申し訳|죄송",
    re.IGNORECASE,
)

_SIGNS = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
        "\u2039": "<",
        "\u203a": ">",
        "\u2013": "-",
        "\u2014": "-",
    }
)

_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]{1,3}"
    "|[^\\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
"""A word; up to three characters are one in scripts that are written without spaces."""


def strip_thinking(answer: str) -> str:
    """Take out what a model wrote while it was thinking.

    Args:
        answer: as the model wrote it.

    Returns:
        The answer alone, without outer spaces. A trace that never ends takes all after it with
        it; one that ends without having begun (it began in the prompt) takes all before it.
    """
    kept: list[str] = []
    is_thinking = False
    last = 0
    for mark in _THINKING.finditer(answer):
        if mark["opens"]:
            if not is_thinking:
                kept.append(answer[last : mark.start()])
            is_thinking = True
        else:
            if not is_thinking:
                kept.clear()
            is_thinking = False
            last = mark.end()
    if not is_thinking:
        kept.append(answer[last:])
    return " ".join(filter(None, map(str.strip, kept)))


def has_thinking(text: str) -> bool:
    """Tell whether a text holds a thinking trace, finished or not.

    Args:
        text: an answer, or a prompt as a chat template wrote it.

    Returns:
        True for a trace with content or one that has not ended; an empty pair of marks, by which
        a template switches thinking off, is none.
    """
    is_thinking = False
    last = 0
    for mark in _THINKING.finditer(text):
        if mark["closes"] and text[last : mark.start()].strip() and (is_thinking or not last):
            return True
        is_thinking = bool(mark["opens"])
        last = mark.end()
    return is_thinking


def plain_signs(text: str) -> str:
    """Write full-width and typographic signs as their ASCII counterparts, in form NFKC."""
    return unicodedata.normalize("NFKC", html.unescape(text)).translate(_SIGNS)


def plain_text(answer: str, *, tag: str = " ") -> str:
    """Take thinking, markup and special tokens out of an answer.

    Args:
        answer: as the model wrote it.
        tag: written in place of each tag or special token.

    Returns:
        Plain text with plain signs (`plain_signs`), still with its lines.
    """
    text = _TAG.sub(tag, _FENCE.sub("", plain_signs(strip_thinking(answer))))
    text = _MARKDOWN.sub("", text)
    return _EMPHASIS.sub(r"\2", text).strip()


def is_refusal(answer: str) -> bool:
    """Tell whether an answer begins by refusing or by saying that it sees nothing."""
    return _REFUSAL.match(plain_text(answer).lstrip("\"' ")) is not None


def json_strings(text: str) -> list[str] | None:
    """Read the strings of an answer in JSON.

    Args:
        text: without markdown fences.

    Returns:
        The strings of a list, or of the values of an object; None when it is not such JSON.
    """
    if not text.startswith(("[", "{")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = list(found.values()) if isinstance(found, dict) else [found]
    strings: list[str] = []
    for value in values:
        strings += value if isinstance(value, list) else [value]
    return [text for text in strings if isinstance(text, str)]


def count_words(text: str) -> int:
    """Count words; three characters are one in scripts without spaces."""
    return sum(1 for _ in _WORD.finditer(text))


def first_words(text: str, count: int) -> str:
    """Keep the first words of a text, see `count_words`."""
    for index, word in enumerate(_WORD.finditer(text), start=1):
        if index == count:
            return text[: word.end()]
    return text
