"""What an InferenceService's status says, worked out from what became of its objects.

Pure functions; fields, conditions and model states are those of KServe's `InferenceServiceStatus`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from localcluster.addresses import listening_port
from localcluster.inference_service import MODE, ROLES, Role, service_name
from localcluster.render import Object

Truth = Literal["True", "False", "Unknown"]

# Containers wait for these without anything being wrong.
_USUAL_WAITS = {"", "ContainerCreating", "PodInitializing", "Pulling"}


@dataclass(frozen=True)
class Condition:
    """One condition, before anybody knows since when it holds."""

    type: str
    status: Truth
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a component does not run.

    Attributes:
        reason: One of KServe's failure reasons.
        message: In words.
        location: The pod, if it is one pod's.
        exit_code: How its container ended, if it did.
    """

    reason: str
    message: str
    location: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class Part:
    """A component's objects.

    Attributes:
        role: Which component.
        deployment: Its Deployment, if it is there.
        service: Its Service, if it is there.
        pods: Its pods.
        runtime: The runtime that it was made from, if it was.
    """

    role: Role
    deployment: Object | None = None
    service: Object | None = None
    pods: Sequence[Object] = ()
    runtime: Object | None = None


@dataclass(frozen=True)
class Observed:
    """Everything that a status follows from.

    Attributes:
        service: The InferenceService.
        parts: Its components.
        routes: The routes of its namespace.
        gateways: Gateways by namespace and name.
        failure: Why its objects cannot be made, if so.
        stopped: Whether its author stopped it.
        gateway_behind: Whether the gateway may not have taken over its newest endpoints yet.
    """

    service: Object
    parts: Sequence[Part]
    routes: Sequence[Object] = ()
    gateways: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    failure: Failure | None = None
    stopped: bool = False
    gateway_behind: bool = False


def status_of(observed: Observed, now: str) -> Object:
    """The whole status; conditions that stay as they are keep their time.

    Args:
        observed: What it follows from.
        now: Time for conditions that change.
    """
    metadata = observed.service["metadata"]
    before: Object = observed.service.get("status") or {}
    conditions = conditions_of(observed)
    model = _model_status(observed, conditions)
    runtime = next((part.runtime for part in observed.parts if part.runtime is not None), None)
    runtime_field = {"ServingRuntime": "servingRuntimeName", "ClusterServingRuntime": "clusterServingRuntimeName"}
    entry = f"http://{_entry(observed)}.{metadata.get('namespace', 'default')}.svc.cluster.local"
    shown = not observed.stopped and bool(observed.parts)
    return {
        "observedGeneration": metadata.get("generation", 1),
        "deploymentMode": (metadata.get("annotations") or {}).get(MODE, ""),
        "conditions": with_times(conditions, before.get("conditions") or [], now),
        "modelStatus": model,
        **({"address": {"url": entry}, "url": _url(observed) or entry} if shown else {}),
        **({"components": {part.role: _component_status(part) for part in observed.parts}} if shown else {}),
        **({runtime_field[runtime["kind"]]: runtime["metadata"]["name"]} if runtime is not None else {}),
    }


def conditions_of(observed: Observed) -> list[Condition]:
    """The conditions, `Ready` last: it holds when all others do."""
    if observed.stopped:
        stopped = Condition("Stopped", "True", "Stopped", "stopped by its annotation serving.kserve.io/stop")
        return [
            *(Condition(_ready_type(role), "False", "Stopped") for role in ROLES if role in observed.service["spec"]),
            Condition("IngressReady", "False", "Stopped"),
            stopped,
            Condition("Ready", "False", "Stopped", stopped.message),
        ]
    if observed.failure is not None:
        failed = [Condition("PredictorReady", "False", observed.failure.reason, observed.failure.message)]
    else:
        failed = []
    parts = [component_condition(part) for part in observed.parts]
    told = {condition.type for condition in failed}
    ingress = ingress_condition(routes := _routes_to(observed))
    if routes and ingress.status == "True" and observed.gateway_behind:
        ingress = Condition("IngressReady", "Unknown", "GatewayFollows", "the gateway takes over new endpoints")
    conditions = [*failed, *(condition for condition in parts if condition.type not in told), ingress]
    worst = min(conditions, key=lambda condition: ("False", "Unknown", "True").index(condition.status))
    why = "" if worst.status == "True" else f"{worst.type}: {worst.message or worst.reason}"
    return [*conditions, Condition("Ready", worst.status, worst.reason if why else "", why)]


