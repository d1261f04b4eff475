"""`blueprints status`: services and their processes as tables, from what the Kubernetes API says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.output import Json, console, fail, print_json
from cli.target import Context, Object, Target, target

if TYPE_CHECKING:
    from localcluster.daemon import ClusterState

ROLES = ("predictor", "transformer", "explainer")
RESOLVED = "ml-deployment-blueprints/storage-resolved"
_UNAVAILABLE = "Deployment does not have minimum availability; "
_ISVC = "serving.kserve.io/inferenceservice"


@dataclass(frozen=True)
class ServiceView:
    """An InferenceService as people ask about it.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        ready: `True`, `False` or `Unknown`; of its present specification, every replica included.
        message: Why it is not ready; empty if it is.
        url: Where it answers.
        share: Share of the route's traffic that it gets, None if no route names it.
        parts: Component to ready and wanted replicas.
        packages: Model packages that its pods run, as their storage resolved.
        restarts: Restarts of its processes.
        since: When it was created.
    """

    namespace: str
    name: str
    ready: str
    message: str
    url: str
    share: float | None
    parts: Mapping[str, tuple[int, int]]
    packages: tuple[str, ...]
    restarts: int
    since: str

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return asdict(self)


@dataclass(frozen=True)
class PodView:
    """A pod, on the laptop one process."""

    namespace: str
    name: str
    owner: str
    phase: str
    ready: bool
    restarts: int
    address: str
    pid: int | None
    since: str
    memory_mb: float | None = field(default=None)

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return asdict(self)


def status(
    service: Annotated[str | None, typer.Argument(help="InferenceService; all by default.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="All by default.")] = None,
    context: Context = None,
    json: Json = False,
) -> None:
    """Show services: readiness, traffic, replicas, model packages."""
    services, pods = snapshot(target(context), namespace)
    if service is not None:
        services = [one for one in services if service == one.name]
        pods = [pod for pod in pods if pod.owner == service]
        if not services:
            raise fail(f"no InferenceService {service!r}; deploy it with: blueprints deploy {service}", code=3)
    if json:
        print_json({"services": [one.as_json() for one in services], "pods": [pod.as_json() for pod in pods]})
        return
    console.print(services_table(services))
    if service is not None:
        console.print(pods_table(pods))


def cluster_view(where: Target, state: ClusterState | None) -> RenderableType:
    """Everything that runs in the laptop cluster."""
    if state is None:
        return Text("The cluster is down.", style="red")
    services, pods = snapshot(where)
    head = Text.assemble(
        ("The cluster is up", "green"), f"  gateway {state.gateway}  API {state.server}  process {state.pid}"
    )
    return Group(head, Text(), services_table(services), Text(), pods_table(pods))


def snapshot(where: Target, namespace: str | None = None) -> tuple[list[ServiceView], list[PodView]]:
    """Services and pods as they are now, in all namespaces or one."""
    scope = ["--all-namespaces"] if namespace is None else [f"--namespace={namespace}"]
    items = where.objects("inferenceservices,deployments,pods,httproutes", *scope)
    pods = [item for item in items if item["kind"] == "Pod"]
    return (
        [_service(item, items) for item in items if item["kind"] == "InferenceService"],
        [_pod(pod) for pod in pods],
    )


def services_table(services: Sequence[ServiceView]) -> RenderableType:
    """One row a service."""
    if not services:
        return Text("No services. Deploy one: blueprints deploy credit-risk", style="dim")
    headings = ("service", "ready", "traffic", "replicas", "model package", "restarts", "age", "URL")
    table = _table(headings)
    for one in services:
        mark = {"True": "[green]✓[/]", "False": "[red]✗[/]"}.get(one.ready, "[yellow]…[/]")
        replicas = "\n".join(f"{role} {ready}/{wanted}" for role, (ready, wanted) in one.parts.items())
        share = "" if one.share is None else f"{one.share:.0%}"
        packages = "\n".join(package.rstrip("/").rpartition("/")[2] for package in one.packages)
        restarts = str(one.restarts or "")
        table.add_row(one.name, mark, share, replicas, packages, restarts, age(one.since), Text(one.url))
    said = [Text(f"{one.name}: {one.message}", style="yellow") for one in services if one.message]
    return Group(table, *said)


def pods_table(pods: Sequence[PodView]) -> RenderableType:
    """One row a process."""
    if not pods:
        return Text("No processes.", style="dim")
    headings = ("pod", "status", "restarts", "address", "process", "memory", "age")
    table = _table(headings)
    for pod in sorted(pods, key=lambda pod: (pod.owner, pod.name)):
        colour = "green" if pod.ready or pod.phase == "Succeeded" else "yellow"
        memory = "" if pod.memory_mb is None else f"{pod.memory_mb:.0f} MB"
        table.add_row(
            pod.name,
            f"[{colour}]{'ready' if pod.ready else pod.phase}[/]",
            str(pod.restarts or ""),
            pod.address,
            str(pod.pid or ""),
            memory,
            age(pod.since),
        )
    return table


def _table(headings: Sequence[str]) -> Table:
    """A table whose cells break instead of losing their end: names and URLs are there to be copied."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def age(since: str) -> str:
    """How long ago, as kubectl says it."""
    if not since:
        return ""
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"


