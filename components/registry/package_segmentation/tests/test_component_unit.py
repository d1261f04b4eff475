from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from blueprints.governance.registry import Registry
from blueprints.model_package import open_package
from blueprints.segmentation.segmenter import Segmenter
from components.registry.package_segmentation.component import package_segmentation
from tests.purchases import FEBRUARY

pytestmark = pytest.mark.usefixtures("in_registry_home")


def test_the_package_verifies_and_its_version_is_metadata(segment_package, segment_chain):
    package = open_package(Path(segment_package.path))
    assert segment_package.metadata == {"package_version": package.version, "package_digest": package.digest}
    lineage = package.lineage
    assert (lineage.dataset, lineage.dataset_version, lineage.pipeline_run) == ("shop", "2025-02-01", "run-1")
    summary = Path(segment_chain["summary"].path).read_bytes()
    assert lineage.dataset_sha256 == hashlib.sha256(summary).hexdigest()
    assert lineage.parent_model == ""
    assert len(Segmenter.from_package(package).ids) == 3


def test_the_champion_of_the_time_is_the_parent(segment_package, segment_chain, artifact):
    registry = Registry()
    first = registry.log_and_register("segment-parent", open_package(Path(segment_package.path)), reports={})
    registry.promote(first, by="a test", reason="first")
    package = artifact("package")
    package_segmentation.python_func(
        FEBRUARY.isoformat(), segment_chain["model"], segment_chain["summary"], package,
        pipeline_run="run-2", registered_model="segment-parent",
    )  # fmt: skip
    assert open_package(Path(package.path)).lineage.parent_model == first.package_version
