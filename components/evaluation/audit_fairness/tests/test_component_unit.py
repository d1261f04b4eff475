from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blueprints.credit_risk.fairness import FairnessAudit
from blueprints.credit_risk.training import TrainedModel
from components.evaluation.audit_fairness.component import audit_fairness


@pytest.fixture
def audit(credit_chain, artifact):
    def run(model, **limits):
        outputs = [artifact(name) for name in ("audit", "metrics", "report")]
        audit_fairness.python_func(credit_chain["test"], model, *outputs, **limits)
        return FairnessAudit.model_validate_json(Path(outputs[0].path).read_text()), outputs[1].logged, outputs[2]

    return run


def test_limits_reach_the_gate_and_differences_are_logged(audit, credit_chain):
    result, logged, report = audit(
        credit_chain["model"], demographic_parity_difference=0.0, equalized_odds_difference=1.0, group_rows=50
    )
    (column,) = result.columns
    assert (result.gate.demographic_parity_difference, result.gate.group_rows) == (0, 50)
    assert logged == {
        "sex_demographic_parity_difference": column.demographic_parity_difference,
        "sex_equalized_odds_difference": column.equalized_odds_difference,
    }
    assert column.demographic_parity_difference > 0.05
    assert len(result.violations) == 1
    assert result.violations[0] in Path(report.path).read_text()


def test_a_mitigated_model_is_shown_beside_the_one_before(audit, credit_chain, artifact):
    model, mitigated = TrainedModel.load(Path(credit_chain["model"].path)), artifact("model")
    report = model.report.model_copy(update={"mitigation": "demographic_parity by sex"})
    declining_all = model.policy.model_copy(update={"threshold": 0.0})
    replace(model, policy=declining_all, report=report).save(Path(mitigated.path))
    model.save(Path(mitigated.path) / "unmitigated")
    after, logged, page = audit(mitigated)
    text = Path(page.path).read_text()
    unmitigated, _, _ = audit(credit_chain["model"])
    assert after.columns[0].demographic_parity_difference == 0
    assert f"{unmitigated.columns[0].demographic_parity_difference:.4f}" in text
    assert logged["mitigation_price_roc_auc"] == 0
    assert "Constraint: demographic_parity by sex. Price in ROC-AUC: +0.0000." in text
