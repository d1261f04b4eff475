"""What an update must not change, with an API server's messages."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from localcluster.admission.core_defaults import CONTAINER_FIELDS
from localcluster.admission.pods import forbidden, wrong
from localcluster.api.errors import Cause
from localcluster.render import Object

_JOB_FIELDS = ("completionMode", "selector", "template")
_POD_MESSAGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def change_causes(item: Object, old: Object) -> list[Cause]:
    """What an update changes that must stay; both objects have their defaults."""
    rules = _RULES.get(item["kind"])
    return [] if rules is None else list(rules(item, old))


def _same(*path: str) -> Callable[[Object, Object], Iterator[Cause]]:
    def causes(item: Object, old: Object) -> Iterator[Cause]:
        new, before = item, old
        for part in path:
            new, before = new.get(part, {}), before.get(part, {})
        if new != before:
            yield wrong(".".join(path), new, "field is immutable")

    return causes


def _job_causes(job: Object, old: Object) -> Iterator[Cause]:
    for field in _JOB_FIELDS:
        # A selector and its labels may be made for a job after it was created.
        if field in old["spec"]:
            yield from _same("spec", field)(job, old)


def _pod_causes(pod: Object, old: Object) -> Iterator[Cause]:
    if _of_pod(pod) != _of_pod(old, placed=pod.get("spec", {}).get("nodeName")):
        yield forbidden("spec", _POD_MESSAGE)


def _of_pod(pod: Object, placed: str | None = None) -> Object:
    """What stays of a pod: without what may change; a pod that is nowhere yet may be placed."""
    spec: Object = copy.deepcopy(pod.get("spec", {}))
    for field in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"):
        spec.pop(field, None)
    for field in CONTAINER_FIELDS:
        for container in spec.get(field, []):
            container.pop("image", None)
    spec.pop("ephemeralContainers", None)
    if placed:
        spec.setdefault("nodeName", placed)
    return spec


def _data_causes(item: Object, old: Object) -> Iterator[Cause]:
    if old.get("type") != item.get("type"):
        yield wrong("type", item.get("type", ""), "field is immutable")
    if old.get("immutable"):
        if not item.get("immutable"):
            yield forbidden("immutable", "field is immutable when `immutable` is set")
        for field in ("data", "binaryData"):
            if item.get(field) != old.get(field):
                yield forbidden(field, "field is immutable when `immutable` is set")


def _claim_causes(claim: Object, old: Object) -> Iterator[Cause]:
    new, before = (
        {key: value for key, value in each.get("spec", {}).items() if key not in {"resources", "volumeName"}}
        for each in (claim, old)
    )
    if new != before:
        yield forbidden("spec", "spec is immutable after creation except resources.requests for bound claims")


def _gateway_class_causes(item: Object, old: Object) -> Iterator[Cause]:
    if (name := item["spec"]["controllerName"]) != old["spec"]["controllerName"]:
        yield wrong("spec.controllerName", name, "Value is immutable")


_RULES: dict[str, Callable[[Object, Object], Iterator[Cause]]] = {
    "Deployment": _same("spec", "selector"),
    "ReplicaSet": _same("spec", "selector"),
    "Job": _job_causes,
    "Pod": _pod_causes,
    "ConfigMap": _data_causes,
    "Secret": _data_causes,
    "PersistentVolumeClaim": _claim_causes,
    "EndpointSlice": _same("addressType"),
    "GatewayClass": _gateway_class_causes,
}
