"""A date's batch run: everyone scored, and a page of who is in which segment and who moved since the last date."""

from __future__ import annotations

import pandas as pd
import pytest

from blueprints.segmentation import batch as module
from blueprints.segmentation.batch import score_and_report
from blueprints.segmentation.features import publish_features
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.transactions import transaction_batches
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse
from tests.blueprints.credit_risk.test_reports import Page, is_self_contained
from tests.purchases import FEBRUARY, FIRST, MARCH, made_up_purchases


@pytest.fixture(params=["duckdb", "postgresql"])
def warehouse(request, new_url):
    with open_warehouse(new_url(request.param)) as opened:
        opened.load("transactions", transaction_batches(made_up_purchases(120)))
        for as_of in (FEBRUARY, MARCH):
            publish_features(opened, as_of)
        yield opened


def published(warehouse, columns="run_date, customer_id, segment_id, segment_name, confidence, model_version"):
    query = f"SELECT {columns} FROM customer_segments ORDER BY run_date, customer_id"  # noqa: S608
    return pd.concat([part.to_pandas() for part in warehouse.read(query)], ignore_index=True)


def test_everyone_is_scored_and_the_page_shows_the_segments(warehouse, segment_package):
    told = []
    done = score_and_report(warehouse, segment_package, FEBRUARY, progress=lambda *step: told.append(step))
    assert done.metrics == {"customers": 120}
    found = published(warehouse)
    assert found["customer_id"].tolist() == list(range(1, 121))
    assert set(found["model_version"]) == {segment_package.version}
    page = Page(done.page)
    assert is_self_contained(page)
    for name, size in found["segment_name"].value_counts().items():
        place = page.cells.index(name)
        assert page.cells[place + 1] == str(size)
    assert "Moves" not in done.page
    assert "Since the last run" not in done.page
    assert told[-1] == (120, 120, "customers scored")


def test_the_next_date_tells_who_moved(warehouse, segment_package):
    score_and_report(warehouse, segment_package, FEBRUARY)
    done = score_and_report(warehouse, segment_package, MARCH)
    both = published(warehouse).pivot_table(index="customer_id", columns="run_date", values="segment_id")
    assert done.metrics["kept_segment"] == pytest.approx((both.iloc[:, 0] == both.iloc[:, 1]).mean())
    assert "Moves from 2025-02-01 to 2025-03-01" in done.page
    assert f"{done.metrics['kept_segment']:.1%} of the customers of both runs kept their segment." in done.page
    # These segments are the last run's; nothing is said of ids that were carried on.
    assert "Since the last run" not in done.page


def test_a_date_that_is_scored_again_changes_nothing_and_is_not_compared_with_itself(warehouse, segment_package):
    first, again = (score_and_report(warehouse, segment_package, FEBRUARY) for _ in range(2))
    assert again == first
    assert len(published(warehouse)) == 120
    score_and_report(warehouse, segment_package, MARCH)
    before = published(warehouse)
    assert score_and_report(warehouse, segment_package, FEBRUARY) == first
    assert published(warehouse).equals(before)


def test_segments_that_are_gone_keep_their_names_in_the_moves(warehouse, segment_package, trained_later, package_of):
    score_and_report(warehouse, segment_package, FEBRUARY)
    segments = trained_later.segmenter.segments
    others = tuple(one.model_copy(update={"id": one.id + 10, "name": f"new {one.id}"}) for one in segments.segments)
    changed = segments.model_copy(update={"segments": others, "next_id": 20})
    done = score_and_report(warehouse, package_of(trained_later, MARCH, segments=changed), MARCH)
    assert done.metrics["kept_segment"] == 0
    cells = Page(done.page).cells
    for name in Segmenter.from_package(segment_package).segments.names:
        assert name in cells


def test_without_a_segmentation_nothing_is_written(warehouse):
    done = score_and_report(warehouse, None, FEBRUARY)
    assert done.metrics == {"customers": 0}
    assert "There is no champion" in done.page
    assert not warehouse.exists("customer_segments")


def test_a_date_without_features_leaves_what_was_there(warehouse, segment_package):
    score_and_report(warehouse, segment_package, FEBRUARY)
    before = published(warehouse)
    with pytest.raises(WarehouseError, match="has no rows of 2024-06-01, only of"):
        score_and_report(warehouse, segment_package, FIRST)
    assert published(warehouse).equals(before)


def test_other_tables_are_read_and_written_on_demand(warehouse, segment_package):
    publish_features(warehouse, FEBRUARY, table="shop_features")
    names = {"features_table": "shop_features", "target_table": "shop_segments"}
    assert score_and_report(warehouse, segment_package, FEBRUARY, **names).metrics["customers"] == 120
    assert warehouse.exists("shop_segments")
    assert not warehouse.exists("customer_segments")


def test_profiles_of_many_customers_are_those_of_a_sample(warehouse, segment_package, monkeypatch):
    monkeypatch.setattr(module, "_PROFILED", 40)
    page = score_and_report(warehouse, segment_package, FEBRUARY).page
    assert "120 customers in 3 segments." in page
    assert "From a sample of 40 customers." in page
