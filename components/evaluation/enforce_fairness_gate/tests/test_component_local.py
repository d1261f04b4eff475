from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.credit_risk.fairness import FairnessAudit
from components.evaluation.enforce_fairness_gate.component import enforce_fairness_gate


def test_a_real_run_passes_a_model_that_keeps_the_limits(run_component, credit_chain):
    assert run_component(enforce_fairness_gate, {"audit": credit_chain["audit"]}).value == "passed"


def test_a_real_run_fails_for_one_that_does_not(run_component, credit_chain, artifact, capfd):
    audit = FairnessAudit.model_validate_json(Path(credit_chain["audit"].path).read_text())
    audit.columns[0].violations.append("sex: the gap is too large")
    broken = artifact("audit")
    Path(broken.path).write_text(audit.model_dump_json())
    with pytest.raises(RuntimeError, match="FAILURE"):
        run_component(enforce_fairness_gate, {"audit": broken})
    assert "UnfairModelError: the model breaks the fairness gate: sex: the gap is too large" in capfd.readouterr().out
