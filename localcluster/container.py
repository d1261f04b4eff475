"""From a pod to a process: Kubernetes' rules for its container, and what changes when it runs on this machine.

A container has its own network, file system and environment. A process gets the same through a loopback address of its
own, its flags and its variables: names of Services are replaced by addresses, mount paths by folders.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localcluster.addresses import listening_port
from localcluster.images import interpreter
from localcluster.mounts import localize, mount
from localcluster.processes.process_spec import Address, Exec, Grpc, HttpGet, Probe, ProcessSpec, TcpSocket
from localcluster.render import ManifestError, Object, label
from localcluster.variables import Find, declared_environment, expand

MODEL_FOLDER = "/mnt/models"
SERVICE_PORT = 80

_USED = {
    "name",
    "command",
    "args",
    "env",
    "envFrom",
    "ports",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "resources",
    "volumeMounts",
}
# A process has no image, and the rights of whoever starts it.
_IMMATERIAL = {"image", "imagePullPolicy", "securityContext", "terminationMessagePath", "terminationMessagePolicy"}
_POD_USED = {
    "containers",
    "nodeName",
    "restartPolicy",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "volumes",
}
# They place, name or guard pods; one process on this machine is the same without them.
_POD_IMMATERIAL = {
    "affinity",
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostname",
    "imagePullSecrets",
    "nodeSelector",
    "os",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "schedulerName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "shareProcessNamespace",
    "subdomain",
    "tolerations",
    "topologySpreadConstraints",
}
_RESOURCES = {"cpu", "memory", "ephemeral-storage"}
# A URL of a Service and nothing else, perhaps as the value of a flag.
_URL = re.compile(r"(?P<flag>--?[\w-]+=)?http://(?P<host>[a-z0-9.-]+)(?::(?P<port>\d+))?(?P<path>/[^\s]*)?")
_SERVICE_HOST = re.compile(r"(?P<name>[a-z0-9-]+)(?:\.(?P<namespace>[a-z0-9-]+)(?P<svc>\.svc(?:\.cluster\.local)?)?)?")


class NotYetError(ManifestError):
    """What a pod needs is on its way; it starts when that is there."""


@dataclass(frozen=True)
class Surroundings:
    """What a pod finds on this machine.

    Attributes:
        address: Its own loopback address.
        folder: Its own folder, for volumes.
        find: The ConfigMaps, Secrets, Services and Namespaces there are.
        holds_service: Whether an address is one of this cluster's Services; another may be another cluster's.
        claim: From the name of a volume claim to the folder that stands for it, None if none does.
        model: Folder of its model package, which stands for `/mnt/models`; None for a pod without one.
        environment: What every process gets, before what the manifest says.
    """

    address: str
    folder: Path
    find: Find
    holds_service: Callable[[str], bool]
    claim: Callable[[str], Path | None]
    model: Path | None
    environment: Mapping[str, str]


def pod_process_spec(pod: Object, around: Surroundings) -> ProcessSpec:
    """Turns a pod into a process, named `<namespace>/<pod>`; makes its volumes.

    Raises:
        NotYetError: A Service that it names has no address yet.
        ImageError: Its image has no counterpart here.
        ManifestError: It asks for what cannot be had here, or for a ConfigMap or Secret that is not there.
    """
    where, spec, metadata = label(pod), pod["spec"], pod["metadata"]
    namespace = metadata["namespace"]
    container = only_container(pod)
    _refuse_unsupported(container, where)
    python = interpreter(container.get("image", ""), metadata.get("annotations") or {})
    mounted = mount(pod, container, folder=around.folder, find=around.find, claim=around.claim, where=where)
    if around.model is not None:
        mounted[MODEL_FOLDER] = around.model

    def local(text: str) -> str:
        return _with_services(localize(text, mounted), namespace, around)

    declared = declared_environment(container, around.find, namespace, where, pod)
    words = [expand(word, declared) for word in [*_command(container, where), *(container.get("args") or [])]]
    words = _with_predictor([local(word) for word in words], namespace, around, where)
    complete = {
        **around.environment,
        "HOSTNAME": metadata["name"],
        **{key: local(value) for key, value in declared.items()},
        "BIND_HOST": around.address,
    }
    words[0] = _program(words[0], complete, python, where)
    address = Address(around.address)
    ports = {
        entry.get("name", str(entry["containerPort"])): entry["containerPort"] for entry in container.get("ports") or []
    }

    def probe(field: str) -> Probe | None:
        given = container.get(field)
        if given is None:
            return None
        made = _probe(given, address, ports, f"{where}: {field}")
        if isinstance(made.action, Exec):
            words = [local(expand(word, declared)) for word in made.action.command]
            words[0] = _program(words[0], complete, python, f"{where}: {field}")
            made = replace(made, action=Exec(tuple(words)))
        return made

    return ProcessSpec(
        name=f"{namespace}/{metadata['name']}",
        command=tuple(words),
        environment=complete,
        address=address,
        ports=ports,
        startup=probe("startupProbe"),
        readiness=probe("readinessProbe"),
        liveness=probe("livenessProbe"),
        grace_s=float(spec.get("terminationGracePeriodSeconds", 30)),
        restart=spec.get("restartPolicy", "Always"),
    )


def only_container(pod: Object) -> Object:
    """The one container of a pod.

    Raises:
        ManifestError: It has others beside it, or asks for what cannot be had here.
    """
    spec, where = pod["spec"], label(pod)
    if spec.get("initContainers"):
        raise ManifestError(f"{where}: init containers cannot be run here; a model comes by storageUri")
    if len(spec["containers"]) != 1:
        raise ManifestError(f"{where}: exactly one container can be run here, not {len(spec['containers'])}")
    if unknown := sorted(field for field in spec.keys() - _POD_USED - _POD_IMMATERIAL if spec[field]):
        raise ManifestError(f"{where}: spec.{unknown[0]} has no counterpart on this machine; remove it")
    container: Object = spec["containers"][0]
    return container


def _refuse_unsupported(container: Object, where: str) -> None:
    if unknown := sorted(container.keys() - _USED - _IMMATERIAL):
        raise ManifestError(f"{where}: {unknown[0]} has no counterpart on this machine; remove it")
    resources = container.get("resources") or {}
    asked = {*(resources.get("requests") or {}), *(resources.get("limits") or {})}
    if scarce := sorted(asked - _RESOURCES):
        raise ManifestError(f"{where}: resource {scarce[0]} cannot be given to a process here; remove it")


def _command(container: Object, where: str) -> list[str]:
    command = container.get("command")
    if not command:
        raise ManifestError(f"{where}: the container has no command; without its image, the entry point is unknown")
    return list(command)


def _program(program: str, environment: Mapping[str, str], python: Path, where: str) -> str:
    if program in {"python", "python3"}:
        return str(python)
    if (found := shutil.which(program, path=environment.get("PATH"))) is None:
        raise ManifestError(f"{where}: {program!r} is not installed on this machine")
    return found


def _with_services(text: str, namespace: str, around: Surroundings) -> str:
    """A URL of a Service with the Service's address in it; any other text as it is."""
    match = _URL.fullmatch(text)
    if match is None:
        return text
    found = _service_address(match["host"], match["port"], namespace, around, sure=False)
    return text if found is None else f"{match['flag'] or ''}http://{found}{match['path'] or ''}"


