from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.schema import Column
from blueprints.segmentation.profiles import ProfileBuilder, profile, show, show_share


@st.composite
def customers(draw):
    rows = draw(st.integers(1, 60))
    segments = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Few different values, so that there are ties.
    values = rng.integers(-3, 4, (rows, 2)) * draw(st.sampled_from([0.5, 1.0, 1e6]))
    values[rng.random((rows, 2)) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = np.nan
    return values, rng.integers(0, segments, rows), segments


def close(got, expected):
    return got is None if np.isnan(expected) else got == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=150)
@given(customers())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_figures_are_those_of_the_rows(made):
    values, labels, segments = made
    found = profile(values, labels, ("a", "b"), segments)
    assert found.rows == len(values)
    assert sum(one.size for one in found.segments) == len(values)
    assert sum(one.share for one in found.segments) == pytest.approx(1)
    for place, name in enumerate(("a", "b")):
        column = values[:, place]
        everyone = found.overall[name]
        assert close(everyone.median, np.nanmedian(column))
        assert close(everyone.deviation, np.nanstd(column))
        for label, one in enumerate(found.segments):
            mine, others = column[labels == label], column[labels != label]
            got = one.features[name]
            assert close(got.median, np.nanmedian(mine) if len(mine) else np.nan)
            assert close(got.mean, np.nanmean(mine) if len(mine) else np.nan)
            assert got.missing == pytest.approx(np.isnan(mine).mean() if len(mine) else 0)
            mine, others = mine[~np.isnan(mine)], others[~np.isnan(others)]
            delta = np.sign(mine[:, None] - others).mean() if len(mine) and len(others) else np.nan
            assert close(got.dominance, delta)
            if got.difference is not None:
                assert got.difference * everyone.deviation + everyone.mean == pytest.approx(mine.mean(), abs=1e-6)
            if got.ratio is not None:
                assert got.ratio * everyone.median == pytest.approx(got.median)


@settings(deadline=None, max_examples=60)
@given(customers(), st.integers(1, 20), st.integers(0, 100))
def test_batches_and_the_order_of_rows_change_nothing(made, rows, seed):
    values, labels, segments = made
    shuffled = np.random.default_rng(seed).permutation(len(values))
    whole = profile(values, labels, ("a", "b"), segments)
    builder = ProfileBuilder(("a", "b"), segments)
    for start in range(0, len(values), rows):
        part = shuffled[start : start + rows]
        builder.add(values[part], labels[part])
    assert_alike(builder.profiles().model_dump(), whole.model_dump())


def assert_alike(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_alike(value, other[key])
    elif isinstance(one, tuple):
        for left, right in zip(one, other, strict=True):
            assert_alike(left, right)
    elif one is None or other is None:
        assert one is other
    else:
        assert one == pytest.approx(other, rel=1e-9, abs=1e-6)


def test_memory_stays_bounded_and_medians_near_with_a_sample():
    rng = np.random.default_rng(0)
    builder = ProfileBuilder(("x",), 2, sample=2_000)
    parts = []
    for _ in range(20):
        labels = (rng.random(10_000) < 0.01).astype(np.int32)
        values = np.exp(rng.normal(labels * 2.0, 1.0))[:, None].astype(np.float32)
        builder.add(values, labels)
        parts.append((values[:, 0], labels))
    assert max(len(keys) for keys, _ in builder._kept) == 2_000
    values, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = builder.profiles()
    assert found.segments[0].size == (labels == 0).sum()
    # The share of rows below an estimated median has a standard error of 1.1 % with 2,000 rows.
    for label in (0, 1):
        below = (values[labels == label] < found.segments[label].features["x"].median).mean()
        assert below == pytest.approx(0.5, abs=0.045)
    assert (values < found.overall["x"].median).mean() == pytest.approx(0.5, abs=0.045)
    assert found.segments[1].features["x"].mean == pytest.approx(values[labels == 1].mean(), rel=1e-4)


def test_a_segment_without_customers_has_no_figures():
    found = profile(np.array([[1.0], [2.0]]), np.array([0, 0]), ("x",), 2)
    empty = found.segments[1]
    assert empty.size == 0
    assert empty.features["x"].median is None
    assert empty.features["x"].dominance is None
    assert found.dominance().tolist() == [[0.0], [0.0]]
    assert np.isnan(found.medians()[1, 0])


def test_a_ratio_needs_a_median_to_be_set_against():
    found = profile(np.array([[0.0], [0.0], [5.0]]), np.array([0, 0, 1]), ("x",))
    assert found.segments[1].features["x"].ratio is None
    assert found.segments[1].features["x"].dominance == 1


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        (np.zeros((2, 3)), np.array([0, 1]), "expected \\(2, 2\\)"),
        (np.zeros((2, 2)), np.array([0, 2]), "labels must be 0 to 1"),
        (np.zeros((2, 2)), np.array([-1, 0]), "labels must be 0 to 1"),
        (np.zeros((0, 2)), np.zeros(0, int), "no customers"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, labels, words):
    with pytest.raises(ValueError, match=words):
        profile(rows, labels, ("a", "b"), 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.56, "1,235"), (-56.78, "-56.8"), (4.0, "4"), (0.5, "0.5"), (0.01234, "0.012"), (100.0, "100"), (0.0, "0"),
     (None, "–")],
)  # fmt: skip
def test_figures_are_short(value, text):
    assert show(value) == text


def test_a_unit_is_said_once():
    assert show(3.0, Column(name="a", kind="number", title="days since then", unit="days")) == "3"
    assert show(3.0, Column(name="a", kind="number", title="pause", unit="days")) == "3 days"


@pytest.mark.parametrize(
    ("share", "text"), [(0.5, "50%"), (0.012, "1%"), (0.004, "0.4%"), (0.0004, "<0.1%"), (0.0, "0%")]
)
def test_a_small_share_is_not_shown_as_none(share, text):
    assert show_share(share) == text
