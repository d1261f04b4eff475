"""Second explainer of credit risk: the conditions under which a decision holds, found with Alibi.

Runs in the environment of `locks/alibi.txt` and in the image of `alibi.Dockerfile` only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kserve.metrics import EXPLAIN_HIST_TIME, get_labels

from blueprints.credit_risk.anchor_search import AnchorSearch, SearchStoppedError
from blueprints.credit_risk.anchors import Anchor
from blueprints.credit_risk.application import Value, encode_applications
from blueprints.credit_risk.scorer import CreditScorer
from blueprints.model_package import ModelPackage
from inference_services.credit_risk.schemas import DECISION_ID, Applications, read_field
from inference_services.serving.errors import overloaded, unavailable
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options
from inference_services.serving.server import serve

# A search takes a second or two of one core.
_MAX_APPLICATIONS = 4
_MAX_WAITING = 8

_SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_BOUND = {"type": ["number", "null"]}
_CONDITION = {
    "type": "object",
    "required": ["feature", "text", "above", "at_most", "category", "missing"],
    "properties": {
        "feature": {"type": "string"},
        "text": {"type": "string", "description": "In words, figures rounded."},
        "above": {**_BOUND, "description": "Numbers must be greater."},
        "at_most": {**_BOUND, "description": "Numbers must not be greater."},
        "category": {"type": ["string", "null"], "description": "The label that it must be."},
        "missing": {"type": "boolean", "description": "Whether a missing value fulfils it."},
    },
}
_ANCHOR = {
    "type": "object",
    "required": ["text", "conditions", "precision", "coverage", "precision_reached", "model_calls", "scored_rows"],
    "properties": {
        "text": {"type": "string", "description": "'Declined as long as …'"},
        "conditions": {
            "type": ["array", "null"],
            "items": _CONDITION,
            "description": "The decision holds as long as all of them do; null if none were found.",
        },
        "precision": {
            **_SHARE,
            "description": "Estimated share that gets the same decision while the conditions hold and all other "
            "values are those of other applicants.",
        },
        "coverage": {**_SHARE, "description": "Share of the training sample that fulfils the conditions."},
        "precision_reached": {"type": "boolean", "description": "Whether the precision is as high as asked for."},
        "model_calls": {"type": "integer", "minimum": 0},
        "scored_rows": {"type": "integer", "minimum": 0, "description": "Applications scored in these calls."},
    },
}
_EXPLANATION = {
    "type": "object",
    "required": ["probability_of_default", "decision", "threshold", "model_version", "anchor"],
    "properties": {
        "probability_of_default": {"type": "number", "minimum": 0, "maximum": 1},
        "decision": {"enum": ["approve", "decline"]},
        "threshold": {"type": "number"},
        "model_version": {"type": "string"},
        "anchor": _ANCHOR,
    },
}


class AlibiExplainer(ServedModel):
    """Explains decisions by anchors. One search runs at a time; a few wait, more are answered with 429.

    Args:
        name: Name to answer under.
        package: The model package.
        max_rows: Most applications in one request, at most 4.
    """

    role = "explainer"
    platform = "alibi-anchor-tabular"

    def __init__(self, name: str, package: ModelPackage, *, max_rows: int) -> None:
        super().__init__(name)
        self.version = package.version
        self._scorer = CreditScorer(package)
        self._search = AnchorSearch(self._scorer, package)
        self._applications = Applications(package, max_rows=min(max_rows, _MAX_APPLICATIONS))
        self.schemas = {**self._applications.schemas(), "Explanation": _EXPLANATION}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="anchor")
        self._waiting = 0
        self._seconds = EXPLAIN_HIST_TIME.labels(**get_labels(name))

    async def shut_down(self) -> None:
        """Ends what is still searched: by now nobody waits for it."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def operations(self) -> Sequence[Operation]:
        """KServe's v1 explain."""
        explanations = {"type": "array", "items": {"$ref": "#/components/schemas/Explanation"}}
        return [
            Operation(
                "POST",
                f"/v1/models/{self.name}:explain",
                self._explain,
                "Find the conditions under which decisions hold",
                "v1",
                {"type": "object", "required": ["explanations"], "properties": {"explanations": explanations}},
                request=self._applications.request_schema("instances"),
                example={"instances": [self._applications.typical]},
            )
        ]

    async def _explain(self, call: Call) -> Reply:
        applications = self._applications.read(read_field(call.json(), "instances"), ("body", "instances"))
        count = len(applications)
        if self._waiting + count > _MAX_WAITING:
            raise overloaded(f"{self._waiting} applications are waiting for their explanation: try again")
        self._waiting += count
        given_up = threading.Event()
        try:
            with self._seconds.time():
                explanations = [await self._explanation(application, given_up) for application in applications]
        finally:
            # After a time-out this ends the search in its thread.
            given_up.set()
            self._waiting -= count
        return json_reply({"explanations": explanations})

    async def _explanation(self, application: dict[str, Value], given_up: threading.Event) -> dict[str, Any]:
        features = encode_applications([application], self._scorer.columns)
        loop = asyncio.get_running_loop()
        try:
            anchor = await loop.run_in_executor(self._executor, self._search.find, features[0], given_up.is_set)
        except SearchStoppedError:
            raise unavailable("the explainer is shutting down") from None
        explanation: dict[str, Any] = {
            "probability_of_default": float(self._scorer.probabilities(features)[0]),
            "decision": "decline" if anchor.declined else "approve",
            "threshold": self._scorer.policy.threshold,
            "model_version": self.version,
            "anchor": _described(anchor),
        }
        if application.get(DECISION_ID):
            explanation[DECISION_ID] = application[DECISION_ID]
        return explanation


def _described(anchor: Anchor) -> dict[str, Any]:
    conditions = None
    if anchor.conditions is not None:
        conditions = [
            {
                "feature": condition.column.name,
                "text": condition.text,
                "above": condition.above,
                "at_most": condition.at_most,
                "category": condition.category,
                "missing": condition.missing,
            }
            for condition in anchor.conditions
        ]
    return {
        "text": anchor.text,
        "conditions": conditions,
        "precision": anchor.precision,
        "coverage": anchor.coverage,
        "precision_reached": anchor.reached,
        "model_calls": anchor.model_calls,
        "scored_rows": anchor.scored_rows,
    }


def build(package: ModelPackage, options: Options) -> AlibiExplainer:
    """The anchor explainer of a model package.

    Raises:
        SystemExit: This environment has no alibi.
    """
    name = options.model_name or package.signature.model_name
    try:
        return AlibiExplainer(name, package, max_rows=options.max_rows)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: run `make alibi` and start this server with .venv-alibi/bin/python") from error


if __name__ == "__main__":
    serve(build)
