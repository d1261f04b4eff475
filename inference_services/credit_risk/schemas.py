"""Bodies of requests and answers that transformer and explainer share, typed with Pydantic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from blueprints.credit_risk.application import Value, application_model, nearest_field
from blueprints.credit_risk.reasons import typical_values
from blueprints.model_package import ModelPackage
from inference_services.serving.errors import Location, from_pydantic, refuse

DECISION_ID = "decision_id"
_REFERENCE = "#/components/schemas/{model}"

DecisionId = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class DecisionAnswer(BaseModel):
    """The decision about one application."""

    model_config = ConfigDict(protected_namespaces=())

    probability_of_default: float = Field(ge=0, le=1, title="Calibrated probability of default")
    decision: Literal["approve", "decline"]
    threshold: float = Field(ge=0, le=1, title="Applications at or above this probability are declined")
    model_version: str = Field(title="Version of the model package that decided")
    decision_id: str = Field(title="Name of the decision record")


class Applications:
    """Reads applications and describes them in OpenAPI.

    Attributes:
        columns: The signature's inputs.
        typical: A typical application: the example in the documentation, and what reasons compare with.

    Args:
        package: The model package: its signature, and its reference sample for an example.
        max_rows: Most applications in one request.
    """

    def __init__(self, package: ModelPackage, *, max_rows: int) -> None:
        self.columns = package.signature.inputs
        if any(column.name in (DECISION_ID, "applications") for column in self.columns):
            raise ValueError("columns may not be named 'decision_id' or 'applications': the requests use these names")
        self.typical = typical_values(package.reference(), self.columns)
        self._max_rows = max_rows
        described = Field(default=None, title="Your id for the decision; the same id is decided once only")
        base = application_model(self.columns)
        model = create_model("Application", __base__=base, decision_id=(DecisionId | None, described))
        self._one = TypeAdapter(model)
        self._many = TypeAdapter(list[model])  # type: ignore[valid-type]

    def read(self, items: Any, loc: Location) -> list[dict[str, Value]]:
        """Validated applications, field by field; missing values as `None`.

        Raises:
            RequestError: A field is missing, unknown, of the wrong type or out of bounds.
        """
        if type(items) is not list:
            raise refuse(loc, "must be an array of applications", "list_type")
        if not items:
            raise refuse(loc, "is empty: send at least one application", "too_short")
        if len(items) > self._max_rows:
            message = f"at most {self._max_rows} applications in one request, not {len(items)}"
            raise refuse(loc, message, "too_long")
        try:
            applications = self._many.validate_python(items)
        except ValidationError as error:
            raise from_pydantic(error, loc, self._nearest) from None
        return [dict(application) for application in applications]

    def read_one(self, item: Any, loc: Location) -> dict[str, Value]:
        """One validated application; see `read`."""
        try:
            return dict(self._one.validate_python(item))
        except ValidationError as error:
            raise from_pydantic(error, loc, self._nearest) from None

    def schemas(self) -> dict[str, Any]:
        """JSON Schemas of one application and of a decision."""
        return {
            "Application": self._one.json_schema(ref_template=_REFERENCE),
            "Decision": DecisionAnswer.model_json_schema(ref_template=_REFERENCE),
        }

    def request_schema(self, field: str, **more: Any) -> dict[str, Any]:
        """JSON Schema of a body that holds applications under `field`."""
        applications = {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Application"},
            "minItems": 1,
            "maxItems": self._max_rows,
        }
        return {
            "type": "object",
            "required": [field],
            "additionalProperties": False,
            "properties": {field: applications, **more},
        }

    def _nearest(self, name: str) -> str | None:
        return nearest_field(name, self.columns)


def read_field(body: Any, field: str, *, also: tuple[str, ...] = ()) -> Any:
    """One field of a body that may hold no other but those in `also`.

    Raises:
        RequestError: It is missing, or something unknown is beside it.
    """
    if type(body) is not dict:
        raise refuse(("body",), f"must be an object with {field!r}", "dict_type")
    for key in body:
        if key != field and key not in also:
            raise refuse(("body", key[:80]), f"unknown field; known are {', '.join((field, *also))}", "extra_forbidden")
    if field not in body:
        raise refuse(("body", field), "is missing", "missing")
    return body[field]
