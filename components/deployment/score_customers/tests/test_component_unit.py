from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.governance.registry import Registry
from blueprints.model_package import open_package
from blueprints.segmentation.features import publish_features
from blueprints.segmentation.warehouse import open_warehouse
from components.deployment.score_customers.component import score_customers
from components.registry.package_segmentation.component import package_segmentation
from tests.purchases import FEBRUARY, MARCH

pytestmark = pytest.mark.usefixtures("in_registry_home")


@pytest.fixture
def score(segment_package, warehouse_url, artifact):
    def run(day=FEBRUARY, *, package=segment_package, promote=True, **parameters):
        metrics, report = artifact("metrics"), artifact("report")
        score_customers.python_func(day.isoformat(), package, promote, metrics, report, **parameters)
        return metrics.logged, Path(report.path).read_text()

    return run


def versions(url):
    with open_warehouse(url, read_only=True) as warehouse:
        if not warehouse.exists("customer_segments"):
            return {}
        query = "SELECT model_version, count(*) AS customers FROM customer_segments GROUP BY model_version"
        return {row["model_version"]: row["customers"] for batch in warehouse.read(query) for row in batch.to_pylist()}


@pytest.fixture
def other(segment_chain, artifact):
    """The package of another run."""
    package = artifact("other")
    package_segmentation.python_func(
        FEBRUARY.isoformat(), segment_chain["model"], segment_chain["summary"], package, pipeline_run="run-9"
    )
    return package


def test_what_the_gate_allows_scores(score, segment_package, warehouse_url, capsys):
    metrics, page = score()
    assert metrics == {"customers": 300}
    assert versions(warehouse_url) == {segment_package.metadata["package_version"]: 300}
    assert "300 customers in 3 segments" in page
    assert "progress: 300/300 customers scored" in capsys.readouterr().out


def test_who_moved_since_the_last_date_is_told(score, warehouse_url):
    with open_warehouse(warehouse_url) as warehouse:
        publish_features(warehouse, MARCH)
    score()
    metrics, page = score(MARCH)
    assert 0.9 < metrics["kept_segment"] <= 1
    assert "Moves from 2025-02-01 to 2025-03-01" in page


def test_what_the_gate_refuses_leaves_the_scoring_to_the_champion(score, other, segment_package, warehouse_url):
    registry = Registry()
    champion = registry.log_and_register("scoring-champion", open_package(Path(segment_package.path)), reports={})
    registry.promote(champion, by="a test", reason="first")
    score(package=other, promote=False, registered_model="scoring-champion")
    assert versions(warehouse_url) == {champion.package_version: 300}
    score(package=other, registered_model="scoring-champion")
    assert versions(warehouse_url) == {other.metadata["package_version"]: 300}


def test_without_a_champion_what_the_gate_refuses_writes_nothing(score, warehouse_url):
    metrics, page = score(promote=False, registered_model="nobody-scores")
    assert metrics == {"customers": 0}
    assert "There is no champion" in page
    assert versions(warehouse_url) == {}
