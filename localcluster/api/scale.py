"""The `scale` subresource: the number of replicas as an object of its own."""

from __future__ import annotations

from typing import Any

from localcluster.api.errors import Cause, bad_request, invalid
from localcluster.render import Object


def scale_of(item: Object) -> Object:
    """The Scale of a Deployment or ReplicaSet."""
    metadata = item["metadata"]
    spec, status = item.get("spec") or {}, item.get("status") or {}
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in shown if key in metadata},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {"replicas": status.get("replicas", 0), "selector": _selector(spec.get("selector"))},
    }


def scaled(item: Object, scale: Any) -> Object:
    """A copy of an object with the number of replicas that a Scale says.

    Raises:
        ApiError: 400 if it is not a Scale of this object; 422 if its number cannot be.
    """
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise bad_request("the body of the request must be a Scale")
    metadata, spec = scale.get("metadata") or {}, scale.get("spec") or {}
    name = item["metadata"]["name"]
    if not isinstance(metadata, dict) or not isinstance(spec, dict) or metadata.get("name", name) != name:
        raise bad_request(f"the body of the request must be the Scale of {name}")
    replicas = spec.get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        message = f"Invalid value: {replicas!r}: must be a number, 0 or more"
        raise invalid("Scale", "autoscaling", name, [Cause("FieldValueInvalid", message, "spec.replicas")])
    asked = {key: metadata[key] for key in ("uid", "resourceVersion") if metadata.get(key)}
    return {
        **item,
        "metadata": {**item["metadata"], **asked},
        "spec": {**(item.get("spec") or {}), "replicas": replicas},
    }


def _selector(selector: Any) -> str:
    labels = selector.get("matchLabels") if isinstance(selector, dict) else None
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items()))
