from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest
from tests.evaluation.report.made import ATTACK, MISSING, RANK, SCORE, jpeg, report

from visuallens.evaluation.report.anchors import commands_of
from visuallens.evaluation.report.html import report_html
from visuallens.evaluation.report.write import draw_plots
from visuallens.evaluation.studies.results import Row, Value


class Read(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, own, value in self.attributes if own == name]


@pytest.fixture(scope="module")
def page() -> str:
    found = report()
    return report_html(found, draw_plots(found.plots))


@pytest.fixture(scope="module")
def read(page: str) -> Read:
    return Read(page)


def test_the_page_is_well_formed_and_every_place_comes_once(read: Read) -> None:
    assert read.open == []
    ids = read.values("id")
    assert len(set(ids)) == len(ids)


def test_every_link_stays_in_the_page_and_leads_somewhere(read: Read) -> None:
    targets = read.values("href") + read.values("xlink:href")
    assert targets
    assert {target[0] for target in targets} == {"#"}
    assert {target[1:] for target in targets} <= set(read.values("id"))


def test_nothing_is_loaded_and_nothing_runs(page: str, read: Read) -> None:
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(read.tags)
    assert not any(name.startswith("on") for _, name, _ in read.attributes)
    assert all(source.startswith("data:image/jpeg;base64,") for source in read.values("src"))
    used = re.findall(r"url\(([^)]*)\)", page)
    assert all(target.startswith("#") for target in used)
    assert "@import" not in page
    policy = next(value for value in read.values("content") if "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src" not in policy


def test_what_comes_from_outside_is_text(read: Read) -> None:
    assert read.tags.count("img") == 1
    # Title, facts, table, plot, example and candidates.
    assert read.text.count(ATTACK) >= 12
    assert "evil.example" not in "".join(
        value for tag, name, value in read.attributes if name != "aria-label"
    )


def test_each_number_leads_to_its_commands(page: str) -> None:
    for number, anchor in (
        ("21.2", "how-table2-1"),
        ("-4.1", "how-table2-2"),
        ("54.1", "how-table2-3"),
        ("missing: it failed", "how-table2-5"),
        ("How it is made", "how-figure3a"),
    ):
        assert f'<a href="#{anchor}">{number}</a>' in page
    both = page[page.index('<span id="how-table2-3"></span><span id="how-table2-5"></span>') :]
    assert f"<pre>{RANK}\n{SCORE}</pre>" in both[: both.index("</div>")]
    assert "how-table2-4" not in page


def test_numbers_that_the_paper_prints_lead_to_no_command() -> None:
    values = {"mrr": Value(0.3)}
    assert commands_of(Row("GR-V, the paper", values=values, about="paper"), report()) == ()
    assert commands_of(Row("train", values=values), report()) == (report().command,)


def test_intervals_tests_and_the_paper_stand_beside_ours(page: str) -> None:
    rows = re.findall(r"<tr class.*?</tr>", page, re.DOTALL)
    assert "<small>[48.2, 52.1]</small>" in rows[1]
    assert "<small>[-6.0, -2.2]</small><small>p = 0.012</small>" in rows[1]
    assert rows[2].startswith('<tr class="method">')
    assert '<td class="paper">44.3</td>' in rows[2]
    assert 'colspan="3">missing: nobody was asked</td><td class="paper">66.0</td>' in rows[3]
    assert '<th class="group paper" scope="colgroup" colspan="1">the paper</th>' in page


def test_the_note_stands_on_top(read: Read, page: str) -> None:
    assert read.text.index("Posters stand in for photos.") < read.text.index("1,234")
    assert page.index('role="note"') < page.index("<table>")


def test_plots_are_inside_or_say_why_they_are_not(page: str, read: Read) -> None:
    assert read.tags.count("svg") == 2
    assert "<?xml" not in page
    assert f"Missing: {MISSING.missing}" in read.text


def test_examples_show_the_grid_the_words_and_the_ranking(page: str, read: Read) -> None:
    assert base64.b64encode(jpeg()).decode() in page
    assert "no photo is shown" in read.text
    best, worst = re.findall(r"<article.*?</article>", page, re.DOTALL)
    assert '<li value="1" class="relevant">' in best
    assert "1 of 12 candidates are ground truth, at rank 1: reciprocal rank 1.000." in best
    assert '<li value="12" class="relevant">' in worst
    assert "2 more, 1 of them ground truth" in worst
    assert "2 more</summary>" in best
    assert best.count("<li value=") == 12 + 2
    # The second photo has no caption; the third keeps its number.
    assert '<li value="3" class="data">&lt;/script&gt;' in best
    assert page.index("The best answered questions") < page.index("The worst answered questions")
