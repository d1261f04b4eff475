"""The trained scorecard as servers use it: calibrated probabilities and exact SHAP values from one booster."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blueprints.model_package import ModelPackage, PackageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xgboost
    from numpy.typing import NDArray

    from blueprints.schema import Column

WEIGHTS = "model.ubj"
POLICY = "policy.json"


class Calibration(BaseModel):
    """Monotone map from the booster's margin (log-odds) to a probability: linear between knots, flat outside.

    Isotonic regression (Zadrozny & Elkan, 2002) and Platt scaling both reduce to such a table, so a server needs no
    scikit-learn to apply either.

    Attributes:
        method: How the knots were fitted.
        margins: Knots, strictly ascending log-odds.
        probabilities: Calibrated probability at each knot, non-decreasing, 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    margins: tuple[float, ...] = Field(min_length=2)
    probabilities: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _is_monotone(self) -> Self:
        margins, probabilities = np.asarray(self.margins), np.asarray(self.probabilities)
        if margins.shape != probabilities.shape:
            raise ValueError("calibration: as many probabilities as margins")
        if not (np.all(np.isfinite(margins)) and np.all(np.diff(margins) > 0)):
            raise ValueError("calibration: margins must be finite and strictly ascending")
        if not (np.all(probabilities >= 0) and np.all(probabilities <= 1) and np.all(np.diff(probabilities) >= 0)):
            raise ValueError("calibration: probabilities must lie in 0 to 1 and never fall")
        return self

    @cached_property
    def knots(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Margins and probabilities as arrays."""
        return np.asarray(self.margins, np.float64), np.asarray(self.probabilities, np.float64)

    def __eq__(self, other: object) -> bool:
        # Pydantic would compare the cached arrays too.
        return isinstance(other, Calibration) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash((self.method, self.margins, self.probabilities))

    def __call__(self, margins: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of log-odds, same shape."""
        probabilities: NDArray[np.float64] = np.interp(margins, *self.knots)
        return probabilities


class Policy(BaseModel):
    """How a probability becomes a decision.

    Attributes:
        threshold: Applications at or above this probability of default are declined.
        cost_false_negative: Cost of accepting an applicant who defaults, in units of `cost_false_positive`.
        cost_false_positive: Cost of declining an applicant who would have paid.
        calibration: From margins to probabilities.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(ge=0, le=1)
    cost_false_negative: float = Field(gt=0)
    cost_false_positive: float = Field(gt=0)
    calibration: Calibration


class Explained(NamedTuple):
    """Margins and where they come from.

    Attributes:
        margins: Log-odds of default, shape (n,).
        contributions: SHAP values in log-odds, shape (n, k).
        base_values: The mean margin that contributions start from, shape (n,); each row's contributions and base
            value sum to its margin.
    """

    margins: NDArray[np.floating]
    contributions: NDArray[np.floating]
    base_values: NDArray[np.floating]


class CreditScorer:
    """A calibrated XGBoost scorecard, loaded from a verified model package.

    Thread-safe for prediction. Feature matrices are float32 of shape (n, k), columns in the order of
    `signature.inputs`, categories as codes, missing values as NaN.

    Args:
        package: The verified package.
        threads: Threads that one call may use; 1 is fastest for single applications.

    Raises:
        PackageError: The weights cannot be read, or do not fit the signature.
    """

    def __init__(self, package: ModelPackage, *, threads: int = 1) -> None:
        import xgboost

        self.signature = package.signature
        self.version = package.version
        self.policy = package.document(POLICY, Policy)
        self._threads = threads
        self._booster = xgboost.Booster({"nthread": threads})
        try:
            self._booster.load_model(bytearray(package.read_bytes(WEIGHTS)))
        except xgboost.core.XGBoostError as error:
            raise PackageError(f"{package.folder}: {WEIGHTS} is no XGBoost model") from error
        self._booster.set_param({"nthread": threads})
        names = [column.name for column in self.columns]
        if self._booster.feature_names != names:
            raise PackageError(f"{package.folder}: {WEIGHTS} was trained on other features than signature.json names")

    @property
    def columns(self) -> tuple[Column, ...]:
        """The input columns, in the order of the feature matrix."""
        return self.signature.inputs

    @property
    def booster(self) -> xgboost.Booster:
        """The model itself, for tools that explain it in their own way."""
        return self._booster

    def margins(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-odds of default before calibration, shape (n,)."""
        return self._margins(self._matrix(features))

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities of default, shape (n,), 0 to 1."""
        return self.policy.calibration(self.margins(features))

    def explain(self, features: NDArray[np.float32]) -> Explained:
        """Margins with their exact SHAP values (Lundberg et al., 2020, "TreeSHAP")."""
        matrix = self._matrix(features)
        values = self._booster.predict(matrix, pred_contribs=True, validate_features=False)
        return Explained(self._margins(matrix), values[:, :-1], values[:, -1])

    def _matrix(self, features: NDArray[np.float32]) -> xgboost.DMatrix:
        import xgboost

        # The trees know their categories; naming features and types again costs more than the matrix itself.
        return xgboost.DMatrix(features, nthread=self._threads)

    def _margins(self, matrix: xgboost.DMatrix) -> NDArray[np.float32]:
        margins: NDArray[np.float32] = self._booster.predict(matrix, output_margin=True, validate_features=False)
        return margins


def feature_types(columns: Sequence[Column]) -> list[str]:
    """XGBoost's feature types: `c` for categories, `q` for all else."""
    return ["c" if column.kind == "category" else "q" for column in columns]
