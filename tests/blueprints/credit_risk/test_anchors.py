import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.credit_risk.anchors import Anchor, AnchorSpace, Condition
from blueprints.schema import Column

LIMIT = Column(name="credit_limit", kind="number", title="credit limit", unit="NTD")
STATUS = Column(name="status", kind="integer", title="repayment status in September", unit="months")
USED = Column(name="used", kind="number", title="share of the limit in use", nullable=True)
HOUSING = Column(name="housing", kind="category", title="housing", categories=("own", "rent"), nullable=True)
SPACE = AnchorSpace([LIMIT, STATUS, USED, HOUSING])

number = st.floats(-1e7, 1e7, width=32)
cut = st.floats(-1e6, 1e6)
row = st.tuples(number, st.integers(-2, 9), number | st.just(math.nan), st.sampled_from([0, 1, math.nan]))


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (SPACE.is_between(0, 50_000, None), "credit limit above 50,000 NTD"),
        (SPACE.is_between(0, 20_000, 50_000), "credit limit above 20,000 NTD and at most 50,000 NTD"),
        (SPACE.is_between(1, None, 0), "repayment status in September at most 0 months"),
        (SPACE.is_between(1, 0.4, None), "repayment status in September at least 1 month"),
        (SPACE.is_between(1, 1, 2.5), "repayment status in September is 2 months"),
        (SPACE.is_between(2, None, 0.25), "share of the limit in use not given or at most 0.25"),
        (SPACE.is_between(2, -1e38, 0.25), "share of the limit in use at most 0.25"),
        (SPACE.is_between(2, -1e38, None), "share of the limit in use given"),
        (SPACE.is_between(2, None, -1e38), "share of the limit in use not given"),
        (SPACE.is_category(3, 1), "housing is rent"),
        (SPACE.is_category(3, 2), "housing not given"),
    ],
)
def test_conditions_read_as_plain_words(condition, words):
    assert condition.text == words


@given(row)
def test_points_lead_back_to_the_same_features(values):
    features = np.array([values], dtype=np.float32)
    points = SPACE.encode(features)
    assert not np.isnan(points).any()
    np.testing.assert_array_equal(SPACE.decode(points), features)


@given(row, st.tuples(cut, cut).map(sorted), st.integers(0, 2))
def test_a_condition_holds_exactly_where_its_cuts_say(values, cuts, feature):
    """Against the space's own order, in which missing values come first."""
    features = np.array([values], dtype=np.float32)
    point = SPACE.encode(features)[0, feature]
    for low, high in ((cuts[0], None), (None, cuts[1]), cuts):
        expected = (low is None or point > low) and (high is None or point <= high)
        assert SPACE.is_between(feature, low, high).holds(features[:, feature])[0] == expected


@given(row, cut)
def test_a_cut_below_every_number_only_tells_missing_values_from_given_ones(values, cut):
    features = np.array([values], dtype=np.float32)
    used, gap = features[:, 2], -1e38
    assert SPACE.is_between(2, None, gap).holds(used)[0] == math.isnan(values[2])
    assert SPACE.is_between(2, gap, None).holds(used)[0] == (not math.isnan(values[2]))
    assert SPACE.is_between(2, gap, cut).holds(used)[0] == (values[2] <= cut)


@given(row, st.integers(0, 2))
def test_a_category_condition_holds_for_its_own_label_only(values, code):
    features = np.array([values], dtype=np.float32)
    assert SPACE.is_category(3, code).holds(features[:, 3])[0] == (SPACE.encode(features)[0, 3] == code)


def test_rows_are_covered_where_every_condition_holds():
    features = np.array([[60_000, 0, 0.1, 0], [60_000, 3, 0.1, 0], [10_000, 0, np.nan, 1]], dtype=np.float32)
    conditions = [SPACE.is_between(0, 50_000, None), SPACE.is_between(1, None, 0)]
    assert SPACE.covered(conditions, features).tolist() == [True, False, False]
    assert SPACE.covered([], features).all()


def test_an_anchor_reads_as_one_sentence_and_says_when_it_falls_short():
    conditions = (Condition(LIMIT, above=50_000.0), Condition(STATUS, at_most=0.0), Condition(HOUSING, category="own"))

    def text(conditions, reached):
        return Anchor(False, conditions, 0.9, 0.1, reached=reached, model_calls=1, scored_rows=1).text

    assert text(conditions, True) == (
        "Approved as long as credit limit above 50,000 NTD, repayment status in September at most 0 months "
        "and housing is own."
    )
    assert text(conditions[:1], False) == "Approved; most often so with credit limit above 50,000 NTD."
    assert text((), True) == "Approved, as nearly every application."
    assert text(None, False).startswith("Approved; no simple conditions")
