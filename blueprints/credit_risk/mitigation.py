"""Mitigation of unfair gaps at training time: one booster, the same request, a price in ROC-AUC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from blueprints.credit_risk.application import encode_frame
from blueprints.credit_risk.fairness import groups
from blueprints.credit_risk.training import TrainedModel, TrainingReport, choose_policy, fit_booster, predict_margins
from blueprints.schema import Column, TableSchema

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Constraint = Literal["demographic_parity", "equalized_odds"]


def mitigate(
    model: TrainedModel,
    training: pd.DataFrame,
    validation: pd.DataFrame,
    schema: TableSchema,
    *,
    protected: str,
    constraint: Constraint = "equalized_odds",
    difference_bound: float = 0.02,
    iterations: int = 12,
) -> TrainedModel:
    """Retrains a model under a fairness constraint.

    Exponentiated gradient (Agarwal et al., 2018) finds the multipliers of the constraint; its answer is a random
    mixture of classifiers. A lender needs one model that gives one applicant one answer, explains it exactly and never
    asks for the protected column, so the booster is refitted once on the cost-sensitive problem of the best
    mixture's multipliers, with the parameters of `model`, then calibrated and given its threshold as any other.

    Args:
        model: The unmitigated model.
        training: Rows that `model` was trained on.
        validation: Rows for calibration and threshold.
        schema: Columns and their roles.
        protected: The protected column whose gaps shall shrink.
        constraint: Which gaps.
        difference_bound: Gap that the constraint allows during training, 0 to 1.
        iterations: Iterations of the exponentiated gradient.

    Raises:
        ValueError: `protected` is no protected column.
    """
    from fairlearn.reductions import DemographicParity, EqualizedOdds, ErrorRate, ExponentiatedGradient

    check_protected(protected, schema)
    parameters = dict(model.report.parameters)
    rounds = parameters.pop("rounds")
    features, target = encode_frame(training, model.columns), training[schema.target].to_numpy()
    membership = groups(training[protected], schema.column(protected))
    moments = {"demographic_parity": DemographicParity, "equalized_odds": EqualizedOdds}[constraint]
    costs = {"fn": model.policy.cost_false_negative, "fp": model.policy.cost_false_positive}
    # The costs stand in the objective, so a weight on the positives would count them twice.
    parameters["scale_pos_weight"] = 1.0
    gradient = ExponentiatedGradient(
        _Booster(model.columns, parameters, max(20, rounds // 3)),
        constraints=moments(difference_bound=difference_bound),
        objective=ErrorRate(costs=costs),
        max_iter=iterations,
    )
    gradient.fit(features, target, sensitive_features=membership)
    objective, penalty = ErrorRate(costs=costs), moments(difference_bound=difference_bound)
    objective.load_data(features, target, sensitive_features=membership)
    penalty.load_data(features, target, sensitive_features=membership)
    signed = (objective.signed_weights() + penalty.signed_weights(_multipliers(gradient))).to_numpy()
    weight = np.abs(signed)
    booster = fit_booster(
        features,
        (signed > 0).astype(int),
        model.columns,
        parameters,
        rounds,
        sample_weight=weight * len(weight) / weight.sum(),
    )
    return TrainedModel(
        columns=model.columns,
        booster=booster,
        policy=choose_policy(
            predict_margins(booster, encode_frame(validation, model.columns)),
            validation[schema.target].to_numpy(),
            cost_false_negative=model.policy.cost_false_negative,
            cost_false_positive=model.policy.cost_false_positive,
        ),
        report=TrainingReport(
            parameters={**parameters, "rounds": rounds},
            mitigation=f"{constraint} by {protected}",
            trials=model.report.trials,
            positives=model.report.positives,
            rows=model.report.rows,
        ),
    )


def check_protected(name: str, schema: TableSchema) -> None:
    """Refuses a column that a mitigation cannot look at.

    Raises:
        ValueError: The schema does not list it as protected.
    """
    if name not in schema.protected:
        known = ", ".join(schema.protected) or "none"
        raise ValueError(f"mitigation: {name!r} is no protected column of this dataset; there are: {known}")


def _multipliers(gradient: Any) -> pd.Series:
    """Multipliers of the saddle point that the linear program found at the best iteration, or the last one before."""
    solved = gradient.lambda_vecs_LP_
    multipliers: pd.Series = solved[
        max(iteration for iteration in solved.columns if iteration <= max(gradient.best_iter_, 1))
    ]
    return multipliers


class _Booster:
    """The estimator that Fairlearn's reduction fits again and again."""

    def __init__(self, columns: tuple[Column, ...], parameters: dict[str, Any], rounds: int) -> None:
        self.columns, self.parameters, self.rounds = columns, parameters, rounds

    def get_params(self, deep: bool = False) -> dict[str, Any]:  # noqa: ARG002 - scikit-learn's signature
        return {"columns": self.columns, "parameters": self.parameters, "rounds": self.rounds}

    def fit(self, features: NDArray[np.float32], target: Any, sample_weight: Any) -> _Booster:
        self._booster = fit_booster(
            np.asarray(features, np.float32),
            np.asarray(target),
            self.columns,
            self.parameters,
            self.rounds,
            sample_weight=np.asarray(sample_weight),
        )
        return self

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.integer]:
        return (predict_margins(self._booster, np.asarray(features, np.float32)) > 0).astype(int)
