"""Questions that a reader can look at, as HTML: photos, words, ranking and ground truth.

Source: the paper shows none; ours, to see what the numbers are about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from visuallens.evaluation.report.embedding import embedded_jpeg, escaped
from visuallens.evaluation.studies.results import ExamplePage, Shown

FIRST = 10
"""Candidates that are shown at once; the rest unfold. Hit@10 looks as deep."""

_MEANT = {
    "best": "Their first right candidate comes earliest; among equals, of most candidates.",
    "worst": "Their first right candidate comes latest.",
}


def case_sections(pages: Sequence[ExamplePage]) -> Iterator[str]:
    """Write example pages as sections of a page, one for each kind of case.

    Args:
        pages: in the order in which they are shown; all of their text is data.

    Yields:
        HTML; nothing where there are no pages.
    """
    for case in dict.fromkeys(one.case for one in pages):
        yield f'<section id="{case}">\n<h2>The {case} answered questions</h2>'
        yield f'<p class="quiet">{_MEANT[case]} At most one question of each user.</p>'
        for page in pages:
            if page.case == case:
                yield _page(page)
        yield "</section>"


def _page(page: ExamplePage) -> str:
    grid = (
        '<div class="gap">no photo is shown</div>'
        if page.grid is None
        else embedded_jpeg(page.grid, "The numbered photos of the profile")
    )
    return (
        f'<article class="case">\n<h3>{escaped(page.question)}</h3>\n<p>{_facts(page)}</p>\n'
        f'<div class="pair">\n<div>{grid}{_words(page)}{_captions(page)}</div>\n'
        f"<div>{_ranking(page.ranking)}</div>\n</div>\n</article>"
    )


def _facts(page: ExamplePage) -> str:
    right = [one.rank for one in page.ranking if one.relevant]
    ranks = ", ".join(map(str, right))
    reached = (
        f"{len(right)} of {len(page.ranking)} candidates are ground truth, at rank {ranks}: "
        f"reciprocal rank {page.reciprocal_rank:.3f}."
        if right
        else f"None of the {len(page.ranking)} candidates is ground truth."
    )
    category = f'<b class="data">{escaped(page.category)}</b>'
    return f'{reached} Category {category}; <span class="quiet">{escaped(page.example_id)}</span>'


def _words(page: ExamplePage) -> str:
    if not page.aspect_words:
        return '<p class="quiet">No aspect words.</p>'
    words = "".join(f'<li class="data">{escaped(word)}</li>' for word in page.aspect_words)
    return f'<ul class="words" aria-label="Aspect words">{words}</ul>'


def _captions(page: ExamplePage) -> str:
    """List the captions by the numbers of their photos in the grid; photos without one are left."""
    numbered = [(at, said) for at, said in enumerate(page.captions, start=1) if said]
    if not numbered:
        return ""
    lines = "".join(f'<li value="{at}" class="data">{escaped(said)}</li>' for at, said in numbered)
    return f"<details><summary>{len(numbered)} captions</summary><ol>{lines}</ol></details>"


def _ranking(ranking: Sequence[Shown]) -> str:
    first, rest = ranking[:FIRST], ranking[FIRST:]
    shown = f'<ol class="ranking">{"".join(map(_candidate, first))}</ol>'
    if not rest:
        return shown
    right = sum(one.relevant for one in rest)
    among = f", {right} of them ground truth" if right else ""
    more = f"{len(rest)} more{among}"
    listed = "".join(map(_candidate, rest))
    unfolded = f'<ol class="ranking">{listed}</ol>'
    return f"{shown}<details><summary>{more}</summary>{unfolded}</details>"


def _candidate(one: Shown) -> str:
    kind = ' class="relevant"' if one.relevant else ""
    tag = ' <span class="tag">ground truth</span>' if one.relevant else ""
    name = f'<span class="data">{escaped(one.name)}</span>'
    score = f'<span class="score">{one.score:.4g}</span>'
    return f'<li value="{one.rank}"{kind}>{name}{tag} {score}</li>'
