"""Kubernetes' own rules for one container, and what changes when it becomes a process on this machine.

A container has its own network, file system and environment. A process gets the same through its flags and variables:
ports and Service names are replaced by addresses on this machine, `/mnt/models` by the folder of the model package.
"""

from __future__ import annotations

import base64
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcluster.inference_service import HTTP_PORT, Component
from localcluster.processes.process_spec import Address, Exec, Grpc, HttpGet, Probe, ProcessSpec, TcpSocket
from localcluster.render import ManifestError, Object, Objects

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
_RESOURCES = {"cpu", "memory", "ephemeral-storage"}
_SCRATCH = {"/tmp", "/dev/shm"}  # noqa: S108  # folders that the machine has as well
_PORT_FLAGS = ("--http_port", "--grpc_port")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.][-A-Za-z0-9_.]*)\)")
_MODEL_PATH = re.compile(rf"(?<![\w./-]){re.escape(MODEL_FOLDER)}(?![\w.-])")


def process_spec(
    component: Component,
    objects: Objects,
    *,
    address: Address,
    storage: Callable[[str], Path],
    services: Mapping[str, Address],
    environment: Mapping[str, str],
    name: str = "",
    waits_for: Sequence[str] = (),
) -> ProcessSpec:
    """Turns a component's container into a process.

    Args:
        component: The component.
        objects: Where its ConfigMaps and Secrets are.
        address: Where the process shall listen.
        storage: From a storage URI to the folder of its model package; raises ManifestError for an unknown one.
        services: Name of a Service to the address of the process that stands for it.
        environment: What every process gets, before what the manifest says.
        name: Name of the process; the component's Service if empty.
        waits_for: Names of processes without which it does not count as ready.

    Raises:
        ManifestError: The container asks for what cannot be run here.
    """
    container, where = component.container, f"InferenceService/{component.inference_service}: {component.role}"
    _refuse_unsupported(container, component.volumes, where)
    folder = storage(component.storage_uri) if component.storage_uri else None

    def local(text: str) -> str:
        return text if folder is None else _MODEL_PATH.sub(lambda _: str(folder), text)

    declared = _declared_environment(container, objects, component.namespace, where)
    words = [expand(word, declared) for word in [*_command(container, where), *(container.get("args") or [])]]
    words = _with_addresses([local(word) for word in words], address, services, where)
    # The file system of a process is the machine's, so scratch folders need no counterpart.
    complete = {**environment, **{key: local(value) for key, value in declared.items()}, "BIND_HOST": address.host}
    words[0] = _program(words[0], complete, where)
    container_ports = {
        entry.get("name", str(entry["containerPort"])): entry["containerPort"] for entry in container.get("ports") or []
    }

    def probe(field: str) -> Probe | None:
        spec = container.get(field)
        return None if spec is None else _probe(spec, address, container_ports, f"{where}: {field}")

    return ProcessSpec(
        name=name or component.service,
        command=tuple(words),
        environment=complete,
        address=address,
        ports={key: address.port(port) for key, port in container_ports.items()},
        startup=probe("startupProbe"),
        readiness=probe("readinessProbe"),
        liveness=probe("livenessProbe"),
        grace_s=component.grace_s,
        waits_for=tuple(waits_for),
    )


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replaces `$(NAME)` by a variable, as Kubernetes does in commands, args and values.

    Unknown names stay as they are; `$$` stands for `$`, so `$$(NAME)` gives the text `$(NAME)`.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return environment.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def _refuse_unsupported(container: Object, volumes: Sequence[Object], where: str) -> None:
    if unknown := sorted(container.keys() - _USED - _IMMATERIAL):
        raise ManifestError(f"{where}: {unknown[0]} has no counterpart on this machine; remove it from this overlay")
    resources = container.get("resources") or {}
    asked = {*(resources.get("requests") or {}), *(resources.get("limits") or {})}
    if scarce := sorted(asked - _RESOURCES):
        raise ManifestError(f"{where}: resource {scarce[0]} cannot be given to a process here; remove it")
    scratch = {volume["name"] for volume in volumes if "emptyDir" in volume}
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in scratch or mount["mountPath"] not in _SCRATCH:
            raise ManifestError(
                f"{where}: volume {mount['name']} at {mount['mountPath']} has no counterpart on this machine; "
                f"only an emptyDir at {' or '.join(sorted(_SCRATCH))} has"
            )


