"""What happens to an object before it is stored: strict schema, defaults, and the rules of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localcluster.api.errors import ApiError, bad_request, invalid
from localcluster.api.resources import Resource
from localcluster.render import Object
from localcluster.schemas.kinds import structure

Operation = Literal["CREATE", "UPDATE"]
FieldValidation = Literal["Strict", "Warn", "Ignore"]


@dataclass(frozen=True)
class Admitted:
    """An object that may be stored.

    Attributes:
        item: The object with its defaults.
        warnings: What its author should know; sent as `Warning` headers.
    """

    item: Object
    warnings: tuple[str, ...] = ()


def admit(
    resource: Resource,
    operation: Operation,
    item: Object,
    old: Object | None = None,
    *,
    field_validation: FieldValidation = "Strict",
    subresource: str = "",
) -> Admitted:
    """Decides whether an object may be stored, and in which form.

    Args:
        resource: What it is.
        operation: Whether it is new.
        item: The object as it would be stored; not changed.
        old: What is stored now, for an update.
        field_validation: What to do with unknown fields: refuse, drop with a warning, drop.
        subresource: `status` if only the status is written.

    Raises:
        ApiError: 400 for an unknown field (`strict decoding error: unknown field "spec.x"`), 422 for a wrong value.
    """
    schema = structure(resource.api_version, resource.kind)
    if schema is None:
        raise ApiError(500, "InternalError", f"{resource.api_version} {resource.kind} has no schema")
    decoded, unknown = schema.decode(item)
    if unknown and field_validation == "Strict":
        raise bad_request("strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown))
    warnings = [f'unknown field "{path}"' for path in unknown] if field_validation == "Warn" else []
    schema.fill(decoded)
    name = decoded.get("metadata", {}).get("name", "")
    if causes := schema.errors(decoded):
        raise invalid(resource.kind, resource.group, name, causes)
    del operation, old, subresource
    return Admitted(decoded, tuple(warnings))
