from __future__ import annotations

from pathlib import Path

from blueprints.credit_risk.training import TrainedModel
from components.training.train_credit_risk.component import train_credit_risk


def test_a_model_is_trained_by_a_real_run_and_equals_the_one_of_the_same_seed(run_component, credit_chain):
    inputs = {part: credit_chain[part] for part in ("train", "validation")}
    run = run_component(train_credit_risk, inputs, trials=1)
    trained = TrainedModel.load(run.folder / "model")
    assert run.metadata["metrics"]["threshold"] == trained.policy.threshold
    same = TrainedModel.load(Path(credit_chain["model"].path))
    assert trained.booster.save_raw("ubj") == same.booster.save_raw("ubj")
