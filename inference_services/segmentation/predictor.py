"""Predictor of segmentation: columns of features in, segments with distances and confidence out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from blueprints.schema import Column
from blueprints.segmentation.nearest_centroid import Assignment
from blueprints.segmentation.preprocessing import Preprocessing
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.segments import CONFIDENCE, SEGMENT, Segments
from inference_services.segmentation.schemas import DISTANCES, SEGMENT_ID, VERSION, Assignments, listed
from inference_services.serving.columns import FeatureColumns, tensor_spec
from inference_services.serving.instances import FeatureInstances, instances_schema, read_instances
from inference_services.serving.metrics import PredictionHistogram
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options
from inference_services.serving.server import serve
from inference_services.serving.tensors import InferCall, Output

# Standard deviations: squares of what is much further out leave single precision. And a round figure for what is near
# after all once its logarithm is taken.
_FARTHEST = 1e12
_LARGEST = 1e15


class SegmentPredictor(ServedModel):
    """Assigns rows of features to segments.

    Args:
        name: Name to answer under.
        package: The model package.
        max_rows: Largest batch.
    """

    role = "predictor"
    predictions: PredictionHistogram
    platform = "scikit-learn"

    def __init__(self, name: str, package: ModelPackage, *, max_rows: int) -> None:
        super().__init__(name)
        self.version = package.version
        self._segmenter = Segmenter.from_package(package)
        self._columns = FeatureColumns(bounded(package.signature.inputs, self._segmenter.preprocessing))
        self._instances = FeatureInstances(self._columns)
        self._assignments = Assignments(self._segmenter.segments)
        self.inputs = [tensor_spec(column) for column in self._columns.columns]
        self.outputs = self._assignments.tensors()
        self.schemas = {"Assignment": self._assignments.schema()}
        self.predictions = PredictionHistogram(package.signature.outputs, package.version)
        self._specs = {spec.name: spec for spec in self.outputs}
        self._max_rows = max_rows

    async def infer(self, call: InferCall) -> Sequence[Output]:
        """Answers a v2 request; without `outputs` with all of them."""
        features = self._columns.matrix(call.inputs, lambda name, row: ("body", "inputs", name, row))
        indices, distances, confidence = self._assign(features)
        values: dict[str, NDArray[Any] | list[str]] = {
            SEGMENT_ID: self._assignments.ids[indices],
            SEGMENT: self._assignments.named(indices),
            DISTANCES: distances,
            CONFIDENCE: confidence,
        }
        return [Output(self._specs[name], values[name]) for name in call.outputs or self._specs]

    def operations(self) -> Sequence[Operation]:
        """KServe's v1 predict."""
        return [
            Operation(
                "POST",
                f"/v1/models/{self.name}:predict",
                self._predict,
                "Segments of rows of features",
                "v1",
                listed("predictions", "Assignment"),
                request=instances_schema(self._instances.schema(), max_rows=self._max_rows),
                example={"instances": [example(self._columns.columns, self._segmenter.segments)]},
            )
        ]

    async def _predict(self, call: Call) -> Reply:
        features = self._instances.matrix(read_instances(call.json(), max_rows=self._max_rows))
        return json_reply({"predictions": self._assignments.json(*self._assign(features)), VERSION: self.version})

    def _assign(self, features: NDArray[np.float32]) -> Assignment:
        """Assigns and counts. A few milliseconds for ten thousand rows, less than reading them: no thread for it."""
        assigned = self._segmenter.assign(features)
        self.predictions.observe(SEGMENT, assigned.indices)
        self.predictions.observe(CONFIDENCE, assigned.confidence)
        return assigned


def example(columns: Sequence[Column], segments: Segments) -> dict[str, float]:
    """A row that can be sent: the first centroid."""
    centroid = segments.segments[0].centroid
    return {one.name: round(centroid[one.name], 0 if one.kind == "integer" else 2) for one in columns}


def bounded(columns: Sequence[Column], preprocessing: Preprocessing) -> tuple[Column, ...]:
    """The columns, with bounds beyond which their values could not be told apart in single precision.

    Args:
        columns: The signature's inputs.
        preprocessing: How their values become points.
    """
    return tuple(
        _within(column, _LARGEST if logged else min(_LARGEST, 10.0 ** math.floor(math.log10(_FARTHEST * scale))))
        for column, logged, scale in zip(columns, preprocessing.logged, preprocessing.scales.tolist(), strict=True)
    )


def _within(column: Column, reach: float) -> Column:
    return column.model_copy(
        update={
            "minimum": -reach if column.minimum is None else max(-reach, column.minimum),
            "maximum": reach if column.maximum is None else min(reach, column.maximum),
        }
    )


def build(package: ModelPackage, options: Options) -> SegmentPredictor:
    """The predictor of a model package."""
    return SegmentPredictor(options.model_name or package.signature.model_name, package, max_rows=options.max_rows)


if __name__ == "__main__":
    serve(build)
