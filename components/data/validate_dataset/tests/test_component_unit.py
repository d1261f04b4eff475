from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from blueprints.datasets import DatasetError, FileDataset, parse_schema, write_snapshot
from components.data.validate_dataset.component import validate_dataset

SCHEMA = """
target: y
columns:
  - {name: x, kind: number, title: "<script>alert(1)</script>", nullable: true}
  - {name: c, kind: category, categories: ["<u>", plain]}
  - {name: y, kind: integer}
"""


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes.update(name for name, _ in attrs)


@pytest.fixture
def artifacts(tmp_path):
    (tmp_path / "own.csv").write_text("x,c,y\n1,<u>,0\n,plain,1\n3,plain,0\n3,plain,0\n")
    dataset = FileDataset(str(tmp_path / "own.csv"), parse_schema(SCHEMA), name="mine", licence="<i>")
    write_snapshot(dataset, tmp_path / "snapshot")
    logged = {}
    metrics = SimpleNamespace(logged=logged, log_metric=logged.__setitem__)
    return (
        SimpleNamespace(path=str(tmp_path / "snapshot")),
        metrics,
        SimpleNamespace(path=str(tmp_path / "report.html")),
    )


def test_metrics_describe_the_table(artifacts):
    validate_dataset.python_func(*artifacts)
    assert artifacts[1].logged == {
        "rows": 4,
        "columns": 3,
        "event_rate": 0.25,
        "missing_share": pytest.approx(1 / 12),
        "duplicate_share": 0.25,
    }


def test_the_report_shows_every_column_and_lets_no_markup_of_the_data_through(artifacts, tmp_path):
    validate_dataset.python_func(*artifacts)
    page = (tmp_path / "report.html").read_text()
    for text in ("25.00%", "1 … 3 … 3", "&lt;u&gt; 25.0%", "plain 75.0%", "&lt;script&gt;"):
        assert text in page
    tags = Tags(page)
    assert not tags.seen & {"script", "u", "i", "link", "img", "iframe"}
    assert not tags.attributes & {"src", "href", "onclick"}


def test_a_changed_snapshot_is_refused(artifacts, tmp_path):
    with (tmp_path / "snapshot" / "data.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DatasetError, match="changed since it was written"):
        validate_dataset.python_func(*artifacts)
    assert not (tmp_path / "report.html").exists()


TEXTS = """
target: topic
columns:
  - {name: text, kind: text, minimum_length: 3, maximum_length: 60}
  - {name: topic, kind: category, categories: [billing, "<u>"]}
"""


def test_texts_are_shown_with_their_labels_and_duplicates_and_escaped(tmp_path):
    rows = "<script>alert(1)</script>,billing\nwhere is it,<u>\nWhere  is it,<u>\nan invoice of $5 and $6,billing\n"
    (tmp_path / "own.csv").write_text("text,topic\n" + rows)
    dataset = FileDataset(str(tmp_path / "own.csv"), parse_schema(TEXTS), name="tickets")
    write_snapshot(dataset, tmp_path / "snapshot")
    logged = {}
    metrics = SimpleNamespace(log_metric=logged.__setitem__)
    report = tmp_path / "report.html"
    validate_dataset.python_func(
        SimpleNamespace(path=str(tmp_path / "snapshot")), metrics, SimpleNamespace(path=str(report))
    )
    assert logged["share_billing"] == 0.5
    assert logged["dropped_by_split"] == 0.25
    assert "event_rate" not in logged
    page = report.read_text()
    for text in ("2 (50.0%)", "&lt;script&gt;alert(1)", "A split drops 1 of 4 rows", "$5 and $6", "a text of 3 to 60"):
        assert text in page
    assert not Tags(page).seen & {"script", "u"}
