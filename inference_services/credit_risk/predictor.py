"""Predictor of credit risk: columns of numbers and codes in, calibrated probabilities of default out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blueprints.credit_risk.scorer import CreditScorer
from blueprints.model_package import ModelPackage
from inference_services.credit_risk.scoring import BatchedScorer
from inference_services.serving.columns import FeatureColumns, tensor_spec
from inference_services.serving.instances import FeatureInstances, instances_schema, read_instances
from inference_services.serving.metrics import PredictionHistogram
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options
from inference_services.serving.server import serve
from inference_services.serving.tensors import InferCall, Output, TensorSpec

PROBABILITY = "probability_of_default"
MARGIN = "margin"
CONTRIBUTIONS = "contributions"
BASE_VALUE = "base_value"


class CreditPredictor(ServedModel):
    """Scores feature rows; on request with their exact SHAP values.

    Args:
        name: Name to answer under.
        scorer: The scorecard.
        max_rows: Largest batch.
    """

    role = "predictor"
    predictions: PredictionHistogram
    platform = "xgboost"

    def __init__(self, name: str, scorer: CreditScorer, *, max_rows: int) -> None:
        super().__init__(name)
        self.version = scorer.version
        self.inputs = [tensor_spec(column) for column in scorer.columns]
        self.outputs = [
            TensorSpec(PROBABILITY, "FP64"),
            TensorSpec(MARGIN, "FP32"),
            TensorSpec(CONTRIBUTIONS, "FP32", (-1, len(scorer.columns))),
            TensorSpec(BASE_VALUE, "FP32"),
        ]
        self.predictions = PredictionHistogram(scorer.signature.outputs, scorer.version)
        self._specs = {spec.name: spec for spec in self.outputs}
        self._columns = FeatureColumns(scorer.columns)
        self._instances = FeatureInstances(self._columns)
        self._scorer = BatchedScorer(scorer)
        self._max_rows = max_rows

    async def infer(self, call: InferCall) -> Sequence[Output]:
        """Answers a v2 request; without `outputs` only the probability."""
        features = self._columns.matrix(call.inputs, lambda name, row: ("body", "inputs", name, row))
        asked = call.outputs or (PROBABILITY,)
        values: dict[str, NDArray[np.floating]] = {}
        if CONTRIBUTIONS in asked or BASE_VALUE in asked:
            values[MARGIN], values[CONTRIBUTIONS], values[BASE_VALUE] = await self._scorer.explain(features)
        else:
            values[MARGIN] = await self._scorer.margins(features)
        if PROBABILITY in asked:
            values[PROBABILITY] = self._scorer.calibration(values[MARGIN])
            self.predictions.observe(PROBABILITY, values[PROBABILITY])
        return [Output(self._specs[name], values[name]) for name in asked]

    def operations(self) -> Sequence[Operation]:
        """KServe's v1 predict."""
        response = {
            "type": "object",
            "required": ["predictions", "model_version"],
            "properties": {
                "predictions": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}},
                "model_version": {"type": "string"},
            },
        }
        path = f"/v1/models/{self.name}:predict"
        request = instances_schema(self._instances.schema(), max_rows=self._max_rows)
        return [Operation("POST", path, self._predict, "Probabilities of default", "v1", response, request=request)]

    async def _predict(self, call: Call) -> Reply:
        features = self._instances.matrix(read_instances(call.json(), max_rows=self._max_rows))
        probabilities = self._scorer.calibration(await self._scorer.margins(features))
        self.predictions.observe(PROBABILITY, probabilities)
        return json_reply({"predictions": probabilities, "model_version": self.version})


def build(package: ModelPackage, options: Options) -> CreditPredictor:
    """The predictor of a model package."""
    scorer = CreditScorer(package)
    return CreditPredictor(options.model_name or package.signature.model_name, scorer, max_rows=options.max_rows)


if __name__ == "__main__":
    serve(build)
