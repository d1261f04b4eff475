"""Global explanation: which features drive a scorecard, by exact SHAP values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from blueprints.credit_risk.application import encode_frame
from blueprints.credit_risk.scorer import feature_types
from blueprints.credit_risk.training import TrainedModel

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class FeatureImportance(BaseModel):
    """One feature's part in the decisions.

    Attributes:
        feature: Its name.
        label: Its name in plain words.
        mean_contribution: Mean absolute SHAP value, in log-odds.
        share: Its share of all mean contributions, 0 to 1.
    """

    feature: str
    label: str
    mean_contribution: float
    share: float


@dataclass(frozen=True)
class GlobalExplanation:
    """SHAP values of a sample.

    Attributes:
        labels: Feature names in plain words, length k.
        contributions: SHAP values in log-odds, shape (n, k).
        values: Encoded feature values, shape (n, k).
        ranking: Features by mean contribution, largest first.
    """

    labels: tuple[str, ...]
    contributions: NDArray[np.float32]
    values: NDArray[np.float32]
    ranking: tuple[FeatureImportance, ...]


def explain_model(model: TrainedModel, frame: pd.DataFrame, *, rows: int = 1500, seed: int = 0) -> GlobalExplanation:
    """Explains a model on a random sample of a table.

    Args:
        model: The trained model.
        frame: Typed rows.
        rows: Size of the sample.
        seed: Seed of the sample.
    """
    import xgboost

    sample = frame.sample(n=min(rows, len(frame)), random_state=seed)
    values = encode_frame(sample, model.columns)
    matrix = xgboost.DMatrix(
        values, feature_names=model.booster.feature_names, feature_types=feature_types(model.columns)
    )
    contributions = model.booster.predict(matrix, pred_contribs=True)[:, :-1]
    means = np.abs(contributions).mean(axis=0)
    ranking = [
        FeatureImportance(
            feature=column.name,
            label=column.label,
            mean_contribution=float(mean),
            share=float(mean / means.sum()) if means.sum() else 0.0,
        )
        for column, mean in zip(model.columns, means, strict=True)
    ]
    return GlobalExplanation(
        labels=tuple(column.label for column in model.columns),
        contributions=contributions,
        values=values,
        ranking=tuple(sorted(ranking, key=lambda row: -row.mean_contribution)),
    )
