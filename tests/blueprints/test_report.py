"""Reports: self-contained pages in which text stays text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from blueprints.report import Report

MARKUP = st.one_of(
    st.text(),
    st.sampled_from(["<script>alert(1)</script>", "</style><b>", '"><img src=x onerror=y>', "&lt;", "<!--", "]]>"]),
)


class Page(HTMLParser):
    """Tags with their attributes, and all text, of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def build(text: str) -> Report:
    report = Report(text, lead=text or "lead").heading(text).text(text).verdict(text, good=False)
    return report.tiles([(text, text)]).table((text, "n"), [(text, 1)])


@given(MARKUP)
def test_no_text_becomes_markup(text):
    page, plain = Page(build(text).html()), Page(build("plain").html())
    assert page.tags == plain.tags
    # A parser changes nothing but line ends and characters that HTML cannot hold.
    if text.isprintable() and text:
        assert page.texts == [shown.replace("plain", text) for shown in plain.texts]


def test_numbers_stand_right_and_words_left():
    html = Report("t").table(("name", "count", "rate", "mixed"), [("a", 12_345, 0.5, "x"), ("b", 7, None, 2)]).html()
    cells = [(tag, attributes.get("class")) for tag, attributes in Page(html).tags if tag in {"td", "th"}]
    assert cells == [
        ("th", None), ("th", "n"), ("th", "n"), ("th", None),
        ("td", None), ("td", "n"), ("td", "n"), ("td", None),
        ("td", None), ("td", "n"), ("td", "n"), ("td", "n"),
    ]  # fmt: skip
    for shown in ("12,345", "0.5000", "–"):
        assert f">{shown}<" in html


def test_a_value_that_is_not_there_is_a_dash():
    html = Report("t").table(("x",), [(None,), (float("nan"),)]).html()
    assert html.count(">–<") == 2


def test_a_row_of_another_length_is_refused():
    with pytest.raises((ValueError, IndexError)):
        Report("t").table(("a", "b"), [("only one",)])


def test_a_table_without_rows_keeps_its_header():
    assert ">empty</th>" in Report("t").table(("empty",), []).html()


def test_figures_are_svg_with_their_text_as_text_and_equal_each_time():
    def page() -> str:
        figure = Figure()
        figure.subplots().set_title("a <b> & c")
        return Report("t").figure(figure, "seen & said").html()

    html = page()
    assert "a &lt;b&gt; &amp; c" in html
    assert "<figcaption>seen &amp; said</figcaption>" in html
    assert {"svg", "text"} <= {tag for tag, _ in Page(html).tags}
    assert "<?xml" not in html
    assert html == page()


def test_a_page_needs_nothing_else_and_fits_both_light_and_dark():
    figure = Figure()
    figure.subplots().plot([1, 2])
    html = Report("t").figure(figure).html()
    assert html.startswith("<!doctype html>")
    assert "prefers-color-scheme: dark" in html
    assert "<figcaption" not in html
    for tag, attributes in Page(html).tags:
        assert tag not in {"script", "link", "img", "iframe"}
        assert not str(attributes.get("xlink:href") or attributes.get("href") or "#").startswith("http")


@pytest.mark.parametrize(("good", "mark"), [(True, "✓"), (False, "✗")])
def test_a_verdict_is_marked_by_more_than_colour(good, mark):
    assert f"<b>{mark} it holds</b>" in Report("t").verdict("it holds", good=good).html()
