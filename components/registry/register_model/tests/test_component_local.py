from __future__ import annotations

import pytest

from blueprints.governance.registry import CHALLENGER, Registry
from components.registry.register_model.component import register_model


@pytest.mark.usefixtures("in_registry_home")
def test_a_package_is_registered_by_a_real_run(run_component, credit_chain, credit_package):
    page = credit_chain["evaluation_report"]
    pages = {f"{name}_report": page for name in ("evaluation", "backtest", "fairness", "explanation")}
    run = run_component(register_model, {"package": credit_package, **pages}, registered_model="by-a-run")
    assert run.value == "1"
    assert Registry().by_alias("by-a-run", CHALLENGER).package_version == credit_package.metadata["package_version"]