def _service(item: Object, items: Sequence[Object]) -> ServiceView:
    metadata, told = item["metadata"], item.get("status") or {}
    namespace, name = metadata["namespace"], metadata["name"]
    conditions = {condition["type"]: condition for condition in told.get("conditions") or []}
    ready = conditions.get("Ready", {})
    mine = [
        other
        for other in items
        if other["metadata"].get("namespace") == namespace
        and (other["metadata"].get("labels") or {}).get(_ISVC) == name
    ]
    pods = [other for other in mine if other["kind"] == "Pod"]
    deployments = {
        role: other
        for role in ROLES
        for other in mine
        if other["kind"] == "Deployment" and other["metadata"]["name"] == f"{name}-{role}"
    }
    parts = {role: _replicas(deployment) for role, deployment in deployments.items()}
    resolved = {(pod["metadata"].get("annotations") or {}).get(RESOLVED, "") for pod in pods}
    settled = all(_is_current(each) for each in (item, *deployments.values()))
    wrong = [c for c in conditions.values() if c["status"] != "True" and c.get("message") and c["type"] != "Ready"]
    parts_of = {c["message"].removeprefix(_UNAVAILABLE): c["type"].removesuffix("Ready").lower() for c in wrong}
    message = "; ".join(f"{part}: {text}" for text, part in parts_of.items()) or ready.get("message", "")
    return ServiceView(
        namespace=namespace,
        name=name,
        ready=ready.get("status", "Unknown") if settled else "Unknown",
        message="" if ready.get("status") == "True" else message,
        url=told.get("url", ""),
        share=_share(namespace, name, items),
        parts=parts,
        packages=tuple(sorted(resolved - {""})),
        restarts=sum(_restarts(pod) for pod in pods),
        since=metadata.get("creationTimestamp", ""),
    )


def _replicas(deployment: Object) -> tuple[int, int]:
    """Ready replicas of the present version, and wanted ones."""
    told = deployment.get("status") or {}
    return min(told.get("readyReplicas", 0), told.get("updatedReplicas", 0)), deployment["spec"].get("replicas", 1)


def _is_current(item: Object) -> bool:
    """Whether a status speaks of the specification as it is now, and an update has come through."""
    told = item.get("status") or {}
    if int(told.get("observedGeneration", 0)) < int(item["metadata"].get("generation", 0)):
        return False
    if item["kind"] != "Deployment":
        return True
    ready, wanted = _replicas(item)
    return bool(ready == wanted == told.get("replicas", 0))


def _share(namespace: str, name: str, items: Sequence[Object]) -> float | None:
    """The share of the first route's first rule that names one of its components."""
    services = {f"{name}-{role}" for role in ROLES}
    for route in (item for item in items if item["kind"] == "HTTPRoute"):
        if route["metadata"]["namespace"] != namespace:
            continue
        for rule in route["spec"].get("rules") or []:
            weights = {backend["name"]: backend.get("weight", 1) for backend in rule.get("backendRefs") or []}
            if there := services & weights.keys():
                total = sum(weights.values())
                return sum(weights[service] for service in there) / total if total else 0.0
    return None


def _restarts(pod: Object) -> int:
    return sum(status.get("restartCount", 0) for status in (pod.get("status") or {}).get("containerStatuses") or [])


def _pod(item: Object) -> PodView:
    metadata, told = item["metadata"], item.get("status") or {}
    labels = metadata.get("labels") or {}
    containers = told.get("containerStatuses") or [{}]
    waiting = (containers[0].get("state") or {}).get("waiting") or {}
    pid = containers[0].get("containerID", "").rpartition("process://")[2]
    phase = (
        "Terminating" if metadata.get("deletionTimestamp") else waiting.get("reason") or told.get("phase", "Pending")
    )
    return PodView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        owner=labels.get(_ISVC, ""),
        phase=phase,
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in told.get("conditions") or []),
        restarts=_restarts(item),
        address=told.get("podIP", ""),
        pid=int(pid) if pid.isdecimal() else None,
        since=metadata.get("creationTimestamp", ""),
        memory_mb=_memory_mb(int(pid)) if pid.isdecimal() else None,
    )


def _memory_mb(pid: int) -> float | None:
    """Resident memory of a process and its children, None if it has ended."""
    import psutil  # type: ignore[import-untyped]

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return float(sum(each.memory_info().rss for each in family)) / 1e6
    except psutil.Error:
        return None
