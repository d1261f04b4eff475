from __future__ import annotations

import pytest

from components.registry.compare_with_champion.component import compare_with_champion


@pytest.mark.usefixtures("in_registry_home")
def test_a_real_run_says_whether_and_why(run_component, credit_chain, credit_package):
    inputs = {"test": credit_chain["test"], "package": credit_package}
    run = run_component(compare_with_champion, inputs, registered_model="nobody", minimum_auc=0.99)
    assert run.value is False
    assert "is below the minimum 0.99" in (run.folder / "reason").read_text()
