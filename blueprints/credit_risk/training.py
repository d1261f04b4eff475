"""Training: a seeded search for an XGBoost scorecard, its calibration and its decision threshold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from blueprints.credit_risk.application import encode_frame
from blueprints.credit_risk.scorer import POLICY, WEIGHTS, Calibration, Policy, feature_types
from blueprints.schema import Column, TableSchema
from blueprints.threads import default_threads

if TYPE_CHECKING:
    import pandas as pd
    import xgboost
    from numpy.typing import NDArray

Progress = Callable[[int, int, str], None]

COLUMNS = "columns.json"
REPORT = "training.json"


class TrainingConfig(BaseModel):
    """What a training run may be told.

    Attributes:
        trials: Hyperparameter settings that the search tries.
        folds: Cross-validation folds of each trial; expanding windows where rows have a time.
        max_rounds: Boosting rounds at the most; early stopping finds how many are worth it.
        early_stopping_rounds: Rounds without a better ROC-AUC after which a fold stops.
        cost_false_negative: Cost of accepting an applicant who defaults.
        cost_false_positive: Cost of declining an applicant who would have paid.
        with_protected: Let the model see protected columns. Off: a lender may not decide by them.
        seed: Seed of the search, the folds and the booster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(default=12, ge=1, le=500)
    folds: int = Field(default=3, ge=2, le=10)
    max_rounds: int = Field(default=1500, ge=1)
    early_stopping_rounds: int = Field(default=40, ge=1)
    cost_false_negative: float = Field(default=5.0, gt=0)
    cost_false_positive: float = Field(default=1.0, gt=0)
    with_protected: bool = False
    seed: int = Field(default=0, ge=0)


class TrainingReport(BaseModel):
    """What a training run did.

    Attributes:
        parameters: The booster's parameters, rounds included.
        trials: Mean cross-validated ROC-AUC of each trial, in order.
        positives: Share of defaults in the training rows.
        rows: Number of training rows.
        mitigation: Fairness constraint that it was trained under; empty if none.
    """

    parameters: dict[str, Any]
    trials: list[float]
    positives: float
    rows: int
    mitigation: str = ""


