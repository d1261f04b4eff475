"""Transformer of credit risk: applications as people write them in, recorded decisions out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from blueprints.credit_risk.application import Value, code_columns, transpose
from blueprints.credit_risk.decisions import (
    Decision,
    DecisionConflictError,
    DecisionStore,
    StoreUnavailableError,
    Synchronous,
    new_decision_id,
    utc_now,
)
from blueprints.credit_risk.scorer import POLICY, Policy
from blueprints.model_package import ModelPackage
from blueprints.schema import Column
from blueprints.workspace import Workspace
from inference_services.credit_risk.predictor import BASE_VALUE, CONTRIBUTIONS, PROBABILITY
from inference_services.credit_risk.schemas import DECISION_ID, Applications, read_field
from inference_services.serving.columns import tensor_spec
from inference_services.serving.errors import Location, RequestError, refuse, unavailable
from inference_services.serving.metrics import PredictionHistogram
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options
from inference_services.serving.server import serve
from inference_services.serving.tensors import InferCall, Output, TensorSpec
from inference_services.serving.upstream import Upstream

_CONFLICT = {409: "The decision_id belongs to another application already"}
_OUTPUTS = (
    TensorSpec(PROBABILITY, "FP64"),
    TensorSpec("decision", "BYTES"),
    TensorSpec("threshold", "FP64"),
    TensorSpec("model_version", "BYTES"),
    TensorSpec(DECISION_ID, "BYTES"),
)


class CreditTransformer(ServedModel):
    """Decides about applications and records every decision before it is answered.

    Args:
        name: Name to answer under, and of the predictor's model.
        package: The model package; its version is the only one that a predictor may answer with.
        predictor: Who is asked.
        store: The decision record.
        options: Limits.
    """

    role = "transformer"
    predictions: PredictionHistogram
    platform = "credit-application"
    infer_responses = _CONFLICT

    def __init__(
        self, name: str, package: ModelPackage, predictor: Upstream, store: DecisionStore, options: Options
    ) -> None:
        super().__init__(name)
        self.version = package.version
        self._columns = package.signature.inputs
        self.inputs = [*map(_tensor_spec, self._columns), TensorSpec(DECISION_ID, "BYTES", required=False)]
        self.outputs = list(_OUTPUTS)
        self.predictions = PredictionHistogram(package.signature.outputs, package.version)
        self._specs = {spec.name: spec for spec in _OUTPUTS}
        self._applications = Applications(package, max_rows=options.max_rows)
        self.schemas = self._applications.schemas()
        self._threshold = package.document(POLICY, Policy).threshold
        self._store = store
        self._predictor = predictor

    async def start_up(self) -> None:
        """Opens the connections to the predictor."""
        await self._predictor.open()

    async def shut_down(self) -> None:
        """Closes them, and the store after the last decision."""
        await self._predictor.close()
        await asyncio.to_thread(self._store.close)

    async def healthy(self) -> bool:
        """Whether decisions can be recorded, and the predictor is ready too, with the same version."""
        return self._store.alive and await self._predictor.ready()

    async def infer(self, call: InferCall) -> Sequence[Output]:
        """Answers a v2 request: one tensor a field, categories as labels."""
        columns = {column.name: column for column in self._columns}
        tensors = [_plain(values, columns.get(name)) for name, values in call.inputs.items()]
        rows = [dict(zip(call.inputs, row, strict=True)) for row in zip(*tensors, strict=True)]
        try:
            applications = self._applications.read(rows, ("body", "inputs"))
        except RequestError as error:
            raise RequestError(
                error.status, [replace(problem, loc=_by_tensor(problem.loc)) for problem in error.problems]
            ) from None
        decisions = await self._decide(applications, call.request_id, lambda row: ("body", "inputs", DECISION_ID, row))
        values: dict[str, Any] = {
            PROBABILITY: np.array([decision[PROBABILITY] for decision in decisions]),
            "threshold": np.array([decision["threshold"] for decision in decisions]),
            **{name: [decision[name] for decision in decisions] for name in ("decision", "model_version", DECISION_ID)},
        }
        return [Output(self._specs[name], values[name]) for name in call.outputs or self._specs]

    def operations(self) -> Sequence[Operation]:
        """The typed `/predict`, and KServe's v1 predict."""
        example = self._applications.typical
        one = {"$ref": "#/components/schemas/Application"}
        decision = {"$ref": "#/components/schemas/Decision"}
        return [
            Operation(
                "POST",
                "/predict",
                self._predict_typed,
                "Decide about one application, or about several under 'applications'",
                "decisions",
                {"anyOf": [decision, _list_of("decisions", decision)]},
                request={"anyOf": [one, self._applications.request_schema("applications")]},
                example=example,
                responses=_CONFLICT,
            ),
            Operation(
                "POST",
                f"/v1/models/{self.name}:predict",
                self._predict_v1,
                "Decide about applications",
                "v1",
                _list_of("predictions", decision),
                request=self._applications.request_schema("instances"),
                example={"instances": [example]},
                responses=_CONFLICT,
            ),
        ]

    async def _predict_typed(self, call: Call) -> Reply:
        body = call.json()
        if type(body) is dict and "applications" in body:
            loc: Location = ("body", "applications")
            applications = self._applications.read(read_field(body, "applications"), loc)
            decisions = await self._decide(applications, call.request_id, lambda row: (*loc, row, DECISION_ID))
            return json_reply({"decisions": decisions})
        application = self._applications.read_one(body, ("body",))
        return json_reply((await self._decide([application], call.request_id, lambda _: ("body", DECISION_ID)))[0])

    async def _predict_v1(self, call: Call) -> Reply:
        loc: Location = ("body", "instances")
        applications = self._applications.read(read_field(call.json(), "instances"), loc)
        decisions = await self._decide(applications, call.request_id, lambda row: (*loc, row, DECISION_ID))
        return json_reply({"predictions": decisions})

    async def _decide(self, applications: list[dict[str, Value]], request_id: str, id_loc: Any) -> list[dict[str, Any]]:
        """Scores, decides, records; the answers of the decisions on record."""
        with self._predictor.preprocessing.time():
            inputs = self._tensors(applications)
        scored = await self._predictor.infer(inputs, (PROBABILITY, CONTRIBUTIONS, BASE_VALUE), request_id)
        with self._predictor.postprocessing.time():
            decisions = self._decisions(applications, scored, request_id)
        try:
            recorded = await asyncio.wrap_future(self._store.submit(decisions))
        except DecisionConflictError as error:
            raise refuse(id_loc(error.position), str(error), "decision_conflict", status=409) from None
        except StoreUnavailableError as error:
            raise unavailable(str(error)) from error
        self.predictions.observe(PROBABILITY, scored[PROBABILITY])
        return [
            {**decision.output, "model_version": decision.model_version, DECISION_ID: decision.decision_id}
            for decision in recorded
        ]

    def _tensors(self, applications: list[dict[str, Value]]) -> dict[str, NDArray[Any]]:
        coded = code_columns(transpose(applications, self._columns), self._columns)
        return {
            column.name: values if column.kind == "number" or column.nullable else values.astype(np.int64)
            for column, values in zip(self._columns, coded, strict=True)
        }

    def _decisions(
        self, applications: list[dict[str, Value]], scored: Mapping[str, NDArray[Any]], request_id: str
    ) -> list[Decision]:
        now = utc_now()
        names = [column.name for column in self._columns]
        decisions = []
        for application, probability, contributions, base_value in zip(
            applications,
            scored[PROBABILITY].tolist(),
            scored[CONTRIBUTIONS].tolist(),
            scored[BASE_VALUE].tolist(),
            strict=True,
        ):
            decision_id = cast("str | None", application.pop(DECISION_ID, None)) or new_decision_id()
            output = {
                PROBABILITY: probability,
                "decision": "decline" if probability >= self._threshold else "approve",
                "threshold": self._threshold,
            }
            explanation = {"base_value": base_value, "contributions": dict(zip(names, contributions, strict=True))}
            decisions.append(Decision(decision_id, now, request_id, self.version, application, output, explanation))
        return decisions


