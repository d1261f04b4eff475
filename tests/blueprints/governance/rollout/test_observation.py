"""Readings of two arms: counters that add, subtract and compare, and histograms with Prometheus' buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blueprints.governance.rollout.observation import Arm, Counters, Histogram, Observation

BOUNDS = (0.01, 0.1, 1.0)
histograms = st.tuples(*[st.integers(0, 1000)] * 4).map(lambda counts: Histogram(bounds=BOUNDS, counts=counts))
counters = st.builds(
    Counters, requests=st.integers(0, 999), errors=st.integers(0, 99), latency=histograms, predictions=histograms
)


def test_prometheus_buckets_in_any_order_become_counts_per_bucket():
    histogram = Histogram.from_cumulative([(float("inf"), 7), (0.1, 5.0), (0.01, 2.0)])
    assert histogram == Histogram(bounds=(0.01, 0.1), counts=(2, 3, 2))
    assert Histogram.from_cumulative([(0.1, 5), (0.01, 2)]).counts == (2, 3, 0)


def test_a_quantile_is_interpolated_and_ends_at_the_last_bound():
    histogram = Histogram(bounds=BOUNDS, counts=(50, 40, 8, 2))
    assert histogram.quantile(0.5) == pytest.approx(0.01)
    assert histogram.quantile(0.7) == pytest.approx(0.01 + 0.09 / 2)
    assert histogram.quantile(0.99) == 1.0
    assert Histogram(bounds=BOUNDS, counts=(0, 0, 0, 0)).quantile(0.5) == 0


def test_above_counts_what_exceeds_a_bound():
    histogram = Histogram(bounds=BOUNDS, counts=(4, 3, 2, 1))
    assert [histogram.above(bound) for bound in BOUNDS] == [6, 3, 1]


@given(histograms)
def test_coarser_buckets_hold_the_same_values(histogram):
    coarse = histogram.coarsened([1.0, 0.01])
    assert coarse.bounds == (0.01, 1.0)
    assert coarse.total == histogram.total
    assert [coarse.above(bound) for bound in coarse.bounds] == [histogram.above(bound) for bound in coarse.bounds]
    with pytest.raises(ValueError, match="no bounds"):
        histogram.coarsened([0.5])


@given(counters, counters)
def test_a_reading_that_grew_continues_the_earlier_one_and_their_difference_is_what_came(earlier, more):
    later = earlier + more
    assert later.continues(earlier)
    assert later - earlier == more
    if more.requests or more.latency.total:
        assert not earlier.continues(later)


@pytest.mark.parametrize(
    "fields",
    [
        {"bounds": (1.0,), "counts": (1,)},
        {"bounds": (2.0, 1.0), "counts": (1, 1, 1)},
        {"bounds": (1.0, 1.0), "counts": (1, 1, 1)},
        {"bounds": (1.0,), "counts": (1, -1)},
    ],
)
def test_what_is_no_histogram_is_refused(fields):
    with pytest.raises(ValidationError):
        Histogram(**fields)


def test_arms_with_other_buckets_are_no_observation():
    with pytest.raises(ValidationError, match="coarsen both"):
        Observation(stable=Arm(counters=Counters(latency=Histogram(bounds=(1.0,), counts=(0, 0)))), candidate=Arm())
