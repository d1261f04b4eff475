from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blueprints.credit_risk.evaluation import Evaluation
from components.evaluation.evaluate_credit_risk.component import evaluate_credit_risk


def test_figures_are_kept_whole_and_logged_by_name(credit_chain):
    result = Evaluation.model_validate_json(Path(credit_chain["evaluation"].path).read_text())
    assert credit_chain["metrics"].logged == result.metrics()
    assert set(result.baselines) == {"logistic-regression scorecard", "LightGBM"}
    assert result.rows == 480
    assert result.model.roc_auc.value > 0.7


def test_the_kubeflow_ui_gets_a_roc_curve_and_a_confusion_matrix(credit_chain):
    logged = credit_chain["curves"].logged
    false_positive, true_positive, thresholds = map(np.array, logged["roc_curve"])
    assert (false_positive[0], true_positive[0], false_positive[-1], true_positive[-1]) == (0, 0, 1, 1)
    assert (np.diff(false_positive) >= 0).all()
    assert (np.diff(thresholds) <= 0).all()
    assert np.isfinite(thresholds).all()
    assert len(thresholds) <= 200
    labels, counts = logged["confusion_matrix"]
    assert labels == ["paid", "defaulted"]
    assert np.sum(counts) == 480


def test_the_report_shows_the_figures(credit_chain):
    page = Path(credit_chain["evaluation_report"].path).read_text()
    assert f"{credit_chain['metrics'].logged['roc_auc']:.4f}" in page
    assert "LightGBM" in page


def test_scores_of_other_rows_are_refused(credit_chain, artifact):
    short = artifact("baselines")
    pd.read_parquet(credit_chain["baselines"].path)[:-1].to_parquet(short.path)
    outputs = [artifact(name) for name in ("evaluation", "metrics", "curves", "report")]
    with pytest.raises(ValueError, match="479 scores for 480 test rows"):
        evaluate_credit_risk.python_func(credit_chain["test"], credit_chain["model"], short, *outputs)