def component_condition(part: Part) -> Condition:
    """Whether a component is ready, as KServe reads it from its Deployment, with what is wrong with its pods."""
    type_ = _ready_type(part.role)
    deployment = part.deployment
    if deployment is None:
        return Condition(type_, "Unknown", "DeploymentMissing", "waits for its Deployment")
    status: Object = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 1):
        return Condition(type_, "Unknown", "DeploymentChanged", "waits for its Deployment to follow a change")
    found = {condition["type"]: condition for condition in status.get("conditions") or []}
    available, progressing, failing = (found.get(name, {}) for name in ("Available", "Progressing", "ReplicaFailure"))
    outcome: Truth = "True" if available.get("status") == "True" else "False"
    source = available
    if progressing.get("status") == "False":
        outcome, source = "False", progressing
    elif progressing.get("status") == "True" and progressing.get("reason") != "NewReplicaSetAvailable":
        outcome, source = "Unknown", progressing
    if available.get("status") == "False":
        outcome, source = "False", available
    if failing.get("status") == "True":
        outcome, source = "False", failing
    if outcome == "True":
        return Condition(type_, "True")
    failure = pod_failure(part.pods)
    said = [source.get("message", "").rstrip(".")]
    if failure is not None:
        said.append(f"pod {failure.location}: {failure.message}")
    return Condition(type_, outcome, source.get("reason", ""), "; ".join(filter(None, said)))


def ingress_condition(routes: Iterable[Object]) -> Condition:
    """Whether the gateway has taken every route that leads to the service."""
    routes = list(routes)
    if not routes:
        return Condition("IngressReady", "True", "NoRoute", "no route leads to it; it answers inside the cluster")
    for route in routes:
        name = f"{route['kind']} {route['metadata']['name']}"
        parents = (route.get("status") or {}).get("parents") or []
        if not parents:
            return Condition("IngressReady", "Unknown", "RouteUnseen", f"waits for the gateway to take {name}")
        for parent in parents:
            for condition in parent.get("conditions") or []:
                if condition["type"] in {"Accepted", "ResolvedRefs"} and condition["status"] != "True":
                    message = f"{name}: {condition['type']}: {condition.get('message') or condition.get('reason', '')}"
                    return Condition("IngressReady", "False", condition.get("reason", ""), message)
    return Condition("IngressReady", "True")


def pod_failure(pods: Iterable[Object]) -> Failure | None:
    """The worst that pods tell of themselves: a container that ended or cannot start, else one that is not ready."""
    unready = None
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True):
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for container in status.get("containerStatuses") or []:
            state, last = container.get("state") or {}, container.get("lastState") or {}
            waiting, ended = state.get("waiting"), state.get("terminated") or last.get("terminated") or {}
            if state.get("terminated") or (waiting and waiting.get("reason", "") not in _USUAL_WAITS):
                how = ended.get("message") or (f"ended with exit code {ended.get('exitCode')}" if ended else "")
                said = [(waiting or {}).get("reason", ""), (waiting or {}).get("message", "")]
                if how and how not in said[1]:
                    said.append(how)
                return Failure("ModelLoadFailed", ": ".join(filter(None, said)), name, ended.get("exitCode"))
        for condition in status.get("conditions") or []:
            if condition["type"] == "Ready" and condition["status"] == "False" and unready is None:
                said = [condition.get("reason", ""), condition.get("message", "")]
                unready = Failure("RuntimeUnhealthy", ": ".join(filter(None, said)) or "is not ready", name)
    return unready


def with_times(conditions: Iterable[Condition], before: Iterable[Object], now: str) -> list[Object]:
    """Conditions as they stand in a status; the time is that of the last change of `status`."""
    since = {old["type"]: (old.get("status"), old.get("lastTransitionTime")) for old in before}
    written = []
    for condition in conditions:
        status, time = since.get(condition.type, (None, None))
        item: Object = {
            "type": condition.type,
            "status": condition.status,
            "lastTransitionTime": time if status == condition.status and time else now,
        }
        item |= {key: value for key in ("reason", "message") if (value := getattr(condition, key))}
        written.append(item)
    return written


def routed_services(route: Object) -> set[str]:
    """Names of the Services of its own namespace that a route names."""
    namespace = route["metadata"].get("namespace", "")
    return {
        backend["name"]
        for rule in route["spec"].get("rules") or []
        for backend in rule.get("backendRefs") or []
        if backend.get("kind", "Service") == "Service" and backend.get("namespace", namespace) == namespace
    }


