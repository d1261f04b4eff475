from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.segmentation.migration import Migration, Move, count_moves, read_migration, read_names
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse

MAY, JUNE = date(1998, 5, 1), date(1998, 6, 1)


@st.composite
def runs(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.integers(0, 80))
    return rng.integers(0, 4, rows), rng.integers(0, 5, rows), rng.random(rows) < 0.6


@given(runs())
def test_every_customer_is_counted_once(made):
    before, after, unchanged = made
    found = count_moves(before, after, unchanged=unchanged)
    assert found.customers == len(before)
    assert found.joined == (before == 0).sum()
    assert found.left == (after == 0).sum()
    both = (before > 0) & (after > 0)
    for share, chosen in ((found.stayed, both), (found.stayed_unchanged, both & unchanged)):
        expected = (before == after)[chosen].mean() if chosen.any() else None
        assert share == expected
    ids = [one or None for one in range(5)]
    table = found.table(ids, ids)
    assert table.sum() == len(before)
    assert table[2, 3] == ((before == 2) & (after == 3)).sum()
    assert set(found.ids(later=False)) == set(before[before > 0].tolist())
    assert set(found.ids(later=True)) == set(after[after > 0].tolist())


@given(runs(), st.integers(0, 100))
def test_the_order_of_the_customers_changes_nothing(made, seed):
    before, after, unchanged = made
    order = np.random.default_rng(seed).permutation(len(before))
    assert count_moves(before[order], after[order], unchanged=unchanged[order]) == count_moves(
        before, after, unchanged=unchanged
    )


def test_without_knowing_who_bought_nobody_counts_as_unchanged():
    found = count_moves(np.array([1, 1, 2]), np.array([1, 2, 2]))
    assert found.stayed == pytest.approx(2 / 3)
    assert found.stayed_unchanged is None
    assert Migration(moves=()).stayed is None


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="got 1, 2 and 1"):
        count_moves(np.array([1]), np.array([1, 2]))
    with pytest.raises(ValueError, match="start at 1"):
        count_moves(np.array([-1]), np.array([1]))


def published(customers, segments):
    table = {"customer_id": pa.array(customers, pa.int64()), "segment_id": pa.array(segments, pa.int32())}
    return [pa.record_batch(table)]


@pytest.fixture(params=["duckdb", "postgresql"])
def warehouse(request, new_url):
    times = ["1998-04-30T23:59:59", "1998-05-01T00:00:00", "1998-05-31T23:59:59", "1998-06-01T00:00:00"]
    # The last one is a refund, which changes no feature.
    times.append("1998-05-15T12:00:00")
    bought = pa.record_batch(
        {
            "customer_id": pa.array([1, 2, 3, 4, 1], pa.int64()),
            "purchased_at": pa.array(np.array(times, "datetime64[us]")),
            "quantity": pa.array([1] * 5, pa.int32()),
            "amount": pa.array([1.0] * 4 + [-1.0]),
        }
    )
    with open_warehouse(new_url(request.param)) as opened:
        opened.load("transactions", [bought])
        opened.publish("customer_segments", MAY, published([1, 2, 3, 4, 5], [1, 1, 2, 2, 2]))
        opened.publish("customer_segments", JUNE, published([6, 4, 3, 2, 1], [3, 2, 2, 2, 1]))
        yield opened


def test_the_warehouse_counts_the_same(warehouse):
    found = read_migration(warehouse, MAY, JUNE, transactions="transactions")
    # 2 and 3 bought in May; 1 before, 4 on the first of June.
    assert found == Migration(
        moves=(
            Move(before=1, after=1, customers=1, unchanged=1),
            Move(before=1, after=2, customers=1, unchanged=0),
            Move(before=2, after=2, customers=2, unchanged=1),
            Move(before=2, after=None, customers=1, unchanged=1),
            Move(before=None, after=3, customers=1, unchanged=1),
        ),
        before=MAY,
        after=JUNE,
    )
    without = read_migration(warehouse, MAY, JUNE)
    assert [move.customers for move in without.moves] == [move.customers for move in found.moves]
    assert not any(move.unchanged for move in without.moves)


def test_the_names_of_a_run_are_read_back(warehouse):
    rows = {"customer_id": pa.array([1, 2, 3], pa.int64()), "segment_id": [4, 1, 4], "segment_name": ["a", "b", "a"]}
    warehouse.publish("named_segments", MAY, [pa.record_batch(rows)])
    assert read_names(warehouse, MAY, table="named_segments") == {4: "a", 1: "b"}
    with pytest.raises(WarehouseError, match="19980601"):
        read_names(warehouse, JUNE, table="named_segments")


def test_a_run_that_was_never_published_is_an_error(warehouse):
    with pytest.raises(WarehouseError, match="19980701"):
        read_migration(warehouse, MAY, date(1998, 7, 1))
    with pytest.raises(WarehouseError, match="no name for a table"):
        read_migration(warehouse, MAY, JUNE, table='x"; DROP TABLE y')
    with pytest.raises(WarehouseError, match="no name for a table"):
        read_migration(warehouse, MAY, JUNE, transactions='x"; DROP TABLE y')
