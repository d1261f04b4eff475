"""What happens to an object before it is stored: strict schema, defaults, and the rules of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from localcluster.admission.core_defaults import fill_core
from localcluster.admission.core_rules import core_causes
from localcluster.admission.immutable import change_causes
from localcluster.admission.kserve import (
    fill_inference_service,
    inference_service_problems,
    serving_runtime_problems,
    storage_uri_problem,
    storage_uris,
)
from localcluster.api.errors import ApiError, Cause, bad_request, invalid
from localcluster.api.resources import (
    CLUSTER_SERVING_RUNTIMES,
    INFERENCE_SERVICES,
    SERVING_RUNTIMES,
    Resource,
)
from localcluster.render import Object
from localcluster.schemas.kinds import structure
from localcluster.schemas.structural import Structure

Operation = Literal["CREATE", "UPDATE"]
FieldValidation = Literal["Strict", "Warn", "Ignore"]

_RUNTIMES = (SERVING_RUNTIMES, CLUSTER_SERVING_RUNTIMES)


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
    siblings: Callable[[], Iterable[Object]] = tuple,
) -> Admitted:
    """Decides whether an object may be stored, and in which form.

    Args:
        resource: What it is.
        operation: Whether it is new.
        item: The object as it would be stored; not changed.
        old: What is stored now, for an update.
        field_validation: What to do with unknown fields: refuse, drop with a warning, drop.
        subresource: `status` if only the status is written.
        siblings: Gives the objects of its kind in its namespace; KServe compares ServingRuntimes with each other.

    Raises:
        ApiError: 400 for an unknown field (`strict decoding error: unknown field "spec.x"`) and for a wrong type in a
            core kind, 422 for a wrong value, 403 for what KServe's webhooks refuse.
    """
    schema = structure(resource.api_version, resource.kind)
    if schema is None:
        raise ApiError(500, "InternalError", f"{resource.api_version} {resource.kind} has no schema")
    decoded, warnings = _decoded(resource, schema, item, field_validation)
    schema.fill(decoded)
    if resource == INFERENCE_SERVICES:
        fill_inference_service(decoded)
        schema.fill(decoded)
    _raise_invalid(resource, decoded, schema.errors(decoded))
    if not resource.custom:
        fill_core(decoded)
    if not subresource:
        if not resource.custom:
            _raise_invalid(resource, decoded, core_causes(decoded))
        if operation == "UPDATE" and old is not None:
            _raise_invalid(resource, decoded, change_causes(decoded, old))
        if "deletionTimestamp" not in decoded["metadata"]:
            warnings += _kserve(resource, decoded, old, siblings)
    return Admitted(decoded, tuple(warnings))


def _decoded(
    resource: Resource, schema: Structure, item: Object, field_validation: FieldValidation
) -> tuple[Object, list[str]]:
    """The object without unknown fields, all of its values of the right type, and warnings."""
    decoded, unknown = schema.decode(item)
    said = [f'unknown field "{path}"' for path in unknown]
    if said and field_validation == "Strict":
        raise bad_request("strict decoding error: " + ", ".join(said))
    wrong = schema.type_errors(decoded)
    if wrong and not resource.custom:
        text = ", ".join(cause.message.split(": ", 2)[2] for cause in wrong)
        kind, version = resource.kind, resource.version
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {text}')
    _raise_invalid(resource, decoded, wrong)
    return decoded, said if field_validation == "Warn" else []


def _raise_invalid(resource: Resource, item: Object, causes: Sequence[Cause]) -> None:
    if causes:
        raise invalid(resource.kind, resource.group, item.get("metadata", {}).get("name", ""), causes)


def _kserve(
    resource: Resource, item: Object, old: Object | None, siblings: Callable[[], Iterable[Object]]
) -> list[str]:
    """Refuses what KServe's webhooks refuse; returns warnings of what its controller will not carry out."""
    problems: Iterable[str] = ()
    if resource == INFERENCE_SERVICES:
        problems = inference_service_problems(item, old)
    elif resource in _RUNTIMES:
        problems = serving_runtime_problems(item, siblings(), old)
    for problem in problems:
        webhook = f"{resource.singular}.kserve-webhook-server.validator"
        raise ApiError(403, "Forbidden", f'admission webhook "{webhook}" denied the request: {problem}')
    if resource != INFERENCE_SERVICES:
        return []
    uris = [f"{path}: {problem}" for path, uri in storage_uris(item) if (problem := storage_uri_problem(uri))]
    return sorted(set(uris))
