from __future__ import annotations

import re
from dataclasses import replace

from tests.evaluation.report.made import ATTACK, SMALL, report

from visuallens.evaluation.report.markdown import _code, report_markdown

WHOLE = """\
# Results on toy, beside those of the paper

> Posters stand in for photos.
>
> Not Yelp-V.

Metrics are in percent; [low, high] is the 95% interval, and a number without one is exact or a \
count. p is of a difference being none, corrected over the table (Holm).

- questions: 1,234
- machine: 2 cores
- the runs took: 2 h 13 min

The command that makes all of it:

```
visuallens reproduce toy --out report
```

## Hit rates and MRR of every system

In MRR, VisualLens is above popularity.

Source: Table 2.

|                row |                      | modality |               mrr \
|                     less mrr | questions | paper: yelp-v mrr |
| -----------------: | -------------------- | -------- | ----------------: \
| ---------------------------: | --------: | ----------------: |
| [1](#how-table2-1) | random, exact        | none     |              21.2 \
|                              |           |              30.0 |
| [2](#how-table2-2) | popularity           |          | 50.0 [48.2, 52.1] \
| -4.1 [-6.0, -2.2], p = 0.012 |     1,234 |                   |
| [3](#how-table2-3) | **VisualLens**       | T + I    | 54.1 [50.2, 57.7] \
|                              |     1,234 |              44.3 |
|                  4 | people               |          |                 - \
|                            - |         - |              66.0 |
| [5](#how-table2-5) | VisualLens, no photo |          |                 - \
|                            - |         - |                   |

- 2, popularity: of the train split
- 4, people, missing: nobody was asked
- 5, VisualLens, no photo, missing: it failed

<a id="how-table2-1"></a>Row 1:

```
visuallens reproduce toy --out report
```

<a id="how-table2-2"></a>Row 2:

```
visuallens evaluate toy runs/visuallens.run
```

<a id="how-table2-3"></a><a id="how-table2-5"></a>Rows 3 and 5:

```
visuallens rank toy --ranker visuallens --out runs/visuallens.run
visuallens evaluate toy runs/visuallens.run
```
"""


def test_a_small_report_is_exactly_this() -> None:
    small = replace(report(SMALL, plots=()), facts={"questions": "1,234"}, examples=())
    assert report_markdown(small) == WHOLE


def test_every_link_leads_to_a_place_and_every_place_comes_once() -> None:
    text = report_markdown(report())
    places = re.findall(r'<a id="([^"]+)"></a>', text)
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert links
    assert set(links) <= set(places)
    assert len(set(places)) == len(places)


def test_plots_are_links_into_the_folder_that_is_named() -> None:
    text = report_markdown(report(), "images/results")
    assert "![MRR by candidates](images/results/figure3a.svg)" in text
    assert "figure9.svg" not in text
    assert "Missing: no run was made" in text


def test_no_photo_and_nothing_of_a_question_is_in_the_text() -> None:
    found = report()
    text = report_markdown(found)
    assert "data:" not in text
    assert "2 questions with their photos are on the HTML page" in text
    for page in found.examples:
        assert page.example_id not in text
        assert page.question not in text
        assert not any(one.name in text for one in page.ranking)


def test_text_is_never_markup() -> None:
    text = report_markdown(report())
    outside = re.sub(r'<a id="[^"]*"></a>', "", text)
    assert not re.search(r"(?<!\\)<", outside)
    assert "http://" not in outside
    assert ATTACK not in outside
    # Cells end at bars that are not escaped: every line of a table has as many as the others.
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_text_at_the_start_of_a_line_makes_no_heading_and_no_list() -> None:
    for said, written in (("# no", r"\# no"), ("- no", r"\- no"), ("1. no", r"1\. no")):
        told = replace(SMALL, text=said)
        assert f"\n{written}\n" in report_markdown(report(told))


def test_a_command_cannot_end_its_fence() -> None:
    assert _code(("echo '```'\nrm",)) == "````\necho '```' rm\n````"
