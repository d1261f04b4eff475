from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.datasets import read_snapshot
from blueprints.governance.registry import Registry
from blueprints.model_package import open_package
from components.registry.package_text_classifier.component import package_text_classifier

pytestmark = pytest.mark.usefixtures("in_registry_home")


def test_the_package_verifies_and_its_version_is_metadata(text_package, text_chain):
    package = open_package(Path(text_package.path))
    assert text_package.metadata == {"package_version": package.version, "package_digest": package.digest}
    assert package.lineage.pipeline_run == "run-1"
    assert package.lineage.dataset_sha256 == read_snapshot(Path(text_chain["snapshot"].path)).info.sha256
    assert package.lineage.parent_model == ""
    assert [column.name for column in package.signature.inputs] == ["text"]


def test_what_the_training_said_is_in_the_lineage(text_package):
    lineage = open_package(Path(text_package.path)).lineage
    assert (lineage.parameters["epochs"], lineage.parameters["learning_rate"]) == (3, 0.5)
    assert type(lineage.parameters["epochs"]) is int
    assert lineage.packages["torch"] == "2.13.0"


def test_the_champion_of_the_time_is_the_parent(text_package, text_chain, artifact):
    registry = Registry()
    first = registry.log_and_register("text-parent", open_package(Path(text_package.path)), reports={})
    registry.promote(first, by="a test", reason="first")
    package = artifact("package")
    inputs = (text_chain[name] for name in ("train", "model", "evaluation"))
    package_text_classifier.python_func(*inputs, package, pipeline_run="run-2", registered_model="text-parent")
    assert open_package(Path(package.path)).lineage.parent_model == first.package_version


def test_an_unknown_method_is_refused_before_anything_is_written(text_chain, artifact):
    package = artifact("package")
    inputs = (text_chain[name] for name in ("train", "model", "evaluation"))
    with pytest.raises(ValueError, match="method 'finetune': must be 'frozen' or 'finetuned'"):
        package_text_classifier.python_func(*inputs, package, pipeline_run="run-4", method="finetune")
    assert not Path(package.path).exists()