def _command(container: Object, where: str) -> list[str]:
    command = container.get("command")
    if not command:
        raise ManifestError(f"{where}: the container has no command; without its image, the entry point is unknown")
    return list(command)


def _program(program: str, environment: Mapping[str, str], where: str) -> str:
    if program in {"python", "python3"}:
        return sys.executable
    if (found := shutil.which(program, path=environment.get("PATH"))) is None:
        raise ManifestError(f"{where}: {program!r} is not installed on this machine")
    return found


def _declared_environment(container: Object, objects: Objects, namespace: str, where: str) -> dict[str, str]:
    """The variables that a container declares; later ones win and may refer to earlier ones."""
    declared: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix", "")
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if (reference := source.get(field)) is not None:
                values = _values(objects, kind, reference, namespace, where)
                declared |= {prefix + key: value for key, value in values.items()}
    for variable in container.get("env") or []:
        source = variable.get("valueFrom")
        if source is None:
            declared[variable["name"]] = expand(str(variable.get("value", "")), declared)
        elif (value := _referenced(source, objects, namespace, f"{where}: {variable['name']}")) is not None:
            declared[variable["name"]] = value
    return declared


def _referenced(source: Object, objects: Objects, namespace: str, where: str) -> str | None:
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if (reference := source.get(field)) is not None:
            values = _values(objects, kind, reference, namespace, where)
            if reference["key"] not in values and not reference.get("optional"):
                raise ManifestError(f"{where}: {kind} {reference['name']} has no key {reference['key']!r}")
            return values.get(reference["key"])
    raise ManifestError(f"{where}: valueFrom.{next(iter(source), '')} has no counterpart on this machine")


def _values(objects: Objects, kind: str, reference: Object, namespace: str, where: str) -> dict[str, str]:
    found = objects.find(kind, reference["name"], namespace)
    if found is None:
        if reference.get("optional"):
            return {}
        raise ManifestError(f"{where}: no {kind} {reference['name']!r} among the manifests; add it to this overlay")
    data = dict(found.get("data") or {})
    if kind == "Secret":
        decoded = {key: base64.b64decode(value).decode() for key, value in data.items()}
        return {**decoded, **(found.get("stringData") or {})}
    return data


def _with_addresses(words: list[str], address: Address, services: Mapping[str, Address], where: str) -> list[str]:
    """Replaces ports and Service names in flags, written `--flag value` or `--flag=value`."""
    replaced = list(words)
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag not in {*_PORT_FLAGS, "--predictor_host"}:
            continue
        if not equals:
            if index + 1 == len(words):
                raise ManifestError(f"{where}: {flag} has no value")
            value = words[index + 1]
        value = _address_of(value, services) if flag == "--predictor_host" else str(address.port(_number(value, where)))
        if equals:
            replaced[index] = f"{flag}={value}"
        else:
            replaced[index + 1] = value
    return replaced


def _number(text: str, where: str) -> int:
    if not text.isdecimal():
        raise ManifestError(f"{where}: {text!r} is no port number")
    return int(text)


def _address_of(host: str, services: Mapping[str, Address]) -> str:
    """Address of a Service; a host that is none of them stays as it is."""
    name, _, port = host.partition(":")
    service = services.get(name.partition(".")[0])
    if service is None:
        return host
    target = int(port) if port.isdecimal() else SERVICE_PORT
    return f"{service.host}:{service.port(HTTP_PORT if target == SERVICE_PORT else target)}"


def _probe(spec: Object, address: Address, ports: Mapping[str, int], where: str) -> Probe:
    def port(value: Any) -> int:
        if isinstance(value, str) and not value.isdecimal():
            if value not in ports:
                raise ManifestError(f"{where}: no port is named {value!r}")
            value = ports[value]
        return address.port(int(value))

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
