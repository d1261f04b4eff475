from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.datasets import read_snapshot
from blueprints.governance.registry import Registry
from blueprints.model_package import open_package
from components.registry.package_credit_risk.component import package_credit_risk

pytestmark = pytest.mark.usefixtures("in_registry_home")


def test_the_package_verifies_and_its_version_is_metadata(credit_package, credit_chain):
    package = open_package(Path(credit_package.path))
    assert credit_package.metadata == {"package_version": package.version, "package_digest": package.digest}
    assert package.lineage.pipeline_run == "run-1"
    assert package.lineage.dataset_sha256 == read_snapshot(Path(credit_chain["snapshot"].path)).info.sha256
    assert package.lineage.parent_model == ""
    assert [column.name for column in package.signature.inputs] == ["income", "amount", "purpose"]


def test_the_champion_of_the_time_is_the_parent(credit_package, credit_chain, artifact):
    registry = Registry()
    first = registry.log_and_register("has-parent", open_package(Path(credit_package.path)), reports={})
    registry.promote(first, by="a test", reason="first")
    package = artifact("package")
    inputs = (credit_chain[name] for name in ("train", "model", "evaluation", "audit"))
    package_credit_risk.python_func(*inputs, package, pipeline_run="run-2", registered_model="has-parent")
    assert open_package(Path(package.path)).lineage.parent_model == first.package_version
