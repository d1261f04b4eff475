"""Which objects a client means: label selectors and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcluster.api.errors import bad_request
from localcluster.api.resources import Resource
from localcluster.render import Object

Requirement = Callable[[Mapping[str, str]], bool]
"""Whether labels fulfil one part of a selector."""

_LABEL = re.compile(
    r"\s*(?P<absent>!)?\s*(?P<key>[A-Za-z0-9][\w./-]*)"
    r"(?:\s*(?P<operator>==|!=|=)\s*(?P<value>[\w.-]*)|\s+(?P<set>in|notin)\s*\((?P<values>[\w.,\s-]*)\))?\s*(?:,|$)"
)
_FIELD = re.compile(r"\s*(?P<path>[A-Za-z][\w.]*)\s*(?P<operator>==|!=|=)\s*(?P<value>[^,=!]*?)\s*(?:,|$)")
_FIELDS_OF_ALL = frozenset({"metadata.name", "metadata.namespace"})
_FIELDS: Mapping[str, frozenset[str]] = {
    "pods": frozenset(
        {"spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"}
    ),
    "namespaces": frozenset({"status.phase"}),
    "secrets": frozenset({"type"}),
    "events": frozenset(
        {
            "involvedObject.apiVersion",
            "involvedObject.fieldPath",
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.resourceVersion",
            "involvedObject.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
}


@dataclass(frozen=True)
class Selection:
    """The objects that a list, a watch or a delete of a collection is about.

    Attributes:
        namespace: Their namespace; empty for all.
        labels: What their labels must fulfil.
        fields: What their fields must be: path, value, and whether it must be that value or must not.
    """

    namespace: str = ""
    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[str, str, bool], ...] = ()

    @property
    def everything(self) -> bool:
        """Whether no selector narrows it."""
        return not self.labels and not self.fields

    def matches(self, item: Object) -> bool:
        """Whether an object is meant."""
        metadata = item["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        labels = metadata.get("labels") or {}
        return all(fulfilled(labels) for fulfilled in self.labels) and all(
            (_field(item, path) == value) is wanted for path, value, wanted in self.fields
        )


def parse(resource: Resource, namespace: str = "", labels: str = "", fields: str = "") -> Selection:
    """Reads the selectors of a request.

    Raises:
        ApiError: 400 for a selector that cannot be read, or a field that cannot be selected by.
    """
    return Selection(namespace, _parse_labels(labels), _parse_fields(resource, fields))


def _parse_labels(text: str) -> tuple[Requirement, ...]:
    requirements: list[Requirement] = []
    position = 0
    while position < len(text):
        if (match := _LABEL.match(text, position)) is None:
            raise bad_request(f"unable to parse labelSelector {text!r}: found {text[position:]!r}")
        requirements.append(_requirement(match, text))
        position = match.end()
    return tuple(requirements)


def _requirement(match: re.Match[str], text: str) -> Requirement:
    key = match["key"]
    if match["operator"] or match["set"]:
        if match["absent"]:
            raise bad_request(f"unable to parse labelSelector {text!r}: '!' goes with a key alone")
        one_of = [match["value"]] if match["operator"] else [value.strip() for value in match["values"].split(",")]
        values = frozenset(one_of)
        if match["operator"] == "!=" or match["set"] == "notin":
            return lambda labels: labels.get(key) not in values
        return lambda labels: labels.get(key) in values
    if match["absent"]:
        return lambda labels: key not in labels
    return lambda labels: key in labels


def _parse_fields(resource: Resource, text: str) -> tuple[tuple[str, str, bool], ...]:
    allowed = _FIELDS_OF_ALL | _FIELDS.get(resource.storage, frozenset())
    fields: list[tuple[str, str, bool]] = []
    position = 0
    while position < len(text):
        if (match := _FIELD.match(text, position)) is None:
            raise bad_request(f"unable to parse fieldSelector {text!r}: found {text[position:]!r}")
        if match["path"] not in allowed:
            raise bad_request(f"field label not supported: {match['path']}; there is: {', '.join(sorted(allowed))}")
        fields.append((match["path"], match["value"], match["operator"] != "!="))
        position = match.end()
    return tuple(fields)


def _field(item: Object, path: str) -> str:
    value: Any = item
    # An Event names its source by the component.
    for part in ("source", "component") if path == "source" else path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
