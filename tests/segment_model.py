"""A small segmentation: 300 customers of three kinds, their features online in SQLite, and a model of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.cluster import KMeans

from blueprints.model_package import Lineage, ModelPackage, Signature, write_package
from blueprints.segmentation.feature_store import materialize
from blueprints.segmentation.features import FEATURES, publish_features
from blueprints.segmentation.packaging import output_columns
from blueprints.segmentation.preprocessing import dump_model, fit_preprocessing, fitted_pipeline
from blueprints.segmentation.segmenter import WEIGHTS, Segmenter
from blueprints.segmentation.segments import CONFIDENCE, SEGMENT, SEGMENTS, Segment, Segments
from blueprints.segmentation.store_config import StoreConfig
from blueprints.segmentation.transactions import transaction_batches
from blueprints.segmentation.warehouse import open_warehouse

AS_OF = date(2024, 6, 1)
NAMES = [column.name for column in FEATURES]
# Ids are none of the model's labels, and a name needs quoting.
IDS, TITLES = (4, 2, 9), ("loyal buyers", 'lapsed "one-time" buyers', "average customers")
LARGEST = 2**63 - 1
# Purchases, days over which they are spread, and their mean amount. A few buy much, so amounts are skewed.
KINDS = ((12, 60, 80.0), (1, 400, 12.0), (1, 400, 12.0), (4, 200, 30.0), (4, 200, 30.0))


@dataclass(frozen=True)
class Customers:
    """Customers and their features as the warehouse published them.

    Attributes:
        folder: Folder of the feature store.
        ids: Their numbers: 1 to 299, and the largest that there is.
        matrix: Their features.
    """

    folder: Path
    ids: np.ndarray
    matrix: np.ndarray


def store_config(**variables: str) -> StoreConfig:
    """What the environment would name with these variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return StoreConfig.current()


def purchases() -> pd.DataFrame:
    """What the customers bought."""
    rng = np.random.default_rng(5)
    rows = []
    for customer in [*range(1, 300), LARGEST]:
        count, age, amount = KINDS[customer % len(KINDS)]
        for _ in range(count):
            day = pd.Timestamp(AS_OF) - pd.Timedelta(days=int(rng.integers(1, age + 1)), hours=int(rng.integers(0, 20)))
            rows.append((customer, day, int(rng.integers(1, 4)), float(np.round(amount * rng.uniform(0.5, 1.5), 2))))
    return pd.DataFrame(rows, columns=["customer_id", "purchased_at", "quantity", "amount"])


def fill_store(folder: Path, warehouse_url: str, **store: str) -> Customers:
    """Computes features in a new warehouse and puts them online as the pipeline does, in SQLite unless `store` says."""
    config = store_config(**{"FEATURE_STORE_DATA": str(folder), **store})
    with open_warehouse(warehouse_url) as warehouse:
        warehouse.load("transactions", transaction_batches(purchases()))
        publish_features(warehouse, AS_OF)
        assert materialize(warehouse, AS_OF, config) == 300
        batches = warehouse.read(f"SELECT * FROM customer_features_{AS_OF:%Y%m%d}")  # noqa: S608
        frame = pd.concat([batch.to_pandas() for batch in batches]).sort_values("customer_id")
    return Customers(folder, frame["customer_id"].to_numpy(), frame[NAMES].to_numpy(float))


def segment_package(folder: Path, customers: Customers) -> ModelPackage:
    """A model package of three segments of them."""
    learned = fit_preprocessing(customers.matrix, NAMES)
    points = learned.transform(customers.matrix)
    centers = KMeans(3, n_init=3, random_state=0).fit(points).cluster_centers_
    pipeline = fitted_pipeline(learned, centers)
    segments = Segments(
        segments=tuple(
            Segment(id=number, name=name, size=100, share=1 / 3, centroid=dict(zip(NAMES, centroid, strict=True)))
            for number, name, centroid in zip(IDS, TITLES, learned.inverse(centers).tolist(), strict=True)
        ),
        next_id=10,
    )
    assigned = Segmenter(pipeline, segments).assign(customers.matrix)
    return write_package(
        folder,
        files={WEIGHTS: dump_model(pipeline), SEGMENTS: segments.model_dump_json().encode()},
        signature=Signature(model_name="segmentation", inputs=FEATURES, outputs=output_columns(segments.names)),
        lineage=Lineage(
            created_at=datetime(2026, 1, 1, tzinfo=UTC), dataset="made", dataset_version="1", dataset_sha256="0" * 64
        ),
        reference=pa.table(
            {
                **dict(zip(NAMES, customers.matrix.T, strict=True)),
                SEGMENT: [segments.names[index] for index in assigned.indices],
                CONFIDENCE: assigned.confidence,
            }
        ),
        model_card="# A model for tests\n",
    )