@dataclass(frozen=True)
class TrainedModel:
    """A booster with its calibration and threshold, not yet packaged.

    Attributes:
        columns: Input columns, in the order of the feature matrix.
        booster: The model.
        policy: Calibration and decision threshold.
        report: What training did.
    """

    columns: tuple[Column, ...]
    booster: xgboost.Booster
    policy: Policy
    report: TrainingReport

    def margins(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Log-odds of default before calibration, shape (n,)."""
        return predict_margins(self.booster, encode_frame(frame, self.columns))

    def probabilities(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Calibrated probabilities of default, shape (n,)."""
        return self.policy.calibration(self.margins(frame))

    def save(self, folder: Path) -> None:
        """Writes the model into a folder, in formats that cannot execute code."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).write_bytes(bytes(self.booster.save_raw("ubj")))
        (folder / POLICY).write_text(self.policy.model_dump_json(indent=2))
        (folder / REPORT).write_text(self.report.model_dump_json(indent=2))
        (folder / COLUMNS).write_text(json.dumps([column.model_dump(mode="json") for column in self.columns], indent=2))

    @classmethod
    def load(cls, folder: Path) -> TrainedModel:
        """Reads what `save` wrote."""
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray((folder / WEIGHTS).read_bytes()))
        return cls(
            columns=TypeAdapter(tuple[Column, ...]).validate_json((folder / COLUMNS).read_bytes()),
            booster=booster,
            policy=Policy.model_validate_json((folder / POLICY).read_bytes()),
            report=TrainingReport.model_validate_json((folder / REPORT).read_bytes()),
        )


def train(
    training: pd.DataFrame,
    validation: pd.DataFrame,
    schema: TableSchema,
    config: TrainingConfig,
    *,
    progress: Progress | None = None,
) -> TrainedModel:
    """Searches, trains, calibrates and chooses the threshold.

    The search cross-validates inside `training`; `validation` calibrates the final booster and chooses its
    threshold, so neither is fitted on rows that the booster has seen.

    Args:
        training: Typed rows, in time order where the schema has a time.
        validation: Rows that training must not see, later than `training` where rows have a time.
        schema: Columns and their roles.
        config: Settings.
        progress: Called with (done, total, words) after each trial.

    Raises:
        ValueError: All rows of a part have the same outcome, so nothing can be learned from it, or the schema names
            no target.
    """
    outcome = schema.outcome().name
    for part, rows in (("training", training), ("validation", validation)):
        if rows[outcome].nunique() < 2:
            raise ValueError(f"every {part} row has the same outcome; give more rows or another split")
    columns = schema.features(with_protected=config.with_protected)
    features, target = encode_frame(training, columns), training[schema.target].to_numpy()
    folds = list(_folds(target, config, chronological=schema.time is not None))
    parameters, rounds, trials = _search(features, target, columns, folds, config, progress)
    booster = fit_booster(features, target, columns, parameters, rounds)
    return TrainedModel(
        columns=columns,
        booster=booster,
        policy=choose_policy(
            predict_margins(booster, encode_frame(validation, columns)),
            validation[schema.target].to_numpy(),
            cost_false_negative=config.cost_false_negative,
            cost_false_positive=config.cost_false_positive,
        ),
        report=TrainingReport(
            parameters={**parameters, "rounds": rounds},
            trials=trials,
            positives=float(target.mean()),
            rows=len(target),
        ),
    )


def fit_booster(
    features: NDArray[np.float32],
    target: NDArray[np.integer],
    columns: tuple[Column, ...],
    parameters: dict[str, Any],
    rounds: int,
    *,
    sample_weight: NDArray[np.floating] | None = None,
) -> xgboost.Booster:
    """Fits one booster with given parameters and rounds; categories and missing values are handled natively."""
    import xgboost

    return xgboost.train(parameters, _matrix(features, target, columns, weight=sample_weight), num_boost_round=rounds)


def predict_margins(booster: xgboost.Booster, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-odds of the event, shape (n,)."""
    margins: NDArray[np.float32] = booster.inplace_predict(features, predict_type="margin", validate_features=False)
    return margins


def fit_calibration(margins: NDArray[np.floating], target: NDArray[np.integer], *, knots: int = 401) -> Calibration:
    """Calibrates margins by Platt scaling (Platt, 1999): a logistic regression on the margin, as a table of knots.

    It undoes the shift that `scale_pos_weight` puts on the log-odds, keeps their order and so the ROC-AUC, and at
    401 knots deviates from the exact sigmoid by less than 1e-3.

    Args:
        margins: Log-odds on rows that the booster has not seen, shape (n,).
        target: Their outcomes, 0 or 1, shape (n,).
        knots: Points of the table.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(margins.reshape(-1, 1), target)
    slope, intercept = max(float(fitted.coef_[0, 0]), 1e-6), float(fitted.intercept_[0])
    # Evenly spaced where the sigmoid moves: calibrated log-odds of -10 to 10.
    log_odds = np.linspace(-10, 10, knots)
    return Calibration(
        method="platt",
        margins=tuple((log_odds - intercept) / slope),
        probabilities=tuple(1 / (1 + np.exp(-log_odds))),
    )


def choose_policy(
    margins: NDArray[np.floating],
    target: NDArray[np.integer],
    *,
    cost_false_negative: float,
    cost_false_positive: float,
) -> Policy:
    """Calibrates margins and chooses the threshold, both on validation rows.

    Args:
        margins: Log-odds on rows that the booster has not seen, shape (n,).
        target: Their outcomes, 0 or 1, shape (n,).
        cost_false_negative: Cost of accepting an applicant who defaults.
        cost_false_positive: Cost of declining an applicant who would have paid.
    """
    calibration = fit_calibration(margins, target)
    return Policy(
        threshold=choose_threshold(calibration(margins), target, cost_false_negative, cost_false_positive),
        cost_false_negative=cost_false_negative,
        cost_false_positive=cost_false_positive,
        calibration=calibration,
    )


def choose_threshold(
    probabilities: NDArray[np.floating],
    target: NDArray[np.integer],
    cost_false_negative: float,
    cost_false_positive: float,
) -> float:
    """The threshold with the least cost (Elkan, 2001); applicants at or above it are declined.

    Args:
        probabilities: Calibrated, below 1, shape (n,).
        target: Outcomes, shape (n,).
        cost_false_negative: Cost of accepting an applicant who defaults.
        cost_false_positive: Cost of declining an applicant who would have paid.
    """
    order = np.argsort(-probabilities, kind="stable")
    sorted_probabilities, sorted_target = probabilities[order], target[order]
    # Entry i: the i riskiest applicants are declined.
    declined_payers = np.concatenate([[0], np.cumsum(1 - sorted_target)])
    accepted_defaulters = sorted_target.sum() - np.concatenate([[0], np.cumsum(sorted_target)])
    cost = cost_false_negative * accepted_defaulters + cost_false_positive * declined_payers
    # A cut inside a run of equal probabilities is none.
    distinct = np.concatenate([[True], sorted_probabilities[1:] != sorted_probabilities[:-1], [True]])
    best = int(np.argmin(np.where(distinct, cost, np.inf)))
    if best == 0:
        return 1.0
    if best == len(sorted_probabilities):
        return 0.0
    declined, accepted = sorted_probabilities[best - 1], sorted_probabilities[best]
    # Between neighbouring floats the mean may round to the lower one, which would be declined, too.
    middle = (declined + accepted) / 2
    return float(middle if middle > accepted else declined)


def _search(
    features: NDArray[np.float32],
    target: NDArray[np.integer],
    columns: tuple[Column, ...],
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    config: TrainingConfig,
    progress: Progress | None,
) -> tuple[dict[str, Any], int, list[float]]:
    import optuna
    import xgboost

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    positives = target.sum()
    fixed = {
        "objective": "binary:logistic",
        "eval_metric": "auc",
        "tree_method": "hist",
        "scale_pos_weight": float((len(target) - positives) / positives),
        "seed": config.seed,
        # One thread a booster and a booster a core: as fast as the reverse, and it does not stall on a busy machine.
        "nthread": 1,
    }
    pairs = []
    for fit_rows, score_rows in folds:
        fitting = _matrix(features[fit_rows], target[fit_rows], columns)
        scoring = _matrix(features[score_rows], target[score_rows], columns, ref=fitting)
        pairs.append((fitting, scoring, len(fit_rows)))

    def objective(trial: optuna.Trial) -> float:
        # Exact SHAP values cost trees x leaves x depth^2: deeper trees rank no better here and explain far slower.
        parameters = {
            **fixed,
            "max_depth": trial.suggest_int("max_depth", 3, 4),
            "eta": trial.suggest_float("eta", 0.03, 0.12, log=True),
            "subsample": trial.suggest_float("subsample", 0.6, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
            "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 50.0, log=True),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.5, 20.0, log=True),
        }

        def fit(fold: tuple[xgboost.QuantileDMatrix, xgboost.QuantileDMatrix, int]) -> tuple[float, float]:
            fitting, scoring, rows = fold
            booster = xgboost.train(
                parameters,
                fitting,
                num_boost_round=config.max_rounds,
                evals=[(scoring, "fold")],
                early_stopping_rounds=config.early_stopping_rounds,
                verbose_eval=False,
            )
            # More rows carry proportionally more rounds.
            return booster.best_score, (booster.best_iteration + 1) * len(target) / rows

        scores, rounds = zip(*threads.map(fit, pairs), strict=True)
        trial.set_user_attr("parameters", parameters)
        trial.set_user_attr("rounds", max(1, round(float(np.mean(rounds)))))
        return float(np.mean(scores))

    def report(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if progress is not None:
            progress(trial.number + 1, config.trials, f"best cross-validated ROC-AUC {study.best_value:.4f}")

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=config.seed))
    # The field's usual setting first, so that a short search never ends below it.
    study.enqueue_trial(
        {"max_depth": 4, "eta": 0.05, "subsample": 0.8, "colsample_bytree": 0.6, "min_child_weight": 5, "reg_lambda": 3}
    )
    with ThreadPoolExecutor(default_threads()) as threads:
        study.optimize(objective, n_trials=config.trials, callbacks=[report])
    best = study.best_trial.user_attrs
    return best["parameters"], best["rounds"], [float(trial.value or 0.0) for trial in study.trials]


def _folds(
    target: NDArray[np.integer], config: TrainingConfig, *, chronological: bool
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    from sklearn.model_selection import StratifiedKFold, TimeSeriesSplit

    rows = np.zeros(len(target))
    if chronological:
        return TimeSeriesSplit(config.folds).split(rows)  # type: ignore[no-any-return]
    return StratifiedKFold(config.folds, shuffle=True, random_state=config.seed).split(rows, target)  # type: ignore[no-any-return]


def _matrix(
    features: NDArray[np.float32],
    target: NDArray[np.integer],
    columns: tuple[Column, ...],
    *,
    weight: NDArray[np.floating] | None = None,
    ref: xgboost.QuantileDMatrix | None = None,
) -> xgboost.QuantileDMatrix:
    import xgboost

    return xgboost.QuantileDMatrix(
        features,
        target,
        weight=weight,
        feature_names=[column.name for column in columns],
        feature_types=feature_types(columns),
        ref=ref,
    )
