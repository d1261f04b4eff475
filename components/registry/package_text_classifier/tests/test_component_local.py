from __future__ import annotations

import pytest

from blueprints.model_package import open_package
from components.registry.package_text_classifier.component import package_text_classifier


@pytest.mark.usefixtures("in_registry_home")
def test_a_model_is_packaged_by_a_real_run(run_component, text_chain):
    inputs = {name: text_chain[name] for name in ("train", "model", "evaluation")}
    run = run_component(package_text_classifier, inputs, pipeline_run="run-3", registered_model="texts-packaged")
    package = open_package(run.folder / "package")
    assert run.metadata["package"]["package_version"] == package.version
    assert package.lineage.pipeline_run == "run-3"