def _with_predictor(words: list[str], namespace: str, around: Surroundings, where: str) -> list[str]:
    """Replaces the Service's name in `--predictor_host value` and `--predictor_host=value`."""
    replaced = list(words)
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag != "--predictor_host":
            continue
        if not equals:
            if index + 1 == len(words):
                raise ManifestError(f"{where}: {flag} has no value")
            value = words[index + 1]
        host, _, port = value.partition(":")
        found = _service_address(host, port, namespace, around, sure=True) or value
        replaced[index if equals else index + 1] = f"{flag}={found}" if equals else found
    return replaced


def _service_address(host: str, port: str | None, namespace: str, around: Surroundings, *, sure: bool) -> str | None:
    """Where a Service listens, None for a host that is none.

    A name of one word, or one that ends with `.svc`, is a Service's; `a.b` is one only if `b` is a namespace, or if it
    is `sure` that a Service is meant.

    Raises:
        NotYetError: It is a Service's name, but there is no such Service with an address yet.
    """
    match = _SERVICE_HOST.fullmatch(host)
    if match is None or host == "localhost" or _is_ip(host):
        return None
    other = match["namespace"]
    if other and not (match["svc"] or sure or around.find("Namespace", other, "")):
        return None
    name, namespace = match["name"], other or namespace
    service = around.find("Service", name, namespace)
    spec: Object = (service or {}).get("spec") or {}
    address = spec.get("clusterIP") or ""
    # An address of the time before the cluster took another range is replaced soon.
    if not around.holds_service(address):
        raise NotYetError(f"waits for an address of Service {namespace}/{name}")
    number = int(port or SERVICE_PORT)
    entry = next((entry for entry in spec.get("ports") or [] if entry["port"] == number), {"port": number})
    return f"{address}:{listening_port(entry)}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _probe(spec: Object, address: Address, ports: Mapping[str, int], where: str) -> Probe:
    def port(value: Any) -> int:
        if isinstance(value, str) and not value.isdecimal():
            if value not in ports:
                raise ManifestError(f"{where}: no port is named {value!r}")
            value = ports[value]
        return int(value)

    action: HttpGet | TcpSocket | Grpc | Exec
    if get := spec.get("httpGet"):
        action = HttpGet(
            host=get.get("host", address.host),
            port=port(get["port"]),
            path=get.get("path", "/"),
            scheme=get.get("scheme", "HTTP").lower(),
            headers=tuple((header["name"], header["value"]) for header in get.get("httpHeaders") or []),
        )
    elif socket := spec.get("tcpSocket"):
        action = TcpSocket(host=socket.get("host", address.host), port=port(socket["port"]))
    elif grpc := spec.get("grpc"):
        action = Grpc(host=address.host, port=port(grpc["port"]), service=grpc.get("service", ""))
    elif exec_ := spec.get("exec"):
        action = Exec(tuple(exec_["command"]))
    else:
        raise ManifestError(f"{where}: names no httpGet, tcpSocket, grpc or exec")
    return Probe(
        action=action,
        initial_delay_s=spec.get("initialDelaySeconds", 0),
        period_s=spec.get("periodSeconds", 10),
        timeout_s=spec.get("timeoutSeconds", 1),
        success_threshold=spec.get("successThreshold", 1),
        failure_threshold=spec.get("failureThreshold", 3),
    )
