from __future__ import annotations

import pytest

from components.training.check_text_method.component import check_text_method


def test_a_real_run_ends_well_or_fails_the_step(run_component):
    run_component(check_text_method, {}, method="frozen")
    with pytest.raises(RuntimeError, match="check-text-method"):
        run_component(check_text_method, {}, method="frozen", student_layers=3)