def _tensor_spec(column: Column) -> TensorSpec:
    """The business tensor of a field: BYTES labels for categories, else as the predictor takes it."""
    if column.kind == "category":
        return TensorSpec(column.name, "BYTES", required=not column.nullable)
    return replace(tensor_spec(column), required=not column.nullable)


def _plain(values: Any, column: Column | None) -> list[Any]:
    """Values of a tensor as an application holds them.

    Missing values come as null in JSON, NaN in FP tensors and "" in BYTES; whole numbers may come as floats.
    """
    plain = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if column is None:
        return plain
    if column.nullable:
        missing = "" if column.kind == "category" else None
        plain = [None if value == missing or value != value else value for value in plain]  # noqa: PLR0124
    if column.kind == "integer":
        plain = [int(value) if type(value) is float and value.is_integer() else value for value in plain]
    return plain


def _by_tensor(loc: Location) -> Location:
    """From `body, inputs, row, field` to `body, inputs, field, row`, the way v2 requests are built."""
    return (*loc[:2], loc[3], loc[2], *loc[4:]) if len(loc) > 3 else loc


def _list_of(field: str, items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [field], "properties": {field: {"type": "array", "items": items}}}


def build(package: ModelPackage, options: Options) -> CreditTransformer:
    """The transformer of a model package.

    Raises:
        SystemExit: There is no predictor, or the decision store cannot be opened.
    """
    name = options.model_name or package.signature.model_name
    predictor = Upstream(name, package, options)
    synchronous = os.environ.get("DECISIONS_SYNCHRONOUS", "full")
    if synchronous not in get_args(Synchronous):
        raise SystemExit(f"DECISIONS_SYNCHRONOUS={synchronous}: give full or normal")
    try:
        store = DecisionStore(Workspace.current().decisions_url, synchronous=cast("Synchronous", synchronous))
    except StoreUnavailableError as error:
        raise SystemExit(str(error)) from error
    store.register_model(package.version, name, package.lineage.model_dump(mode="json"))
    return CreditTransformer(name, package, predictor, store, options)


if __name__ == "__main__":
    serve(build)
