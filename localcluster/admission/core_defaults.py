"""Defaults of core kinds that depend on other fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from localcluster.render import Object

_POD_SPEC = {
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
CONTAINER_FIELDS = ("initContainers", "containers", "ephemeralContainers")


def pod_spec(item: Object) -> tuple[str, Object] | None:
    """The pod that an object describes, and where in it; None for an object without."""
    node, parts = item, _POD_SPEC.get(item["kind"], ())
    for part in parts:
        found = node.get(part)
        if not isinstance(found, dict):
            return None
        node = found
    return (".".join(parts), node) if parts else None


def containers(pod: Object, path: str) -> Iterator[tuple[str, Object]]:
    """All containers of a pod, and where they are."""
    for field in CONTAINER_FIELDS:
        for index, container in enumerate(pod.get(field, [])):
            yield f"{path}.{field}[{index}]", container


def fill_core(item: Object) -> None:
    """Sets the defaults of a well-formed object, in place."""
    if (found := pod_spec(item)) is not None:
        for _, container in containers(found[1], found[0]):
            container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
    if (fill := _FILL.get(item["kind"])) is not None:
        fill(item)


def _pull_policy(image: str) -> str:
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "IfNotPresent" if digest or tag not in {"", "latest"} else "Always"


def _fill_pod(pod: Object) -> None:
    spec = pod.get("spec", {})
    spec.setdefault("enableServiceLinks", True)
    for _, container in containers(spec, ""):
        resources = container["resources"]
        if limits := resources.get("limits"):
            resources["requests"] = {**limits, **resources.get("requests", {})}


def _fill_deployment(deployment: Object) -> None:
    strategy = deployment["spec"]["strategy"]
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def _fill_replica_set(replica_set: Object) -> None:
    labels = replica_set["spec"].get("template", {}).get("metadata", {}).get("labels")
    if labels:
        replica_set["spec"].setdefault("selector", {"matchLabels": dict(labels)})


def _fill_job(job: Object) -> None:
    spec = job.get("spec", {})
    if "parallelism" not in spec:
        spec.setdefault("completions", 1)
        spec["parallelism"] = 1


def _fill_service(service: Object) -> None:
    spec = service.get("spec", {})
    for port in spec.get("ports", []):
        if "port" in port:
            port.setdefault("targetPort", port["port"])
    if spec.get("sessionAffinity") == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10_800}})
    if spec.get("type") in {"NodePort", "LoadBalancer"}:
        spec.setdefault("externalTrafficPolicy", "Cluster")


def _fill_autoscaler(autoscaler: Object) -> None:
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    autoscaler.get("spec", {}).setdefault("metrics", [{"type": "Resource", "resource": cpu}])


def _fill_network_policy(policy: Object) -> None:
    spec = policy.get("spec", {})
    spec.setdefault("policyTypes", ["Ingress", *(["Egress"] if spec.get("egress") else [])])


def _fill_namespace(namespace: Object) -> None:
    name = namespace["metadata"].get("name")
    if name:
        namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


_FILL: dict[str, Callable[[Object], None]] = {
    "Pod": _fill_pod,
    "Deployment": _fill_deployment,
    "ReplicaSet": _fill_replica_set,
    "Job": _fill_job,
    "Service": _fill_service,
    "HorizontalPodAutoscaler": _fill_autoscaler,
    "NetworkPolicy": _fill_network_policy,
    "Namespace": _fill_namespace,
}
