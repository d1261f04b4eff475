"""Errors as a Kubernetes API server answers them: a Status object with a reason that clients act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cause:
    """One field that is wrong.

    Attributes:
        reason: Such as `FieldValueInvalid`, `FieldValueRequired`, `FieldManagerConflict`.
        message: What is wrong with it.
        field: Where, as `spec.predictor.minReplicas`.
    """

    reason: str
    message: str
    field: str = ""


class ApiError(Exception):
    """An answer other than success.

    Args:
        code: HTTP status.
        reason: Kubernetes' word for it, such as `NotFound`.
        message: What people read.
        kind: Plural of the resource (or its kind), in `details`.
        group: Its API group.
        name: Name of the object.
        causes: Fields that are wrong.
        retry_after_s: Seconds after which a client may try again; 0 for never.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        kind: str = "",
        group: str = "",
        name: str = "",
        causes: Sequence[Cause] = (),
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.kind = kind
        self.group = group
        self.name = name
        self.causes = tuple(causes)
        self.retry_after_s = retry_after_s

    def status(self) -> dict[str, Any]:
        """The Status object."""
        named = {"name": self.name, "group": self.group, "kind": self.kind}
        details: dict[str, Any] = {key: value for key, value in named.items() if value}
        if self.causes:
            details["causes"] = [
                {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in self.causes
            ]
        if self.retry_after_s:
            details["retryAfterSeconds"] = self.retry_after_s
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
            **({"details": details} if details else {}),
        }


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404: there is no such object."""
    full = f"{plural}.{group}" if group else plural
    return ApiError(404, "NotFound", f'{full} "{name}" not found', kind=plural, group=group, name=name)


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """409: an object of this name is there."""
    full = f"{plural}.{group}" if group else plural
    return ApiError(409, "AlreadyExists", f'{full} "{name}" already exists', kind=plural, group=group, name=name)


def conflict(plural: str, group: str, name: str, message: str, causes: Sequence[Cause] = ()) -> ApiError:
    """409: the object was changed by another, or its fields belong to another."""
    full = f"{plural}.{group}" if group else plural
    text = f'Operation cannot be fulfilled on {full} "{name}": {message}'
    return ApiError(409, "Conflict", text, kind=plural, group=group, name=name, causes=causes)


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: fields of the object are wrong."""
    full = f"{kind}.{group}" if group else kind
    said = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    text = f'{full} "{name}" is invalid: {said[0] if len(said) == 1 else "[" + ", ".join(said) + "]"}'
    return ApiError(422, "Invalid", text, kind=kind, group=group, name=name, causes=causes)
