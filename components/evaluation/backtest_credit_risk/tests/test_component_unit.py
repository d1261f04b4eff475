from __future__ import annotations

from pathlib import Path

import pytest

from components.evaluation.backtest_credit_risk.component import backtest_credit_risk


def test_the_test_rows_are_left_out_and_the_worst_period_is_logged(credit_chain, artifact, capsys):
    metrics, report = artifact("metrics"), artifact("report")
    inputs = [credit_chain[name] for name in ("train", "validation", "model")]
    backtest_credit_risk.python_func(*inputs, metrics, report, periods=3)
    assert metrics.metadata == {"method": "repeated hold-out"}
    logged = metrics.logged
    assert 0.6 < logged["worst_roc_auc"] <= logged["mean_roc_auc"] < 1
    assert 0 <= logged["largest_stability_index"] < 0.25
    page = Path(report.path).read_text()
    # 720 of 1,200 rows are not test rows: three periods of 240.
    assert page.count(">480<") == page.count(">240<") == 3
    assert "progress: 3/3 3: ROC-AUC" in capsys.readouterr().out


def test_a_number_of_periods_that_cannot_be_cut_is_refused(credit_chain, artifact):
    inputs = [credit_chain[name] for name in ("train", "validation", "model")]
    with pytest.raises(ValueError, match="2 to 720 hold-outs, not 1"):
        backtest_credit_risk.python_func(*inputs, artifact("metrics"), artifact("report"), periods=1)
