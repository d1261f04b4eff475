from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.governance.registry import CHAMPION, Registry
from blueprints.model_package import open_package
from components.registry.promote_model.component import promote_model


@pytest.mark.usefixtures("in_registry_home")
def test_a_version_is_promoted_by_a_real_run(run_component, credit_package):
    registry = Registry()
    model = registry.log_and_register("run-promotes", open_package(Path(credit_package.path)), reports={})
    parameters = {"reason": "first", "promoted_by": "a run", "registered_model": "run-promotes"}
    assert run_component(promote_model, {}, version=model.number, **parameters).value == model.package_version
    assert registry.by_alias("run-promotes", CHAMPION) == model
