from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.datasets import DatasetError, parse_schema, split
from blueprints.datasets.duplicates import families

STRATIFIED = parse_schema(
    "{target: y, columns: [{name: x, kind: number}, {name: y, kind: integer}]}",
)
TIMED = parse_schema(
    "{target: y, time: t, columns: [{name: t, kind: timestamp}, {name: y, kind: integer}]}",
)
SHARES = st.floats(0.1, 0.4)


def assert_partition(frame, parts):
    assert sorted(np.concatenate([part.index for part in parts])) == list(frame.index)
    assert all(len(part) for part in parts)


@given(st.integers(3, 200), st.integers(3, 200), SHARES, SHARES, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_stratified_split_is_a_partition_that_keeps_the_strata(events, others, test_share, validation_share, seed):
    frame = pd.DataFrame({"x": 0.0, "y": np.repeat([1, 0], [events, others]).astype("int8")})
    frame = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    parts = split(frame, STRATIFIED, test_share=test_share, validation_share=validation_share, seed=seed)
    tables = (parts.train, parts.validation, parts.test)
    assert_partition(frame, tables)
    assert parts.report.method == "stratified"
    for share, table in ((validation_share, parts.validation), (test_share, parts.test)):
        assert abs((table["y"] == 1).sum() - share * events) <= 1.5
        assert abs((table["y"] == 0).sum() - share * others) <= 1.5
    again = split(frame, STRATIFIED, test_share=test_share, validation_share=validation_share, seed=seed)
    assert again.test.equals(parts.test)


@given(st.lists(st.integers(0, 40), min_size=3, max_size=200), SHARES, SHARES)
@settings(max_examples=100, deadline=None)
def test_a_time_aware_split_is_a_partition_in_strict_order_of_time(hours, test_share, validation_share):
    time = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, unit="h")
    frame = pd.DataFrame({"t": time, "y": np.zeros(len(hours), dtype="int8")})
    if len(set(hours)) < 3:
        with pytest.raises(DatasetError, match="distinct timestamps"):
            split(frame, TIMED)
        return
    parts = split(frame, TIMED, test_share=test_share, validation_share=validation_share)
    assert_partition(frame, (parts.train, parts.validation, parts.test))
    assert parts.train["t"].max() < parts.validation["t"].min()
    assert parts.validation["t"].max() < parts.test["t"].min()
    assert parts.report.method == "time-aware"
    assert parts.report.starts["test"] == parts.test["t"].min().isoformat()


def test_with_distinct_timestamps_the_shares_are_exact():
    time = pd.date_range("2024-01-01", periods=100, freq="h", tz="UTC")
    frame = pd.DataFrame({"t": time[::-1], "y": np.zeros(100, dtype="int8")})
    assert split(frame, TIMED).report.rows == {"train": 60, "validation": 20, "test": 20}


def test_another_seed_draws_other_rows():
    frame = pd.DataFrame({"x": 0.0, "y": np.tile([0, 1], 50).astype("int8")})
    assert not split(frame, STRATIFIED, seed=1).test.equals(split(frame, STRATIFIED, seed=2).test)


@pytest.mark.parametrize("shares", [(0.0, 0.2), (0.5, 0.5), (-0.1, 0.2), (float("nan"), 0.2)])
def test_shares_that_leave_nothing_are_refused(shares):
    frame = pd.DataFrame({"x": 0.0, "y": np.tile([0, 1], 50).astype("int8")})
    with pytest.raises(DatasetError, match="shares must be above 0"):
        split(frame, STRATIFIED, test_share=shares[0], validation_share=shares[1])


def test_too_few_events_are_refused():
    frame = pd.DataFrame({"x": 0.0, "y": np.array([1, 1] + [0] * 50, dtype="int8")})
    with pytest.raises(DatasetError, match="2 rows have target 1"):
        split(frame, STRATIFIED)


TEXTS = parse_schema(
    """
    target: label
    group: document
    columns:
      - {name: text, kind: text}
      - {name: label, kind: category, categories: [bad, fine, good]}
      - {name: source, kind: category, categories: [web, mail]}
      - {name: document, kind: text, nullable: true}
      - {name: t, kind: timestamp}
    """
)
TIMED_TEXTS = TEXTS.model_copy(update={"time": "t"})
WORDS = (
    "river",
    "stone",
    "cloud",
    "tiger",
    "lemon",
    "piano",
    "ocean",
    "winter",
    "garden",
    "rocket",
    "silver",
    "mirror",
)


