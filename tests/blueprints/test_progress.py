"""Progress: what is printed is read back."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.progress import parse_progress, report_progress

WORDS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" ")).map(str.strip).filter(bool)


@given(st.integers(0, 10**9), st.integers(0, 10**9), WORDS, st.sampled_from(["", "[task:train] ", "12:00 INFO "]))
def test_what_is_reported_is_parsed_wherever_the_line_starts(done, total, words, before):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        report_progress(done, total, words)
    line = output.getvalue()
    assert line.endswith("\n")
    assert parse_progress(before + line) == (done, total, words)


@pytest.mark.parametrize("line", ["", "training", "progress: 1 of 2 x", "progress: 1/x y", "progress 1/2 words"])
def test_other_lines_are_none(line):
    assert parse_progress(line) is None
