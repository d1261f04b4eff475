"""The page of explanations: true to the text, safe, and readable for everybody."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.sentiment.explanation import Explanation, Span
from blueprints.sentiment.highlight import page, shades


class Reader(HTMLParser):
    """What a browser makes of a page: tags, and the characters of the text itself."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.marks, self.text, self._inside = [], [], "", False
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self._inside = self._inside or attributes.get("class") == "text"
        if tag == "mark" and self._inside:
            self.marks.append(attributes)

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "p"

    def handle_data(self, data):
        self.text += data if self._inside else ""


def explained(text, spans, label="positive"):
    found = tuple(Span(start, end, text[start:end], score) for start, end, score in spans)
    return Explanation(text, label, (0.2, 0.8), 1.4, found)


@given(text=st.text(alphabet="a<>&\"' \n/é电😀\u202e", min_size=3, max_size=40), score=st.floats(-9, 9))
def test_every_text_is_shown_as_it_is_whatever_it_holds(text, score):
    reader = Reader(page([explained(text, [(0, 1, score), (2, 3, -1.0)])], title=text, note=text))
    assert reader.text == text
    assert not {"script", "a", "img", "link", "iframe", "b"} & set(reader.tags)


def test_shades_follow_the_scores_and_nothing_hangs_on_colour_alone():
    reader = Reader(
        page([explained("good film, bad", [(0, 4, 4.0), (5, 9, 0.1), (9, 10, 1.7), (11, 14, -2.0)])], title="t")
    )
    assert reader.marks == [
        {"class": "for f5", "title": "+4.00"},
        {"class": "for f2", "title": "+1.70"},
        {"class": "against a2", "title": "−2.00"},
    ]
    content = page([explained("good film, bad", [(0, 4, 4.0), (11, 14, -2.0)])], title="t")
    assert ".against { text-decoration: underline" in content
    assert '<th scope="row"><bdi>bad</bdi></th><td>−2.00</td>' in content


@pytest.mark.parametrize("spans", [[], [(0, 3, 0.0)]])
def test_texts_without_scores_have_no_marks(spans):
    assert Reader(page([explained("abc", spans)], title="t")).marks == []


@pytest.mark.parametrize(("scheme", "ink"), [("light", "#14191f"), ("dark", "#f1f4f7")])
def test_words_on_every_shade_have_a_contrast_of_seven_to_one(scheme, ink):
    content = page([], title="t")
    assert f"--ink: {ink}" in content
    for kind, colour in shades(scheme).items():
        assert f".{kind} {{ background: {colour}; }}" in content
        lower, upper = sorted((_luminance(colour), _luminance(ink)))
        assert (upper + 0.05) / (lower + 0.05) >= 7, kind


def _luminance(colour):
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