def _routes_to(observed: Observed) -> list[Object]:
    name = observed.service["metadata"]["name"]
    own = {service_name(name, role) for role in ROLES}
    return sorted(
        (route for route in observed.routes if routed_services(route) & own),
        key=lambda route: (route["kind"], route["metadata"]["name"]),
    )


def _entry(observed: Observed) -> str:
    """The Service by which requests enter."""
    role: Role = "transformer" if "transformer" in observed.service["spec"] else "predictor"
    return service_name(observed.service["metadata"]["name"], role)


def _url(observed: Observed) -> str:
    """Where the gateway answers for it, empty if it does not."""
    routes = [route for route in _routes_to(observed) if route["kind"] == "HTTPRoute"]
    # One that leads to where requests enter comes before one to its explainer alone.
    routes.sort(key=lambda route: _entry(observed) not in routed_services(route))
    for route in routes:
        hostname = next((name for name in route["spec"].get("hostnames") or [] if not name.startswith("*")), "")
        if hostname and ingress_condition([route]).status == "True":
            port = _gateway_port(route, observed.gateways)
            return f"http://{hostname}" + (f":{port}" if port != 80 else "")
    return ""


def _gateway_port(route: Object, gateways: Mapping[tuple[str, str], Object]) -> int:
    for parent in route["spec"].get("parentRefs") or []:
        key = (parent.get("namespace", route["metadata"].get("namespace", "")), parent["name"])
        for listener in (gateways.get(key) or {"spec": {}})["spec"].get("listeners") or []:
            if parent.get("sectionName", listener["name"]) == listener["name"] and listener["protocol"] == "HTTP":
                return int(listener["port"])
    return 80


def _component_status(part: Part) -> Object:
    told: Object = {}
    if part.service is not None:
        metadata, spec = part.service["metadata"], part.service["spec"]
        told["url"] = f"http://{metadata['name']}.{metadata.get('namespace', 'default')}.svc.cluster.local"
        if (address := spec.get("clusterIP")) and address != "None":
            for number, port in enumerate(spec.get("ports") or []):
                if number == 0:
                    told["restUrl"] = f"http://{address}:{listening_port(port)}"
                elif port.get("appProtocol") == "kubernetes.io/h2c":
                    told.setdefault("grpcUrl", f"grpc://{address}:{listening_port(port)}")
    if part.deployment is not None:
        metadata = part.deployment["metadata"]
        revision = (metadata.get("annotations") or {}).get("deployment.kubernetes.io/revision")
        if revision:
            told["latestCreatedRevision"] = f"{metadata['name']}-{int(revision):05}"
            if component_condition(part).status == "True":
                told["latestReadyRevision"] = told["latestCreatedRevision"]
    return told


def _model_status(observed: Observed, conditions: Iterable[Condition]) -> Object:
    predictor = next((part for part in observed.parts if part.role == "predictor"), None)
    pods = [pod for pod in (predictor.pods if predictor else ()) if "deletionTimestamp" not in pod["metadata"]]
    ready = [pod for pod in pods if is_ready(pod)]
    failure = observed.failure or pod_failure(pod for pod in pods if not is_ready(pod))
    loaded = any(condition.type == "PredictorReady" and condition.status == "True" for condition in conditions)
    if observed.failure is not None:
        transition, target = "InvalidSpec", "FailedToLoad"
    elif loaded:
        transition, target, failure = "UpToDate", "Loaded", None
    elif failure is not None and failure.reason == "ModelLoadFailed":
        transition, target = "BlockedByFailedLoad", "FailedToLoad"
    else:
        transition, target, failure = "InProgress", "Loading" if pods else "Pending", None
    info: dict[str, Any] = {}
    if failure is not None:
        info = {"reason": failure.reason, "message": failure.message, "location": failure.location}
        info = {key: value for key, value in info.items() if value}
        if failure.exit_code is not None:
            info["exitCode"] = failure.exit_code
    return {
        "transitionStatus": transition,
        "states": {"activeModelState": "Loaded" if ready else target, "targetModelState": target},
        "copies": {"totalCopies": len(ready), "failedCopies": sum(pod_failure([pod]) is not None for pod in pods)},
        **({"lastFailureInfo": info} if info else {}),
    }


def is_ready(pod: Object) -> bool:
    """Whether a pod's condition `Ready` holds."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _ready_type(role: Role) -> str:
    return f"{role.capitalize()}Ready"
