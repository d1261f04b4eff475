from __future__ import annotations

import threading
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from blueprints.segmentation.preprocessing import build_pipeline
from blueprints.segmentation.scoring import score
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.segments import Segment, Segments
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)
COLUMNS = ("recency_days", "frequency", "monetary")
CUSTOMERS = 5_000


def features(seed=0, rows=CUSTOMERS):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, rows)
    table = {
        "customer_id": pa.array(np.arange(rows), pa.int64()),
        "monetary": np.exp(rng.normal(3 + group, 0.5)),
        "recency_days": pa.array(rng.integers(1, 400, rows), pa.int32(), mask=rng.random(rows) < 0.05),
        "frequency": pa.array(1 + rng.poisson(1 + 5 * group), pa.int32()),
    }
    return pa.record_batch(table)


def matrix(batch):
    return np.column_stack([batch.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS]).astype(float)


@pytest.fixture(scope="module")
def fitted():
    pipeline = build_pipeline(COLUMNS, 3, log=("monetary",), seed=0)
    return pipeline.fit(matrix(features()))


@pytest.fixture(scope="module")
def segmenter(fitted):
    # Ids are none of the model's labels.
    segments = [
        Segment(id=number, name=f"group {number}", size=1, share=0.3, centroid=dict.fromkeys(COLUMNS, 0.0))
        for number in (7, 3, 12)
    ]
    return Segmenter(fitted, Segments(segments=tuple(segments), next_id=13), version="abc123")


@pytest.fixture(params=["duckdb", "postgresql"])
def warehouse(request, new_url):
    with open_warehouse(new_url(request.param)) as opened:
        opened.publish("customer_features", JANUARY, [features()])
        opened.publish("customer_features", FEBRUARY, [features(1, 1_000)])
        yield opened


def run(warehouse, segmenter, **changes):
    return score(warehouse, segmenter, **{"features_table": "customer_features", "run_date": JANUARY, **changes})


def published(warehouse, table="customer_segments"):
    sql = f"SELECT * FROM {table} ORDER BY run_date, customer_id"  # noqa: S608
    return pd.concat([pd.DataFrame(), *(batch.to_pandas() for batch in warehouse.read(sql))], ignore_index=True)


def test_every_customer_gets_the_segment_that_the_pipeline_predicts(warehouse, segmenter, fitted):
    told = []
    scored = run(warehouse, segmenter, rows=1_000, progress=told.append)
    labels = fitted.predict(matrix(features()))
    found = published(warehouse)
    assert found["customer_id"].tolist() == list(range(CUSTOMERS))
    assert found["segment_id"].tolist() == np.array([7, 3, 12])[labels].tolist()
    assert (found["segment_name"] == "group " + found["segment_id"].astype(str)).all()
    assert (found["model_version"] == "abc123").all()
    distances = fitted.transform(matrix(features()))
    nearest, second = np.sort(distances, axis=1)[:, :2].T
    np.testing.assert_allclose(found["distance"], nearest, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["confidence"], (second - nearest) / second, rtol=1e-3, atol=1e-3)
    assert scored.rows == CUSTOMERS
    assert scored.by_segment == {number: int((found["segment_id"] == number).sum()) for number in (7, 3, 12)}
    assert told == sorted(told)
    assert told[-1] == CUSTOMERS


def test_each_date_is_scored_by_its_own_features(warehouse, segmenter):
    run(warehouse, segmenter)
    assert run(warehouse, segmenter, run_date=FEBRUARY).rows == 1_000
    assert published(warehouse)["run_date"].astype(str).value_counts().to_dict() == {
        "2024-01-31": CUSTOMERS,
        "2024-02-29": 1_000,
    }
    with pytest.raises(
        WarehouseError, match="'customer_features' has no rows of 2024-03-31, only of 2024-01-31, 2024-"
    ):
        run(warehouse, segmenter, run_date=date(2024, 3, 31))


def test_a_plain_table_is_scored_whole_and_a_missing_one_is_named(warehouse, segmenter):
    warehouse.load("own_features", [features(2, 10)])
    assert run(warehouse, segmenter, features_table="own_features").rows == 10
    with pytest.raises(WarehouseError, match="there is no table 'nothing' of features"):
        run(warehouse, segmenter, features_table="nothing")
    warehouse.load("poor_features", [features(2, 10).select(["customer_id", "monetary", "frequency"])])
    with pytest.raises(WarehouseError, match="recency_days"):
        run(warehouse, segmenter, features_table="poor_features")


def test_no_customers_give_no_segments(warehouse, segmenter):
    warehouse.publish("customer_features", JANUARY, [features().slice(0, 0)])
    assert run(warehouse, segmenter).by_segment == {7: 0, 3: 0, 12: 0}
    assert published(warehouse).empty


def test_what_fails_on_the_way_leaves_the_segments_of_before_and_no_thread(warehouse, segmenter):
    run(warehouse, segmenter)
    before = published(warehouse)
    wrong = features().set_column(1, "monetary", pa.array(np.where(np.arange(CUSTOMERS) == 4_321, np.inf, 1.0)))
    warehouse.publish("customer_features", JANUARY, [wrong])
    with pytest.raises(ValueError, match="'monetary' holds infinite values"):
        run(warehouse, segmenter, rows=500)

    def stop(done):
        raise KeyboardInterrupt

    warehouse.publish("customer_features", JANUARY, [features()])
    with pytest.raises(KeyboardInterrupt):
        run(warehouse, segmenter, rows=100, progress=stop)
    assert published(warehouse).equals(before)
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
