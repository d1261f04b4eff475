from __future__ import annotations

import pytest

from components.registry.compare_segmentations.component import compare_segmentations


@pytest.mark.usefixtures("in_registry_home")
def test_a_real_run_says_whether_and_why(run_component, segment_chain, segment_package):
    inputs = {"summary": segment_chain["summary"], "package": segment_package}
    run = run_component(compare_segmentations, inputs, registered_model="nobody", minimum_silhouette=0.99)
    assert run.value is False
    assert "is below 0.99" in (run.folder / "reason").read_text()
