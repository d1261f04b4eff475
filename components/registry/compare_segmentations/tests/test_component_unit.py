from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.governance.registry import Registry
from blueprints.model_package import open_package
from components.registry.compare_segmentations.component import compare_segmentations
from components.registry.package_segmentation.component import package_segmentation
from tests.purchases import FEBRUARY

pytestmark = pytest.mark.usefixtures("in_registry_home")


@pytest.fixture
def compare(segment_chain, segment_package, artifact):
    def run(package=segment_package, **parameters):
        metrics, reason = artifact("metrics"), artifact("reason")
        promote = compare_segmentations.python_func(
            segment_chain["summary"], package, metrics, reason.path, **parameters
        )
        return promote, metrics, Path(reason.path).read_text()

    return run


def test_without_a_champion_the_segments_are_judged_by_themselves(compare, segment_chain):
    promote, metrics, reason = compare(registered_model="no-segments-yet")
    assert promote is True
    assert "no champion yet" in reason
    assert metrics.metadata == {"reason": reason}
    trained = segment_chain["metrics"].logged
    assert metrics.logged == {name: trained[name] for name in ("silhouette", "smallest_share")}
    assert compare(registered_model="no-segments-yet", minimum_silhouette=0.99)[0] is False
    assert compare(registered_model="no-segments-yet", minimum_share=0.5)[0] is False


def test_a_champion_is_fetched_and_its_ids_are_compared(compare, segment_chain, segment_package, artifact):
    registry = Registry()
    champion = registry.log_and_register("segment-champion", open_package(Path(segment_package.path)), reports={})
    registry.promote(champion, by="a test", reason="first")
    other = artifact("package")
    package_segmentation.python_func(
        FEBRUARY.isoformat(), segment_chain["model"], segment_chain["summary"], other, pipeline_run="run-2"
    )
    promote, metrics, reason = compare(other, registered_model="segment-champion")
    assert promote is True
    assert metrics.logged["kept"] == 1
    assert "100.0% of the customers keep their segment" in reason
    promote, metrics, reason = compare(registered_model="segment-champion")
    assert promote is True
    assert "kept" not in metrics.logged
    assert "it is the champion already" in reason
