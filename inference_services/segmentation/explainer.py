"""Explainer of segmentation: which features put a customer into a segment rather than into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from kserve.metrics import EXPLAIN_HIST_TIME, get_labels
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from blueprints.segmentation.reasons import Reason, Reasons, give_reasons
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.segments import CONFIDENCE, SEGMENT
from blueprints.segmentation.transactions import CUSTOMER
from inference_services.segmentation.online_store import OnlineStore
from inference_services.segmentation.predictor import bounded
from inference_services.segmentation.schemas import (
    AS_OF,
    SEGMENT_ID,
    VERSION,
    Customers,
    instance_loc,
    unknown_customers,
)
from inference_services.serving.columns import FeatureColumns
from inference_services.serving.instances import FeatureInstances, instances_schema, read_instances
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options
from inference_services.serving.server import serve

NEXT_ID, NEXT = "next_segment_id", "next_segment"

_MAX_ROWS = 1_000
# More rows than these are explained off the event loop.
_INLINE_ROWS = 20
_UNKNOWN = {404: "The online store has no features of a customer; the answer says of whom"}
_NUMBER = {"type": "number"}
_REASON = {
    "type": "object",
    "required": ["feature", "text", "value", "centroid", "next_centroid", "contribution"],
    "properties": {
        "feature": {"type": "string"},
        "text": {"type": "string", "description": "In words, figures rounded."},
        "value": {"type": ["number", "null"], "description": "The customer's value, null if it is not known."},
        "centroid": {**_NUMBER, "description": "Its value at the segment's centroid."},
        "next_centroid": {**_NUMBER, "description": "Its value at the next segment's centroid."},
        "contribution": {
            **_NUMBER,
            "description": "How much it speaks for the segment, in squared standard deviations; below 0 for the next.",
        },
    },
}


class SegmentExplainer(ServedModel):
    """Explains segments of customers, or of rows of features, with the package's own model.

    Args:
        name: Name to answer under.
        package: The model package.
        options: The server's settings.
    """

    role = "explainer"
    platform = "scikit-learn"

    def __init__(self, name: str, package: ModelPackage, options: Options) -> None:
        super().__init__(name)
        self.version = package.version
        self._segmenter = Segmenter.from_package(package)
        self._columns = FeatureColumns(bounded(package.signature.inputs, self._segmenter.preprocessing))
        self._instances = FeatureInstances(self._columns)
        self._max_rows = min(options.max_rows, _MAX_ROWS)
        self._customers = Customers(max_rows=self._max_rows)
        self._store = OnlineStore.open(self._columns)
        self.schemas = {**self._customers.schemas(), "Explanation": self._schema()}
        self._seconds = EXPLAIN_HIST_TIME.labels(**get_labels(name))

    async def shut_down(self) -> None:
        """Closes the store's connections."""
        self._store.close()

    async def healthy(self) -> bool:
        """Whether the online store was there once."""
        return await self._store.reached()

    def operations(self) -> Sequence[Operation]:
        """KServe's v1 explain."""
        instance = {"anyOf": [*self._customers.instance_schema()["anyOf"], self._instances.schema()]}
        explanations = {"type": "array", "items": {"$ref": "#/components/schemas/Explanation"}}
        return [
            Operation(
                "POST",
                f"/v1/models/{self.name}:explain",
                self._explain,
                "Explain the segments of customers, or of rows of features",
                "v1",
                {"type": "object", "required": ["explanations"], "properties": {"explanations": explanations}},
                request=instances_schema(instance, max_rows=self._max_rows),
                example={"instances": [{CUSTOMER: 1}]},
                responses=_UNKNOWN,
            )
        ]

    async def _explain(self, call: Call) -> Reply:
        instances = read_instances(call.json(), max_rows=self._max_rows)
        asked = [row for row, instance in enumerate(instances) if _is_customer(instance)]
        given = [row for row, instance in enumerate(instances) if not _is_customer(instance)]
        features = np.empty((len(instances), len(self._columns.names)), np.float32)
        features[given] = self._instances.matrix([instances[row] for row in given], given)
        told: list[dict[str, Any]] = [{} for _ in instances]
        if asked:
            loc = instance_loc(instances, asked)
            customers = self._customers.of_instances([instances[row] for row in asked], loc)
            rows = await self._store.read(customers)
            if unknown := unknown_customers(customers, rows.found, loc):
                raise unknown
            features[asked] = rows.matrix
            as_of = np.datetime_as_string(rows.as_of, unit="s", timezone="UTC").tolist()
            for row, customer, moment in zip(asked, customers, as_of, strict=True):
                told[row] = {CUSTOMER: customer, AS_OF: moment}
        with self._seconds.time():
            if len(instances) <= _INLINE_ROWS:
                explanations = self.explanations(features)
            else:
                explanations = await asyncio.to_thread(self.explanations, features)
        return json_reply({"explanations": [{**of, **why} for of, why in zip(told, explanations, strict=True)]})

    def explanations(self, features: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Segment, next segment and what each feature says, of validated rows."""
        confidence = self._segmenter.assign(features).confidence
        found = give_reasons(self._segmenter, features, self._columns.columns)
        return [self._explanation(reasons, sure) for reasons, sure in zip(found, confidence, strict=True)]

    def _explanation(self, reasons: Reasons, confidence: np.float32) -> dict[str, Any]:
        segments = self._segmenter.segments.segments
        own, after = segments[reasons.position], segments[reasons.next_position]
        return {
            SEGMENT_ID: own.id,
            SEGMENT: own.name,
            CONFIDENCE: confidence,
            NEXT_ID: after.id,
            NEXT: after.name,
            VERSION: self.version,
            "margin": reasons.margin,
            "reasons": [_described(reason) for reason in reasons.reasons],
        }

    def _schema(self) -> dict[str, Any]:
        segments = self._segmenter.segments
        identifier, name = {"enum": list(segments.ids)}, {"enum": list(segments.names)}
        properties: dict[str, Any] = {
            SEGMENT_ID: identifier,
            SEGMENT: name,
            CONFIDENCE: {**_NUMBER, "minimum": 0, "maximum": 1, "description": "0 on the border to the next segment."},
            NEXT_ID: {**identifier, "description": "The segment with the second nearest centroid."},
            NEXT: name,
            VERSION: {"type": "string"},
            "margin": {
                **_NUMBER,
                "description": "Squared distance to the next centroid minus that to the own: all contributions.",
            },
            "reasons": {
                "type": "array",
                "description": "One a feature; what speaks most for the segment comes first.",
                "items": _REASON,
            },
        }
        from_store = {
            CUSTOMER: {"$ref": "#/components/schemas/CustomerId"},
            AS_OF: {"type": "string", "format": "date-time", "description": "Purchases before this count."},
        }
        return {"type": "object", "required": list(properties), "properties": {**from_store, **properties}}


def _is_customer(instance: Any) -> bool:
    return type(instance) is not list and (type(instance) is not dict or CUSTOMER in instance)


def _described(reason: Reason) -> dict[str, Any]:
    return {
        "feature": reason.feature,
        "text": reason.text,
        "value": reason.value,
        "centroid": reason.typical,
        "next_centroid": reason.typical_of_next,
        "contribution": reason.contribution,
    }


def build(package: ModelPackage, options: Options) -> SegmentExplainer:
    """The explainer of a model package."""
    return SegmentExplainer(options.model_name or package.signature.model_name, package, options)


if __name__ == "__main__":
    serve(build)
