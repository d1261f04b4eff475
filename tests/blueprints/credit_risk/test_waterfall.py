"""The waterfall plot: well-formed, safe and true to the numbers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from blueprints.credit_risk.waterfall import Step, waterfall

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own drawing


def bars(svg: str) -> list[ET.Element]:
    return [rect for rect in parse(svg).iter(f"{SVG}rect") if rect.get("rx") == "2.5"]


@given(
    st.lists(st.tuples(st.text(max_size=80), st.floats(-50, 50)), min_size=1, max_size=40),
    st.floats(-20, 20),
    st.text(),
)
def test_any_text_and_any_contributions_give_a_well_formed_drawing_within_its_frame(steps, base_value, title):
    svg = waterfall([Step(*step) for step in steps], base_value, title=title, subtitle=title)
    root = parse(svg)
    width = float(root.get("width", 0))
    assert len(bars(svg)) == min(len(steps), 10)
    for rect in bars(svg):
        assert 0 <= float(rect.get("x", -1)) <= width
        assert float(rect.get("x", 0)) + float(rect.get("width", 0)) <= width
    drawn = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert drawn <= {"svg", "title", "rect", "text", "line", "circle"}


def test_text_from_outside_stays_text():
    svg = waterfall([Step("<script>alert(1)</script>", 1.0)], 0.0, title='"&<b>')
    assert "<script" not in svg
    assert parse(svg).find(f"{SVG}title").text.startswith('"&<b>')


def test_bars_are_ordered_by_strength_and_the_weakest_are_summed():
    steps = [Step(f"feature {index}", (-1) ** index * index / 10) for index in range(1, 15)]
    svg = waterfall(steps, -1.0, title="t")
    labels = re.findall(r">(feature \d+|\d+ other features)<", svg)
    assert labels == [f"feature {index}" for index in range(14, 5, -1)] + ["5 other features"]
    total = -1.0 + sum(step.contribution for step in steps)
    assert f">{total:.2f}<".replace("-", "−") in svg


def test_lengths_are_proportional_to_contributions():
    long, short = bars(waterfall([Step("a", 2.0), Step("b", -0.5)], 0.0, title="t"))
    assert abs(float(long.get("width")) / float(short.get("width")) - 4) < 0.02
    assert long.get("fill") != short.get("fill")
