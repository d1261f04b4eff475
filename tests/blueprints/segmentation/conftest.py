from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from blueprints.model_package import ModelPackage
from blueprints.segmentation.customers import feature_batches
from blueprints.segmentation.features import FEATURES, publish_features
from blueprints.segmentation.packaging import package_segmenter
from blueprints.segmentation.partitions import PartitionSummary, summarize
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.segments import SEGMENTS, Segments
from blueprints.segmentation.training import Trained, train_segments
from blueprints.segmentation.transactions import CUSTOMER, transaction_batches
from blueprints.segmentation.warehouse import Warehouse, open_warehouse
from tests.purchases import FEBRUARY, MARCH, made_up_purchases


@pytest.fixture
def new_url(request, tmp_path) -> Callable[[str], str]:
    """Makes the URL of an empty warehouse of a dialect."""

    def make(dialect: str) -> str:
        if dialect == "postgresql":
            return request.getfixturevalue("postgres").new_database()
        return f"{dialect}:///{tmp_path}/warehouse.{dialect}"

    return make


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Iterator[Warehouse]:
    """A warehouse with the purchases of 300 made-up customers and their features of `FEBRUARY` and `MARCH`."""
    with open_warehouse(f"duckdb:///{tmp_path_factory.mktemp('shop')}/warehouse.duckdb") as warehouse:
        warehouse.load("transactions", transaction_batches(made_up_purchases()))
        for as_of in (FEBRUARY, MARCH):
            publish_features(warehouse, as_of)
        yield warehouse


@pytest.fixture(scope="session")
def summary_of(shop) -> Callable[..., PartitionSummary]:
    """Summarises the customers of `shop` as of a date."""

    def summary(as_of: date, capacity: int = 1_000) -> PartitionSummary:
        names = [column.name for column in FEATURES]
        batches = feature_batches(shop, as_of, names)
        return summarize(batches, names, identifier=CUSTOMER, capacity=capacity)

    return summary


@pytest.fixture(scope="session")
def trained(summary_of) -> Trained:
    """The segments of `shop` as of `FEBRUARY`."""
    return train_segments(summary_of(FEBRUARY), FEATURES, ks=range(2, 5), bootstraps=2)


@pytest.fixture(scope="session")
def trained_later(summary_of, trained) -> Trained:
    """The segments as of `MARCH`, which carry those of `trained` on."""
    return train_segments(summary_of(MARCH), FEATURES, previous=trained.segmenter, ks=range(2, 5), bootstraps=0)


@pytest.fixture(scope="session")
def package_of(summary_of, tmp_path_factory) -> Callable[..., ModelPackage]:
    """Packages trained segments, or others in their place."""

    def package(model: Trained, as_of: date = FEBRUARY, *, segments: Segments | None = None, **changes) -> ModelPackage:
        folder: Path = tmp_path_factory.mktemp("package")
        model.save(folder / "model")
        if segments is not None:
            (folder / "model" / SEGMENTS).write_text(segments.model_dump_json())
        named = {"dataset": "shop", "run_date": as_of.isoformat(), "pipeline_run": "run-1", **changes}
        return package_segmenter(folder / "package", folder / "model", summary_of(as_of).to_bytes(), **named)

    return package


@pytest.fixture(scope="session")
def segment_package(trained, package_of) -> ModelPackage:
    """The model package of `trained`."""
    return package_of(trained)


@pytest.fixture(scope="session")
def champion(segment_package) -> Segmenter:
    """The segmenter of `segment_package`."""
    return Segmenter.from_package(segment_package)
