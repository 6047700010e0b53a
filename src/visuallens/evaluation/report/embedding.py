"""What goes into a page from outside: text, JPEG images, and SVG images under their own names."""

from __future__ import annotations

import base64
import re
from html import escape

from visuallens.evaluation.report.wording import one_line

_TAG = re.compile(r"<[^>]*>")
_NAMED = re.compile(r'(\bid="|url\(#|href="#)')


def escaped(text: str, *, lines: bool = False) -> str:
    """Write text so that nothing in it is markup.

    Args:
        text: anything, broken Unicode included.
        lines: keep its lines; else it is put on one.

    Returns:
        Text for an element or a quoted attribute.
    """
    if lines:
        return "\n".join(escaped(line) for line in text.split("\n"))
    return escape(one_line(text), quote=True)


def embedded_jpeg(jpeg: bytes, told: str) -> str:
    """Put a JPEG image into a page.

    Args:
        jpeg: its bytes.
        told: to who cannot see it.

    Returns:
        An element that loads nothing.
    """
    data = base64.b64encode(jpeg).decode("ascii")
    return f'<img alt="{escaped(told)}" src="data:image/jpeg;base64,{data}">'


def embedded_svg(svg: str, prefix: str, told: str) -> str:
    """Put an SVG image into a page that holds others.

    Args:
        svg: a whole document of `draw_plot`.
        prefix: of its ids; another for each image of the page, for Matplotlib gives all the same.
        told: to who cannot see it.

    Returns:
        An element without prologue.
    """
    start = svg.index("<svg")
    renamed = _TAG.sub(lambda tag: _NAMED.sub(rf"\g<1>{prefix}-", tag[0]), svg[start:])
    return renamed.replace("<svg ", f'<svg role="img" aria-label="{escaped(told)}" ', 1).strip()
