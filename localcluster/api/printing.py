"""Cells of `kubectl get` that no JSONPath gives: a pod's READY and STATUS, a Service's ports, ages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from localcluster.render import Object

_NONE = "<none>"
_UNKNOWN = "<unknown>"
_SHOWN_ENDPOINTS = 3

Cell = Callable[[Object], Any]


def cells(plural: str) -> Mapping[str, Cell]:
    """The computed columns of a resource by name."""
    return _CELLS.get(plural, {})


def age(since: str | None, until: str | None = None) -> str:
    """The time between two timestamps, or up to now, as kubectl prints it: `5m12s`, `3d4h`."""
    start = _time(since)
    if start is None:
        return _UNKNOWN
    return _duration(int(((_time(until) or datetime.now(UTC)) - start).total_seconds()))


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _duration(seconds: int) -> str:
    """Two units where the first alone would be coarse, as kubectl rounds."""
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    years = days // 365
    # From which value on, the units, and how many of the smaller make one of the larger.
    steps = (
        (years >= 8, f"{years}y", ""),
        (years >= 2, f"{years}y", f"{days % 365}d"),
        (days >= 8, f"{days}d", ""),
        (hours >= 48, f"{days}d", f"{hours % 24}h"),
        (hours >= 8, f"{hours}h", ""),
        (hours >= 3, f"{hours}h", f"{minutes % 60}m"),
        (minutes >= 10, f"{minutes}m", ""),
        (minutes >= 2, f"{minutes}m", f"{seconds % 60}s"),
        (True, f"{seconds}s", ""),
    )
    whole, rest = next((whole, rest) for reached, whole, rest in steps if reached)
    return whole if rest.startswith("0") and len(rest) == 2 else whole + rest


def _status(item: Object) -> Object:
    status: Object = item.get("status") or {}
    return status


def _spec(item: Object) -> Object:
    spec: Object = item.get("spec") or {}
    return spec


def _labels(selector: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in (selector or {}).items()) or _NONE


def _container_statuses(pod: Object) -> list[Object]:
    statuses: list[Object] = _status(pod).get("containerStatuses") or []
    return statuses


def _pod_ready(pod: Object) -> str:
    ready = sum(bool(status.get("ready")) for status in _container_statuses(pod))
    return f"{ready}/{len(_spec(pod).get('containers') or ())}"


def _pod_status(pod: Object) -> str:
    status = _status(pod)
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    phase: str = status.get("reason") or status.get("phase") or "Unknown"
    for container in status.get("initContainerStatuses") or ():
        said = _container_state(container)
        if said and said != "Completed":
            return f"Init:{said}"
    said = next(filter(None, map(_container_state, _container_statuses(pod))), "")
    if said == "Completed" and any("running" in (each.get("state") or {}) for each in _container_statuses(pod)):
        return "Running" if _is_ready(pod) else "NotReady"
    return said or phase


def _container_state(container: Object) -> str:
    state = container.get("state") or {}
    if waiting := state.get("waiting"):
        return str(waiting.get("reason") or "")
    if (ended := state.get("terminated")) is None:
        return ""
    code = f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
    return str(ended.get("reason") or code)


def _is_ready(pod: Object) -> bool:
    conditions = _status(pod).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _pod_restarts(pod: Object) -> str:
    statuses = _container_statuses(pod)
    restarts = sum(each.get("restartCount", 0) for each in statuses)
    ends = [((each.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for each in statuses]
    last = max(filter(None, ends), default=None)
    return f"{restarts} ({age(last)} ago)" if restarts and last else str(restarts)


def _service_external_ip(service: Object) -> str:
    if _spec(service).get("type") == "ExternalName":
        return str(_spec(service).get("externalName"))
    balancer = (_status(service).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [*(_spec(service).get("externalIPs") or ()), *(each.get("ip") or each["hostname"] for each in balancer)]
    return ",".join(addresses) or _NONE


def _service_ports(service: Object) -> str:
    return (
        ",".join(
            f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
            for port in _spec(service).get("ports") or ()
        )
        or _NONE
    )


def _ready_of_wanted(item: Object) -> str:
    return f"{_status(item).get('readyReplicas', 0)}/{_spec(item).get('replicas', 1)}"


def _job_status(job: Object) -> str:
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    holding = {each["type"] for each in _status(job).get("conditions") or () if each.get("status") == "True"}
    shown = {"Complete": "Complete", "Failed": "Failed", "Suspended": "Suspended"}
    return next((text for type_, text in shown.items() if type_ in holding), "Running")


def _job_completions(job: Object) -> str:
    succeeded = _status(job).get("succeeded", 0)
    wanted, parallel = _spec(job).get("completions"), _spec(job).get("parallelism", 1)
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    return f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"


def _job_duration(job: Object) -> str:
    started = _status(job).get("startTime")
    return age(started, _status(job).get("completionTime")) if started else ""


def _pod_spec(item: Object) -> Object:
    template = (_spec(item).get("jobTemplate") or {}).get("spec") or _spec(item)
    found: Object = (template.get("template") or {}).get("spec") or {}
    return found


def _containers(key: str) -> Cell:
    return lambda item: ",".join(each.get(key, "") for each in _pod_spec(item).get("containers") or ())


def _selector(item: Object) -> str:
    selector = _spec(item).get("selector") or {}
    return _labels(selector.get("matchLabels") if "matchLabels" in selector else selector)


def _data(item: Object) -> int:
    return len(item.get("data") or ()) + len(item.get("binaryData") or ())


def _access_modes(claim: Object) -> str:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    return ",".join(short.get(mode, mode) for mode in _spec(claim).get("accessModes") or ())


def _event_last_seen(event: Object) -> str:
    return age(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))


def _event_first_seen(event: Object) -> str:
    return age(event.get("firstTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))


def _event_object(event: Object) -> str:
    regarding = event.get("involvedObject") or {}
    return f"{regarding.get('kind', '').lower()}/{regarding.get('name', '')}"


def _scaled(autoscaler: Object) -> str:
    target = _spec(autoscaler).get("scaleTargetRef") or {}
    return f"{target.get('kind')}/{target.get('name')}"


def _targets(autoscaler: Object) -> str:
    shown = []
    current = {each.get("type"): each for each in _status(autoscaler).get("currentMetrics") or ()}
    for metric in _spec(autoscaler).get("metrics") or ():
        source = metric.get("type", "")
        part = metric.get(source[:1].lower() + source[1:]) or {}
        now = (current.get(source) or {}).get(source[:1].lower() + source[1:]) or {}
        name = f"{part['name']}: " if source == "Resource" else ""
        shown.append(f"{name}{_amount(now.get('current') or {})}/{_amount(part.get('target') or {})}")
    return ", ".join(shown) or _UNKNOWN


def _amount(value: Mapping[str, Any]) -> str:
    if "averageUtilization" in value:
        return f"{value['averageUtilization']}%"
    return str(value.get("averageValue") or value.get("value") or _UNKNOWN)


def _slice_ports(slice_: Object) -> str:
    return ",".join(str(port.get("port", "*")) for port in slice_.get("ports") or ()) or "<unset>"


def _slice_endpoints(slice_: Object) -> str:
    addresses = [address for endpoint in slice_.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    more = len(addresses) - _SHOWN_ENDPOINTS
    shown = ",".join(addresses[:_SHOWN_ENDPOINTS])
    return f"{shown} + {more} more..." if more > 0 else shown or "<unset>"


_WORKLOAD: dict[str, Cell] = {
    "Containers": _containers("name"),
    "Images": _containers("image"),
    "Selector": _selector,
}
_CELLS: dict[str, dict[str, Cell]] = {
    "pods": {"Ready": _pod_ready, "Status": _pod_status, "Restarts": _pod_restarts},
    "services": {"External-IP": _service_external_ip, "Port(s)": _service_ports, "Selector": _selector},
    "configmaps": {"Data": _data},
    "secrets": {"Data": _data},
    "persistentvolumeclaims": {"Access Modes": _access_modes},
    "events": {"Last Seen": _event_last_seen, "First Seen": _event_first_seen, "Object": _event_object},
    "deployments": {
        "Ready": _ready_of_wanted,
        "Up-to-date": lambda item: _status(item).get("updatedReplicas", 0),
        "Available": lambda item: _status(item).get("availableReplicas", 0),
        **_WORKLOAD,
    },
    "replicasets": {
        "Current": lambda item: _status(item).get("replicas", 0),
        "Ready": lambda item: _status(item).get("readyReplicas", 0),
        **_WORKLOAD,
    },
    "jobs": {"Status": _job_status, "Completions": _job_completions, "Duration": _job_duration, **_WORKLOAD},
    "cronjobs": {"Active": lambda item: len(_status(item).get("active") or ()), **_WORKLOAD},
    "horizontalpodautoscalers": {"Reference": _scaled, "Targets": _targets},
    "networkpolicies": {
        "Pod-Selector": lambda item: _labels((_spec(item).get("podSelector") or {}).get("matchLabels"))
    },
    "endpointslices": {"Ports": _slice_ports, "Endpoints": _slice_endpoints},
}
