from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blueprints.sentiment.evaluation import TextEvaluation
from components.evaluation.evaluate_text_classifier.component import evaluate_text_classifier


def test_figures_are_kept_whole_and_logged_by_name(text_chain):
    result = TextEvaluation.model_validate_json(Path(text_chain["evaluation"].path).read_text())
    assert text_chain["metrics"].logged == result.metrics()
    assert result.rows == 160
    assert result.model.accuracy.value > 0.8
    assert result.baselines.keys() == set(text_chain["baselines"].metadata["baselines"].split(", "))
    assert {part.by for part in result.slices} == {"source", "characters", "tokens"}
    assert result.robustness.rows == 20


def test_the_kubeflow_ui_gets_a_confusion_matrix(text_chain):
    labels, counts = text_chain["confusion"].logged["confusion_matrix"]
    assert labels == ["negative", "positive"]
    assert np.sum(counts) == 160


def test_the_report_shows_the_figures(text_chain):
    page = Path(text_chain["evaluation_report"].path).read_text()
    assert f"{text_chain['metrics'].logged['accuracy']:.4f}" in page
    assert "neighbouring keys" in page


def test_scores_of_other_rows_are_refused(text_chain, artifact):
    short = artifact("baselines")
    pd.read_parquet(text_chain["baselines"].path)[:-1].to_parquet(short.path)
    outputs = [artifact(name) for name in ("evaluation", "metrics", "confusion", "report")]
    with pytest.raises(ValueError, match="for 160 test rows"):
        evaluate_text_classifier.python_func(text_chain["test"], text_chain["model"], short, *outputs)
