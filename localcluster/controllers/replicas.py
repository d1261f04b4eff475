"""Pods in numbers: which are there, which are ready, which go first. Pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from localcluster.controllers.controller import owner_reference
from localcluster.render import Object

HASH_LABEL = "pod-template-hash"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
# Without vowels and what looks like them, so that no hash is a word.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: Object) -> str:
    """Ten characters that stand for a pod template, whichever client wrote it: empty fields do not count."""
    template = {**template, "metadata": {**(template.get("metadata") or {}), "creationTimestamp": None}}
    digest = hashlib.sha256(json.dumps(_without_empty(template), sort_keys=True).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:10])


def pod_of(owner: Object, template: Object) -> Object:
    """A pod by a template, named after its owner and controlled by it."""
    given = template.get("metadata") or {}
    metadata = {key: dict(given[key]) for key in ("labels", "annotations") if given.get(key)}
    name, namespace = owner["metadata"]["name"], owner["metadata"]["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **metadata,
            "generateName": f"{name}-",
            "namespace": namespace,
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": template["spec"],
    }


def is_active(pod: Object) -> bool:
    """Whether a pod counts: it neither ends nor has ended."""
    phase = (pod.get("status") or {}).get("phase")
    return "deletionTimestamp" not in pod["metadata"] and phase not in {"Succeeded", "Failed"}


def ready_since(pod: Object) -> float | None:
    """Unix time since which a pod is ready, None if it is not."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Ready" and condition["status"] == "True":
            return unix_time(condition["lastTransitionTime"])
    return None


def is_available(pod: Object, min_ready_s: float, now: float) -> bool:
    """Whether a pod has been ready for long enough."""
    since = ready_since(pod)
    return since is not None and (min_ready_s == 0 or now - since >= min_ready_s)


def victims(pods: Iterable[Object], count: int) -> list[Object]:
    """The pods that go first: those that serve nobody, then the cheapest to delete, then the youngest."""

    def rank(pod: Object) -> tuple[bool, bool, int, float]:
        cost = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
        since = ready_since(pod)
        age = unix_time(pod["metadata"]["creationTimestamp"]) if since is None else since
        running = (pod.get("status") or {}).get("phase") == "Running"
        return since is not None, running, int(cost) if cost.lstrip("+-").isdecimal() else 0, -age

    return sorted(pods, key=rank)[: max(0, count)]


def selector_text(selector: Object) -> str:
    """A LabelSelector as the text of a query."""
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        name, values = expression["key"], ",".join(expression.get("values") or [])
        words = {"Exists": name, "DoesNotExist": f"!{name}"}
        parts.append(words.get(expression["operator"]) or f"{name} {expression['operator'].lower()} ({values})")
    return ",".join(parts)


def _without_empty(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item not in (None, "", {}, [])}


def unix_time(text: str) -> float:
    """Unix time of a timestamp of the API."""
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()
