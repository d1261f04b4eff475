from __future__ import annotations

import pytest

from blueprints.model_package import open_package
from components.registry.package_credit_risk.component import package_credit_risk


@pytest.mark.usefixtures("in_registry_home")
def test_a_model_is_packaged_by_a_real_run(run_component, credit_chain):
    inputs = {name: credit_chain[name] for name in ("train", "model", "evaluation", "audit")}
    run = run_component(package_credit_risk, inputs, pipeline_run="run-3", registered_model="packaged")
    package = open_package(run.folder / "package")
    assert run.metadata["package"]["package_version"] == package.version
    assert package.lineage.pipeline_run == "run-3"
