from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from blueprints.datasets import get
from blueprints.segmentation.transactions import arrow_schema, transaction_batches
from blueprints.segmentation.validation import Validation, validate
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse

AS_OF = date(2024, 3, 1)
NOW = datetime(2024, 6, 1, tzinfo=UTC)
GOOD = [
    (1, datetime(2024, 1, 5, tzinfo=UTC), 1, 10.0),
    (2, datetime(2024, 2, 5, tzinfo=UTC), 2, 0.0),
    (3, datetime(2024, 4, 5, tzinfo=UTC), 2, 5.0),
]


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def warehouse(request, tmp_path_factory):
    url = f"duckdb:///{tmp_path_factory.mktemp('validation')}/w.duckdb"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    with open_warehouse(url) as opened:
        yield opened


def checked(warehouse, rows, **options) -> Validation:
    columns = list(zip(*rows, strict=True)) or [[]] * 4
    times = [time and time.replace(tzinfo=None) for time in columns[1]]
    schema = arrow_schema()
    arrays = [
        pa.array(values, field.type) for values, field in zip([columns[0], times, *columns[2:]], schema, strict=True)
    ]
    warehouse.load("transactions", [pa.record_batch(arrays, schema=schema)], schema=schema)
    return validate(warehouse, AS_OF, now=NOW, **options)


def levels(result):
    return {finding.check: (finding.level, finding.rows) for finding in result.findings}


def test_good_purchases_pass(warehouse):
    result = checked(warehouse, GOOD)
    assert result.passed
    assert not result.findings
    assert (result.rows, result.counted, result.customers) == (3, 2, 2)
    assert (result.first, result.last) == ("2024-01-05T00:00:00", "2024-04-05T00:00:00")


@pytest.mark.parametrize(
    ("row", "check"),
    [
        ((None, datetime(2024, 1, 5, tzinfo=UTC), 1, 1.0), "missing_customer_id"),
        ((1, None, 1, 1.0), "missing_purchased_at"),
        ((1, datetime(2024, 1, 6, tzinfo=UTC), None, 1.0), "missing_quantity"),
        ((1, datetime(2024, 1, 6, tzinfo=UTC), 1, None), "missing_amount"),
        ((1, datetime(2024, 1, 6, tzinfo=UTC), -1, 1.0), "negative_quantity"),
        ((1, datetime(2024, 1, 6, tzinfo=UTC), 1, -0.01), "negative_amount"),
        ((1, datetime(2024, 1, 6, tzinfo=UTC), 1, float("inf")), "infinite_amount"),
        ((1, datetime(2024, 1, 6, tzinfo=UTC), 1, float("nan")), "infinite_amount"),
    ],
)
def test_a_wrong_value_fails_or_warns_within_the_tolerance(warehouse, row, check):
    result = checked(warehouse, [*GOOD, row])
    assert levels(result) == {check: ("fail", 1)}
    assert not result.passed
    assert result.metrics()[check] == 1
    tolerant = checked(warehouse, [*GOOD, row], tolerance=0.25)
    assert levels(tolerant) == {check: ("warn", 1)}
    assert tolerant.passed
    assert (tolerant.counted, tolerant.customers) == (2, 2)


def test_equal_rows_and_purchases_in_the_future_are_warnings(warehouse):
    future = (3, datetime(2024, 6, 2, tzinfo=UTC), 1, 1.0)
    result = checked(warehouse, [*GOOD, GOOD[0], GOOD[0], GOOD[1], future])
    assert levels(result) == {"repeated": ("warn", 3), "future": ("warn", 1)}
    assert result.passed


def test_too_few_customers_before_the_date_fail(warehouse):
    assert levels(checked(warehouse, [])) == {"too_few_customers": ("fail", 0)}
    assert levels(checked(warehouse, GOOD[1:])) == {"too_few_customers": ("fail", 1)}


def test_a_table_that_is_not_there_or_lacks_a_column_is_named(warehouse):
    with pytest.raises(WarehouseError, match="there is no table 'nothing' of purchases"):
        validate(warehouse, AS_OF, transactions="nothing")
    warehouse.load("poor", [pa.record_batch({"customer_id": [1], "quantity": [1], "amount": [1.0]})])
    with pytest.raises(WarehouseError, match="purchased_at"):
        validate(warehouse, AS_OF, transactions="poor")
    with pytest.raises(ValueError, match="from 0 to 1, not 2"):
        validate(warehouse, AS_OF, tolerance=2)


def test_the_report_says_what_is_wrong_failures_first(warehouse):
    page = checked(warehouse, [*GOOD, GOOD[0], (1, datetime(2024, 1, 6, tzinfo=UTC), 1, -1.0)]).html()
    assert "1 check failed" in page
    assert page.index("negative amount") < page.index("repeated")
    assert "No check failed" in checked(warehouse, GOOD).html()


def test_cdnow_passes_with_its_repeated_rows(warehouse):
    warehouse.load("transactions", transaction_batches(get("cdnow").load()))
    result = validate(warehouse, date(1998, 7, 1))
    assert result.passed
    assert levels(result) == {"repeated": ("warn", 255)}
    assert (result.rows, result.counted, result.customers) == (69_659, 69_659, 23_570)
