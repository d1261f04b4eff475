from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.datasets import DatasetError
from blueprints.datasets.csv_file import read_csv


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_encodings_give_the_same_table(encoding):
    frame = read_csv("name,salary\nÅsa,60K+ €\n".encode(encoding), origin="x.csv")
    assert frame.to_dict("list") == {"name": ["Åsa"], "salary": ["60K+ €"]}


def test_another_encoding_is_refused_with_its_line():
    with pytest.raises(DatasetError, match=r"x\.csv: line 2 is not UTF-8"):
        read_csv("name\nÅsa\n".encode("latin-1"), origin="x.csv")


@pytest.mark.parametrize("row", ["1,2,3", "1"])
def test_a_row_with_too_many_or_too_few_fields_is_refused_with_its_line(row):
    with pytest.raises(DatasetError, match=r"x\.csv: .*line 3 .* fields, the header 2"):
        read_csv(f"a,b\n1,2\n{row}\n".encode(), origin="x.csv")


def test_a_repeated_column_is_refused():
    with pytest.raises(DatasetError, match="'a' occurs more than once"):
        read_csv(b"a,b,a\n1,2,3\n", origin="x.csv")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(content):
    with pytest.raises(DatasetError, match="first line must name the columns"):
        read_csv(content, origin="x.csv")


def test_another_delimiter_is_noticed_and_can_be_given():
    with pytest.raises(DatasetError, match="delimiter seems to be ';'"):
        read_csv(b"a;b\n1;2\n", origin="x.csv")
    assert read_csv(b"a;b\n1;2\n", origin="x.csv", delimiter=";").to_dict("list") == {"a": ["1"], "b": ["2"]}


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=10))
@settings(deadline=None)
def test_what_the_standard_library_writes_is_read_back(rows):
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    frame = read_csv(text.getvalue().encode(), origin="x.csv")
    assert list(frame.itertuples(index=False, name=None)) == rows
