"""Transformer of segmentation: customers in, their features from the online store to the predictor, segments out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from blueprints.segmentation.segments import CONFIDENCE, SEGMENT, SEGMENTS, Segments
from blueprints.segmentation.transactions import CUSTOMER
from inference_services.segmentation.online_store import OnlineStore
from inference_services.segmentation.schemas import (
    AS_OF,
    CUSTOMERS,
    DISTANCES,
    SEGMENT_ID,
    VERSION,
    Assignments,
    Customers,
    Locate,
    listed,
    unknown_customers,
)
from inference_services.serving.columns import FeatureColumns
from inference_services.serving.errors import Location
from inference_services.serving.instances import instances_schema
from inference_services.serving.metrics import PredictionHistogram
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options
from inference_services.serving.server import serve
from inference_services.serving.tensors import InferCall, Output, TensorSpec
from inference_services.serving.upstream import Upstream

_UNKNOWN = {404: "The online store has no features of a customer; the answer says of whom"}
# Rows that one request to the predictor holds: about a megabyte of JSON.
_ROWS = 5_000
_EXAMPLE = 1


class _Segmented(NamedTuple):
    """Where customers belong, and the time of the features that say so."""

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    confidence: NDArray[np.float32]
    as_of: list[str]


class SegmentTransformer(ServedModel):
    """Tells the segments of customers.

    Args:
        name: Name to answer under, and of the predictor's model.
        package: The model package; its version is the only one that a predictor may answer with.
        predictor: Who is asked.
        store: Where features are read.
        options: Limits.
    """

    role = "transformer"
    predictions: PredictionHistogram
    platform = "segmentation-customer"
    infer_responses = _UNKNOWN

    def __init__(
        self, name: str, package: ModelPackage, predictor: Upstream, store: OnlineStore, options: Options
    ) -> None:
        super().__init__(name)
        self.version = package.version
        self._columns = package.signature.inputs
        self._assignments = Assignments(package.document(SEGMENTS, Segments))
        self._customers = Customers(max_rows=options.max_rows)
        self.inputs = [TensorSpec(CUSTOMER, "INT64", also=("INT32",))]
        self.outputs = [TensorSpec(CUSTOMER, "INT64"), *self._assignments.tensors(), TensorSpec(AS_OF, "BYTES")]
        self.schemas = {
            **self._customers.schemas(),
            "Prediction": self._assignments.schema(
                **{
                    CUSTOMER: {"$ref": "#/components/schemas/CustomerId"},
                    AS_OF: {"type": "string", "format": "date-time", "description": "Purchases before this count."},
                }
            ),
        }
        self.predictions = PredictionHistogram(package.signature.outputs, package.version)
        self._specs = {spec.name: spec for spec in self.outputs}
        self._store = store
        self._max_rows = options.max_rows
        self._predictor = predictor

    async def start_up(self) -> None:
        """Opens the connections to the predictor."""
        await self._predictor.open()

    async def shut_down(self) -> None:
        """Closes them, and the store's."""
        await self._predictor.close()
        self._store.close()

    async def healthy(self) -> bool:
        """Whether the predictor is ready, with the same version, and the online store was there once."""
        return await self._predictor.ready() and await self._store.reached()

    async def infer(self, call: InferCall) -> Sequence[Output]:
        """Answers a v2 request with the tensor `customer_id`."""

        def loc(row: int) -> Location:
            return ("body", "inputs", CUSTOMER, row)

        given = call.inputs[CUSTOMER]
        customers = self._customers.check(given.tolist() if isinstance(given, np.ndarray) else given, loc)
        found = await self._segments(customers, loc, call.request_id, call.deadline)
        values: dict[str, NDArray[Any] | list[str]] = {
            CUSTOMER: np.array(customers, np.int64),
            SEGMENT_ID: self._assignments.ids[found.indices],
            SEGMENT: self._assignments.named(found.indices),
            DISTANCES: found.distances,
            CONFIDENCE: found.confidence,
            AS_OF: found.as_of,
        }
        return [Output(self._specs[name], values[name]) for name in call.outputs or self._specs]

    def operations(self) -> Sequence[Operation]:
        """The typed `/predict`, and KServe's v1 predict."""
        version = {"type": "object", "required": [VERSION], "properties": {VERSION: {"type": "string"}}}
        one = {"allOf": [{"$ref": "#/components/schemas/Prediction"}, version]}
        several = listed("predictions", "Prediction")
        return [
            Operation(
                "POST",
                "/predict",
                self._predict_typed,
                "Segment of a customer, or of several under 'customer_ids'",
                "segments",
                {"anyOf": [one, several]},
                request=self._customers.typed_request(),
                example={CUSTOMER: _EXAMPLE},
                responses=_UNKNOWN,
            ),
            Operation(
                "POST",
                f"/v1/models/{self.name}:predict",
                self._predict_v1,
                "Segments of customers",
                "v1",
                several,
                request=instances_schema(self._customers.instance_schema(), max_rows=self._max_rows),
                example={"instances": [{CUSTOMER: _EXAMPLE}]},
                responses=_UNKNOWN,
            ),
        ]

    async def _predict_typed(self, call: Call) -> Reply:
        customers, single = self._customers.read_typed(call.json())
        if single:
            (answer,) = await self._answers(customers, lambda _: ("body", CUSTOMER), call)
            return json_reply({**answer, VERSION: self.version})
        answers = await self._answers(customers, lambda row: ("body", CUSTOMERS, row), call)
        return json_reply({"predictions": answers, VERSION: self.version})

    async def _predict_v1(self, call: Call) -> Reply:
        answers = await self._answers(*self._customers.read_instances(call.json()), call)
        return json_reply({"predictions": answers, VERSION: self.version})

    async def _answers(self, customers: Sequence[int], loc: Locate, call: Call) -> list[dict[str, Any]]:
        found = await self._segments(customers, loc, call.request_id, call.deadline)
        with self._predictor.postprocessing.time():
            assigned = self._assignments.json(found.indices, found.distances, found.confidence)
            return [
                {CUSTOMER: customer, **answer, AS_OF: as_of}
                for customer, answer, as_of in zip(customers, assigned, found.as_of, strict=True)
            ]

    async def _segments(self, customers: Sequence[int], loc: Locate, request_id: str, deadline: float) -> _Segmented:
        """Reads the features of customers, once, and asks the predictor.

        Raises:
            RequestError: 404: the store does not know somebody; 503: the store or the predictor is down.
            TimeoutError: The deadline is over.
        """
        with self._predictor.preprocessing.time():
            rows = await self._store.read(customers)
        if unknown := unknown_customers(customers, rows.found, loc):
            raise unknown
        indices = np.empty(len(customers), np.int32)
        distances = np.empty((len(customers), len(self._assignments.ids)), np.float32)
        confidence = np.empty(len(customers), np.float32)
        size = min(_ROWS, self._max_rows)
        for start in range(0, len(customers), size):
            part = slice(start, start + size)
            scored = await self._predictor.infer(
                self._tensors(rows.matrix[part]), (SEGMENT_ID, DISTANCES, CONFIDENCE), request_id, deadline
            )
            indices[part] = self._assignments.positions(scored[SEGMENT_ID])
            distances[part], confidence[part] = scored[DISTANCES], scored[CONFIDENCE]
        self.predictions.observe(SEGMENT, indices)
        self.predictions.observe(CONFIDENCE, confidence)
        as_of = np.datetime_as_string(rows.as_of, unit="s", timezone="UTC").tolist()
        return _Segmented(indices, distances, confidence, as_of)

    def _tensors(self, matrix: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {
            column.name: values if column.kind == "number" or column.nullable else values.astype(np.int64)
            for column, values in zip(self._columns, np.ascontiguousarray(matrix.T), strict=True)
        }


def build(package: ModelPackage, options: Options) -> SegmentTransformer:
    """The transformer of a model package.

    Raises:
        SystemExit: There is no predictor, or no online store with the model's features.
    """
    name = options.model_name or package.signature.model_name
    predictor = Upstream(name, package, options)
    store = OnlineStore.open(FeatureColumns(package.signature.inputs))
    return SegmentTransformer(name, package, predictor, store, options)


if __name__ == "__main__":
    serve(build)
