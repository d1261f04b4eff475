import pandas as pd

from blueprints.datasets import parse_schema
from blueprints.datasets.text_profile import describe_texts, profile_texts
from blueprints.report import Report

SCHEMA = parse_schema(
    "{target: label, columns: [{name: text, kind: text}, {name: label, kind: category, categories: [bad, good]}]}"
)


def page(texts, labels):
    frame = pd.DataFrame({"text": texts, "label": pd.Categorical(labels, ["bad", "good"])})
    report = Report("texts", "")
    describe_texts(report, profile_texts(frame, SCHEMA))
    return report.html()


def test_a_table_of_which_a_split_leaves_nothing_says_so():
    assert "Nothing is left to split" in page(["same", "Same"], ["bad", "good"])
    assert "Nothing is left to split" not in page(["same", "Same", "other"], ["bad", "good", "good"])
