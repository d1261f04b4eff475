from __future__ import annotations

import pytest

from components.registry.compare_text_classifiers.component import compare_text_classifiers


@pytest.mark.usefixtures("in_registry_home")
def test_a_real_run_says_whether_and_why(run_component, text_chain, text_package):
    inputs = {"test": text_chain["test"], "package": text_package}
    run = run_component(compare_text_classifiers, inputs, registered_model="nobody", minimum_accuracy=0.99)
    assert run.value is False
    assert "is below the minimum 0.99" in (run.folder / "reason").read_text()
