from __future__ import annotations

import pytest

from cli.progress import _steps
from pipelines import load


@pytest.mark.parametrize(("blueprint", "steps"), [("credit-risk", 14), ("sentiment", 12)])
def test_a_run_counts_its_steps_with_the_shortest_of_its_branches(blueprint, steps):
    spec = load(blueprint).pipeline_spec
    assert _steps(spec, spec.root) == steps
