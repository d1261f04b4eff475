from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.credit_risk.fairness import FairnessAudit, UnfairModelError
from components.evaluation.enforce_fairness_gate.component import enforce_fairness_gate


def test_an_audit_without_violations_passes(credit_chain):
    assert enforce_fairness_gate.python_func(credit_chain["audit"]) == "passed"


def test_an_audit_with_violations_stops_with_all_of_them(credit_chain, artifact):
    audit = FairnessAudit.model_validate_json(Path(credit_chain["audit"].path).read_text())
    audit.columns[0].violations[:] = ["the first", "the second"]
    broken = artifact("audit")
    Path(broken.path).write_text(audit.model_dump_json())
    with pytest.raises(UnfairModelError, match="the first; the second"):
        enforce_fairness_gate.python_func(broken)
