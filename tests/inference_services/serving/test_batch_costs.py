import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inference_services.serving.batch_costs import BatchCosts, measure_costs


@st.composite
def tables(draw):
    rows = (1, *sorted(draw(st.sets(st.integers(2, 64), max_size=4))))
    sizes = tuple(sorted(draw(st.sets(st.integers(1, 512), min_size=1, max_size=5))))
    fixed, each = draw(st.floats(1e-5, 1e-2)), draw(st.floats(1e-7, 1e-4))
    table = tuple(tuple(fixed + each * count * size for size in sizes) for count in rows)
    return BatchCosts(rows=rows, sizes=sizes, table=table), fixed, each


@given(tables(), st.integers(1, 100), st.integers(1, 600))
def test_a_linear_cost_is_interpolated_exactly_inside_the_table(made, rows, size):
    costs, fixed, each = made
    seconds = costs.seconds(rows, size)
    assert seconds > 0
    if rows <= costs.rows[-1] and costs.sizes[0] <= size <= costs.sizes[-1]:
        assert seconds == pytest.approx(fixed + each * rows * size)


@given(tables(), st.integers(1, 64), st.integers(1, 512), st.integers(1, 512))
def test_a_unit_joins_only_where_the_batch_stays_cheaper_than_two_calls(made, rows, largest, size):
    costs, _, _ = made
    if costs.gain(rows, largest, size) > 0:
        apart = costs.seconds(rows, largest) + costs.seconds(1, size)
        assert costs.seconds(rows + 1, max(largest, size)) < apart


@given(tables(), st.integers(1, 2000))
def test_amortized_time_is_no_more_than_alone(made, size):
    costs, _, _ = made
    whole, rest = divmod(size, costs.sizes[-1])
    alone = whole * costs.seconds(1, costs.sizes[-1]) + (costs.seconds(1, rest) if rest else 0)
    assert 0 < costs.amortized(size) <= alone + 1e-9


@settings(deadline=None, max_examples=5)
@given(st.sampled_from([0.0, 0.002]))
def test_batches_are_measured_as_cheaper_exactly_where_a_call_has_a_fixed_part(fixed):
    def run(rows, size):
        until = time.perf_counter() + fixed + 0.00002 * rows * size
        while time.perf_counter() < until:
            pass

    costs = measure_costs(run, [8, 32], max_rows=8, seconds=0.3)
    assert costs.seconds(2, 32) >= costs.seconds(1, 32) >= costs.seconds(1, 8)
    if fixed:
        assert costs.gain(1, 8, 8) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": (2, 4)},
        {"sizes": (8, 8)},
        {"table": ((1.0, 2.0),)},
        {"table": ((1.0, 2.0), (0.0, 1.0))},
    ],
)
def test_a_table_that_is_none_is_refused(wrong):
    good = {"rows": (1, 2), "sizes": (8, 16), "table": ((1.0, 2.0), (2.0, 3.0))}
    BatchCosts(**good)
    with pytest.raises(ValidationError):
        BatchCosts(**{**good, **wrong})
