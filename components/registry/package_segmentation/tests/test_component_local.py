from __future__ import annotations

import pytest

from blueprints.model_package import open_package
from components.registry.package_segmentation.component import package_segmentation
from tests.purchases import FEBRUARY


@pytest.mark.usefixtures("in_registry_home")
def test_segments_are_packaged_by_a_real_run(run_component, segment_chain):
    inputs = {name: segment_chain[name] for name in ("model", "summary")}
    run = run_component(
        package_segmentation, inputs, run_date=FEBRUARY.isoformat(), pipeline_run="run-3", registered_model="unpackaged"
    )
    package = open_package(run.folder / "package")
    assert run.metadata["package"]["package_version"] == package.version
    assert (package.lineage.pipeline_run, package.lineage.dataset) == ("run-3", "cdnow")
