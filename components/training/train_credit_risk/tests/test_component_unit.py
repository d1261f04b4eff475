from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from blueprints.credit_risk.training import TrainedModel
from components.training.train_credit_risk.component import train_credit_risk


@pytest.fixture
def train(credit_chain, artifact):
    def run(**parameters):
        model, metrics = artifact("model"), artifact("metrics")
        train_credit_risk.python_func(
            credit_chain["train"], credit_chain["validation"], model, metrics, trials=1, **parameters
        )
        return model, metrics.logged

    return run


def test_costs_reach_the_threshold_and_figures_are_logged(train, capsys):
    model, logged = train(cost_false_negative=1.0, cost_false_positive=9.0)
    trained = TrainedModel.load(Path(model.path))
    assert (trained.policy.cost_false_negative, trained.policy.cost_false_positive) == (1, 9)
    assert logged == {
        "best_cross_validated_roc_auc": max(trained.report.trials),
        "rounds": trained.report.parameters["rounds"],
        "threshold": trained.policy.threshold,
    }
    assert logged["threshold"] > 0.5
    assert model.metadata == {"framework": "xgboost", "dataset": "loans", "mitigation": "none"}
    assert not (Path(model.path) / "unmitigated").exists()
    assert "progress: 1/1 best cross-validated ROC-AUC" in capsys.readouterr().out


def test_a_mitigated_model_keeps_the_one_before_beside_it(train):
    model, _ = train(mitigation="demographic_parity")
    after, before = TrainedModel.load(Path(model.path)), TrainedModel.load(Path(model.path) / "unmitigated")
    assert (after.report.mitigation, before.report.mitigation) == ("demographic_parity by sex", "")
    assert after.booster.save_raw("ubj") != before.booster.save_raw("ubj")
    assert model.metadata["mitigation"] == "demographic_parity"


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"mitigation": "magic"}, ValidationError, "equalized_odds"),
        (
            {"mitigation": "equalized_odds", "mitigation_column": "income"},
            ValueError,
            "'income' is no protected column",
        ),
        ({"cost_false_negative": -1.0}, ValidationError, "cost_false_negative"),
    ],
)
def test_parameters_that_mean_nothing_are_refused_before_the_search(train, parameters, error, message, capsys):
    with pytest.raises(error, match=message):
        train(**parameters)
    assert "progress" not in capsys.readouterr().out