@st.composite
def text_tables(draw):
    """Texts of which some repeat others or differ by a mark, in documents of one to many rows."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(60, 160))
    texts = [" ".join(random.choice(WORDS, 8)) for _ in range(count)]
    for row in random.choice(count, count // 5, replace=False):
        texts[row] = texts[random.integers(count)] + random.choice(["", "!", " now", " 7"])
    documents = random.integers(draw(st.integers(5, count)), size=count)
    return pd.DataFrame(
        {
            "text": texts,
            "label": pd.Categorical(random.choice(["bad", "fine", "good"], count), ["bad", "fine", "good"]),
            "source": pd.Categorical(random.choice(["web", "mail"], count), ["web", "mail"]),
            "document": [None if number == 0 else f"d{number}" for number in documents],
            "t": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(random.integers(0, 50, count), unit="h"),
        }
    )


@given(text_tables(), st.sampled_from([TEXTS, TIMED_TEXTS]), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_no_group_and_no_similar_text_is_on_both_sides(frame, schema, seed):
    try:
        parts = split(frame, schema, seed=seed)
    except DatasetError:
        # A few large documents need not leave every label for every part.
        return
    tables = (parts.train, parts.validation, parts.test)
    rows = np.concatenate([table.index for table in tables])
    assert len(set(rows)) == len(rows)
    family = pd.Series(families(frame["text"].tolist()), frame.index)
    for left, right in combinations(tables, 2):
        assert not set(left["document"].dropna()) & set(right["document"].dropna())
        assert not set(family[left.index]) & set(family[right.index])
    if schema.time is None:
        assert len(rows) == len(frame) - parts.report.duplicates.dropped
    else:
        assert parts.train["t"].max() < parts.validation["t"].min()
        assert parts.validation["t"].max() < parts.test["t"].min()


def distinct_frame(count):
    random = np.random.default_rng(3)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    return pd.DataFrame(
        {
            "text": ["".join(random.choice(letters, 30)) for _ in range(count)],
            "label": pd.Categorical(np.resize(["bad", "fine", "good", "good"], count), ["bad", "fine", "good"]),
            "source": pd.Categorical(np.resize(["web", "web", "web", "mail", "mail"], count), ["web", "mail"]),
            "document": None,
            "t": pd.Timestamp("2024-01-01", tz="UTC"),
        }
    )


def test_single_texts_are_stratified_by_label_and_source():
    frame = distinct_frame(1000)
    parts = split(frame, TEXTS, test_share=0.3, validation_share=0.1)
    assert parts.report.method == "grouped"
    for share, table in ((0.3, parts.test), (0.1, parts.validation)):
        whole = frame.groupby(["label", "source"], observed=True).size()
        assert ((table.groupby(["label", "source"], observed=True).size() - share * whole).abs() <= 1).all()
    assert parts.report.label_shares["test"]["good"] == pytest.approx(0.5, abs=0.01)


def test_neither_the_order_of_rows_nor_a_few_more_move_texts_to_other_parts():
    frame = distinct_frame(1000)
    test = set(split(frame, TEXTS).test["text"])
    assert set(split(frame.sample(frac=1, random_state=1), TEXTS).test["text"]) == test
    assert len(set(split(frame.iloc[:980], TEXTS).test["text"]) - test) <= 10
    assert len(set(split(frame, TEXTS, seed=8).test["text"]) & test) < 100


def test_a_part_without_a_label_is_refused():
    frame = distinct_frame(40)
    frame["label"] = pd.Categorical(["bad"] * 39 + ["good"], ["bad", "fine", "good"])
    with pytest.raises(DatasetError, match="no row of train has label 'fine'; each part needs one"):
        split(frame, TEXTS)


def test_texts_that_all_contradict_each_other_are_refused():
    schema = TEXTS.model_copy(update={"group": None})
    labels = pd.Categorical(["bad", "good"] * 4, ["bad", "fine", "good"])
    frame = pd.DataFrame({"text": np.repeat(WORDS[:4], 2), "label": labels})
    with pytest.raises(DatasetError, match=r"all of the 8 rows contradict each other.*correct the labels"):
        split(frame, schema)
    with pytest.raises(DatasetError, match="the table has no rows"):
        split(frame.iloc[:0], schema)
