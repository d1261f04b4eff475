"""Explainer of credit risk: exact SHAP values, reasons in plain words and a waterfall plot for applications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kserve.metrics import EXPLAIN_HIST_TIME, get_labels

from blueprints.credit_risk.application import Value, encode_applications
from blueprints.credit_risk.reasons import interpret, reasons
from blueprints.credit_risk.scorer import CreditScorer
from blueprints.credit_risk.waterfall import Step, waterfall
from blueprints.model_package import ModelPackage
from inference_services.credit_risk.schemas import DECISION_ID, Applications, read_field
from inference_services.credit_risk.scoring import BatchedScorer
from inference_services.serving.errors import Location, refuse
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options
from inference_services.serving.server import serve

_SVG = "image/svg+xml"
_PLOTS = 50
_NUMBER = {"type": "number"}
_EXPLANATION = {
    "type": "object",
    "required": [
        "probability_of_default",
        "decision",
        "threshold",
        "model_version",
        "margin",
        "base_value",
        "contributions",
        "reasons",
    ],
    "properties": {
        "probability_of_default": {"type": "number", "minimum": 0, "maximum": 1},
        "decision": {"enum": ["approve", "decline"]},
        "threshold": _NUMBER,
        "model_version": {"type": "string"},
        "margin": {**_NUMBER, "description": "Log-odds before calibration: base value plus all contributions."},
        "base_value": {**_NUMBER, "description": "Log-odds of the average applicant."},
        "contributions": {
            "type": "object",
            "additionalProperties": _NUMBER,
            "description": "SHAP value of each feature, log-odds.",
        },
        "reasons": {
            "type": "array",
            "description": "What speaks most for the decision, strongest first.",
            "items": {
                "type": "object",
                "required": ["feature", "text", "contribution"],
                "properties": {"feature": {"type": "string"}, "text": {"type": "string"}, "contribution": _NUMBER},
            },
        },
        "plot": {"type": "string", "description": "SVG, if asked for."},
    },
}
_PARAMETERS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"plot": {"const": "waterfall", "description": f"Adds a plot, for up to {_PLOTS} applications."}},
}


class CreditExplainer(ServedModel):
    """Explains decisions about applications with the package's own booster.

    Args:
        name: Name to answer under.
        package: The model package.
        max_rows: Most applications in one request.
    """

    role = "explainer"
    platform = "xgboost-treeshap"

    def __init__(self, name: str, package: ModelPackage, *, max_rows: int) -> None:
        super().__init__(name)
        scorer = CreditScorer(package)
        self.version = package.version
        self._columns = scorer.columns
        self._scorer = BatchedScorer(scorer)
        self._threshold = scorer.policy.threshold
        self._protected = frozenset(package.lineage.parameters.get("protected", ()))
        self._applications = Applications(package, max_rows=max_rows)
        self.schemas = {**self._applications.schemas(), "Explanation": _EXPLANATION}
        self._seconds = EXPLAIN_HIST_TIME.labels(**get_labels(name))

    def operations(self) -> Sequence[Operation]:
        """KServe's v1 explain."""
        explanations = {"type": "array", "items": {"$ref": "#/components/schemas/Explanation"}}
        return [
            Operation(
                "POST",
                f"/v1/models/{self.name}:explain",
                self._explain,
                "Explain the decisions about applications",
                "v1",
                {"type": "object", "required": ["explanations"], "properties": {"explanations": explanations}},
                request=self._applications.request_schema("instances", parameters=_PARAMETERS),
                example={"instances": [self._applications.typical], "parameters": {"plot": "waterfall"}},
                media_types=(_SVG,),
            )
        ]

    async def _explain(self, call: Call) -> Reply:
        body = call.json()
        loc: Location = ("body", "instances")
        applications = self._applications.read(read_field(body, "instances", also=("parameters",)), loc)
        only_plot = call.accept.startswith(_SVG)
        if only_plot and len(applications) > 1:
            raise refuse(loc, "one application a plot: send one, or ask for JSON", "too_long")
        with_plot = _wants_plot(body.get("parameters")) or only_plot
        if with_plot and len(applications) > _PLOTS:
            raise refuse(loc, f"at most {_PLOTS} applications with plots", "too_long")
        with self._seconds.time():
            explanations = await self.explanations(applications, with_plot=with_plot)
        if only_plot:
            return Reply(explanations[0]["plot"].encode(), media_type=_SVG.encode())
        return json_reply({"explanations": explanations})

    async def explanations(self, applications: list[dict[str, Value]], *, with_plot: bool) -> list[dict[str, Any]]:
        """Decision, contributions and reasons of each validated application; with `with_plot` the SVG too."""
        features = encode_applications(applications, self._columns)
        margins, contributions, base_values = await self._scorer.explain(features)
        probabilities = self._scorer.calibration(margins)
        return [
            self._explanation(*row, with_plot=with_plot)
            for row in zip(
                applications,
                probabilities.tolist(),
                margins.tolist(),
                base_values.tolist(),
                contributions.tolist(),
                strict=True,
            )
        ]

    def _explanation(
        self,
        application: dict[str, Value],
        probability: float,
        margin: float,
        base_value: float,
        contributions: list[float],
        *,
        with_plot: bool,
    ) -> dict[str, Any]:
        declined = probability >= self._threshold
        by_feature = dict(zip([column.name for column in self._columns], contributions, strict=True))
        why = reasons(
            self._columns,
            application,
            by_feature,
            self._applications.typical,
            declined=declined,
            leave_out=self._protected,
        )
        explanation: dict[str, Any] = {
            "probability_of_default": probability,
            "decision": "decline" if declined else "approve",
            "threshold": self._threshold,
            "model_version": self.version,
            "margin": margin,
            "base_value": base_value,
            "contributions": by_feature,
            "reasons": [
                {"feature": reason.feature, "text": reason.text, "contribution": reason.contribution} for reason in why
            ],
        }
        if application.get(DECISION_ID):
            explanation[DECISION_ID] = application[DECISION_ID]
        if with_plot:
            explanation["plot"] = waterfall(
                [
                    Step(f"{column.label}: {interpret(application[column.name], column)}", by_feature[column.name])
                    for column in self._columns
                ],
                base_value,
                title=f"{'Declined' if declined else 'Approved'}: probability of default {probability:.0%}",
                subtitle=f"Declined from {self._threshold:.0%} · model {self.version} · SHAP values of the log-odds",
            )
        return explanation


def _wants_plot(parameters: Any) -> bool:
    if parameters is None:
        return False
    if type(parameters) is not dict:
        raise refuse(("body", "parameters"), "must be an object", "dict_type")
    for key in parameters:
        if key != "plot":
            raise refuse(("body", "parameters", key[:80]), "unknown parameter; known is plot", "extra_forbidden")
    if "plot" in parameters and parameters["plot"] != "waterfall":
        raise refuse(("body", "parameters", "plot"), "must be 'waterfall'", "literal_error")
    return "plot" in parameters


def build(package: ModelPackage, options: Options) -> CreditExplainer:
    """The explainer of a model package."""
    return CreditExplainer(options.model_name or package.signature.model_name, package, max_rows=options.max_rows)


if __name__ == "__main__":
    serve(build)
