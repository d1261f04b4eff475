"""Predictor of credit risk: columns of numbers and codes in, calibrated probabilities of default out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.credit_risk.scorer import CreditScorer
from blueprints.model_package import ModelPackage
from blueprints.schema import Column
from inference_services.credit_risk.scoring import BatchedScorer
from inference_services.serving.columns import FeatureColumns, tensor_spec
from inference_services.serving.errors import refuse
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
        row = {column.name: _value_schema(column) for column in self._columns.columns}
        instance = {
            "oneOf": [
                {"type": "object", "required": list(row), "properties": row, "additionalProperties": False},
                {
                    "type": "array",
                    "prefixItems": list(row.values()),
                    "items": False,
                    "minItems": len(row),
                    "maxItems": len(row),
                },
            ]
        }
        request = {
            "type": "object",
            "required": ["instances"],
            "additionalProperties": False,
            "properties": {
                "instances": {"type": "array", "items": instance, "minItems": 1, "maxItems": self._max_rows}
            },
        }
        response = {
            "type": "object",
            "required": ["predictions", "model_version"],
            "properties": {
                "predictions": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}},
                "model_version": {"type": "string"},
            },
        }
        path = f"/v1/models/{self.name}:predict"
        return [Operation("POST", path, self._predict, "Probabilities of default", "v1", response, request=request)]

    async def _predict(self, call: Call) -> Reply:
        instances = read_instances(call.json(), max_rows=self._max_rows)
        columns = self._transpose(instances)
        features = self._columns.matrix(columns, lambda name, row: ("body", "instances", row, name))
        probabilities = self._scorer.calibration(await self._scorer.margins(features))
        self.predictions.observe(PROBABILITY, probabilities)
        return json_reply({"predictions": probabilities, "model_version": self.version})

    def _transpose(self, instances: list[Any]) -> dict[str, list[Any]]:
        names = self._columns.names
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for index, instance in enumerate(instances):
            if type(instance) is list and len(instance) == len(names):
                values = instance
            elif type(instance) is dict and instance.keys() == columns.keys():
                values = [instance[name] for name in names]
            else:
                raise self._malformed(index, instance)
            for name, value in zip(names, values, strict=True):
                columns[name].append(value)
        return columns

    def _malformed(self, index: int, instance: Any) -> Exception:
        names = self._columns.names
        if type(instance) is list:
            message = f"must hold {len(names)} numbers, not {len(instance)}: {', '.join(names)}"
            return refuse(("body", "instances", index), message, "length_mismatch")
        if type(instance) is not dict:
            return refuse(("body", "instances", index), "must be an array of numbers or an object", "dict_type")
        for name in names:
            if name not in instance:
                return refuse(("body", "instances", index, name), "is missing", "missing")
        extra = next(key for key in instance if key not in names)
        message = f"no column has this name; known are {', '.join(names)}"
        return refuse(("body", "instances", index, extra[:80]), message, "extra_forbidden")


def _value_schema(column: Column) -> dict[str, Any]:
    """JSON Schema of a number or code."""
    schema: dict[str, Any] = {"title": column.label, "type": "number" if column.kind == "number" else "integer"}
    if column.kind == "category":
        codes = ", ".join(f"{code} = {label}" for code, label in enumerate(column.categories))
        schema |= {"minimum": 0, "maximum": len(column.categories) - 1, "description": codes}
    else:
        bounds = {"minimum": column.minimum, "maximum": column.maximum}
        schema |= {bound: value for bound, value in bounds.items() if value is not None}
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
    return schema


def read_instances(body: Any, *, max_rows: int) -> list[Any]:
    """The instances of a v1 request.

    Raises:
        RequestError: There are none, too many, or something else beside them.
    """
    if type(body) is not dict:
        raise refuse(("body",), "must be an object with 'instances'", "dict_type")
    for key in body:
        if key != "instances":
            raise refuse(("body", key[:80]), "unknown field; give 'instances' only", "extra_forbidden")
    instances = body.get("instances")
    if type(instances) is not list:
        kind = "list_type" if "instances" in body else "missing"
        raise refuse(("body", "instances"), "must be an array with one entry a row", kind)
    if not instances:
        raise refuse(("body", "instances"), "is empty: send at least one row", "too_short")
    if len(instances) > max_rows:
        raise refuse(("body", "instances"), f"at most {max_rows} rows in one request, not {len(instances)}", "too_long")
    return instances


def build(package: ModelPackage, options: Options) -> CreditPredictor:
    """The predictor of a model package."""
    scorer = CreditScorer(package)
    return CreditPredictor(options.model_name or package.signature.model_name, scorer, max_rows=options.max_rows)


if __name__ == "__main__":
    serve(build)
