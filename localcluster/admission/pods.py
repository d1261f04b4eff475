"""Rules of pods and of the templates that make them, with an API server's messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from localcluster.admission.core_defaults import containers
from localcluster.admission.quantity import quantity
from localcluster.api.errors import Cause
from localcluster.render import Object

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9]*(-[a-z0-9]+)*)")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def wrong(field: str, value: Any, message: str) -> Cause:
    """A value that cannot be."""
    shown = json.dumps(value, ensure_ascii=False) if isinstance(value, str | int | bool) else json.dumps(value)
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {message}", field)


def missing(field: str, message: str = "") -> Cause:
    """A value that must be given."""
    return Cause("FieldValueRequired", f"Required value: {message}" if message else "Required value", field)


def forbidden(field: str, message: str) -> Cause:
    """A value that must not be given, or not be changed."""
    return Cause("FieldValueForbidden", f"Forbidden: {message}", field)


def duplicate(field: str, value: Any) -> Cause:
    """A value that is there twice."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {json.dumps(value)}", field)


def one_of(field: str, value: Any, options: Sequence[str]) -> Iterator[Cause]:
    """A value that must be one of a few."""
    if value not in options:
        known = ", ".join(f'"{option}"' for option in options)
        yield Cause(
            "FieldValueNotSupported", f"Unsupported value: {json.dumps(value)}: supported values: {known}", field
        )


def not_negative(field: str, value: int | None) -> Iterator[Cause]:
    """A number that must not be below 0."""
    if value is not None and value < 0:
        yield wrong(field, value, "must be greater than or equal to 0")


def port(field: str, value: int) -> Iterator[Cause]:
    """The number of a port."""
    if not 1 <= value <= 65535:
        yield wrong(field, value, "must be between 1 and 65535, inclusive")


def port_name(field: str, value: str) -> Iterator[Cause]:
    """The name of a port."""
    if len(value) > 15 or not _PORT_NAME.fullmatch(value):
        rule = "must be no more than 15 characters, lower case letters, digits and '-', with at least one letter"
        yield wrong(field, value, rule)


def unique(field: str, values: Sequence[Any]) -> Iterator[Cause]:
    """Names that may be there once; `field` has `{}` for the index."""
    for index, value in enumerate(values):
        if value is not None and value in values[:index]:
            yield duplicate(field.format(index), value)


def dns_label(field: str, value: str) -> Iterator[Cause]:
    """A name that becomes part of a host's name."""
    if len(value) > 63 or not _DNS_LABEL.fullmatch(value):
        yield wrong(field, value, _DNS_LABEL_RULE)


def pod_causes(path: str, pod: Object) -> Iterator[Cause]:
    """What is wrong with a well-formed pod spec that has its defaults."""
    if not pod.get("containers"):
        yield missing(f"{path}.containers")
    yield from one_of(f"{path}.restartPolicy", pod["restartPolicy"], ("Always", "OnFailure", "Never"))
    yield from not_negative(f"{path}.terminationGracePeriodSeconds", pod["terminationGracePeriodSeconds"])
    volumes = [volume["name"] for volume in pod.get("volumes", [])]
    yield from unique(f"{path}.volumes[{{}}].name", volumes)
    for index, volume in enumerate(pod.get("volumes", [])):
        yield from dns_label(f"{path}.volumes[{index}].name", volume["name"])
        sources = sorted(volume.keys() - {"name"})
        for extra in sources[1:]:
            yield forbidden(f"{path}.volumes[{index}].{extra}", "may not specify more than 1 volume type")
    seen: list[str] = []
    for where, container in containers(pod, path):
        name = container["name"]
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.append(name)
        yield from _container_causes(where, container, volumes)


def _container_causes(path: str, container: Object, volumes: Sequence[str]) -> Iterator[Cause]:
    yield from dns_label(f"{path}.name", container["name"])
    if not container.get("image"):
        yield missing(f"{path}.image")
    yield from one_of(f"{path}.imagePullPolicy", container["imagePullPolicy"], ("Always", "IfNotPresent", "Never"))
    yield from _port_causes(path, container.get("ports", []))
    for index, variable in enumerate(container.get("env", [])):
        where = f"{path}.env[{index}]"
        if not variable["name"]:
            yield missing(f"{where}.name")
        if "valueFrom" in variable:
            if variable.get("value"):
                yield wrong(f"{where}.valueFrom", "", "may not be specified when `value` is not empty")
            if len(variable["valueFrom"]) != 1:
                yield wrong(f"{where}.valueFrom", "", "must specify exactly one source")
    mounts = container.get("volumeMounts", [])
    for index, mount in enumerate(mounts):
        where = f"{path}.volumeMounts[{index}]"
        if mount["name"] not in volumes:
            yield Cause("FieldValueNotFound", f'Not found: "{mount["name"]}"', f"{where}.name")
        if mount["mountPath"] in [other["mountPath"] for other in mounts[:index]]:
            yield wrong(f"{where}.mountPath", mount["mountPath"], "must be unique")
    for field in _PROBES:
        if field in container:
            yield from _probe_causes(f"{path}.{field}", container[field], field)
    yield from _resource_causes(f"{path}.resources", container.get("resources", {}))


def _port_causes(path: str, ports: Sequence[Object]) -> Iterator[Cause]:
    yield from unique(f"{path}.ports[{{}}].name", [each.get("name") for each in ports])
    for index, each in enumerate(ports):
        where = f"{path}.ports[{index}]"
        yield from port(f"{where}.containerPort", each["containerPort"])
        yield from one_of(f"{where}.protocol", each["protocol"], _PROTOCOLS)
        if "hostPort" in each:
            yield from port(f"{where}.hostPort", each["hostPort"])
        if "name" in each:
            yield from port_name(f"{where}.name", each["name"])


def _probe_causes(path: str, probe: Object, field: str) -> Iterator[Cause]:
    handlers = [name for name in _HANDLERS if name in probe]
    if not handlers:
        yield missing(path, "must specify a handler type")
    for extra in handlers[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from not_negative(f"{path}.{name}", probe.get(name))
    if field != "readinessProbe" and probe["successThreshold"] != 1:
        yield wrong(f"{path}.successThreshold", probe["successThreshold"], "must be 1")
    for name in ("httpGet", "tcpSocket", "grpc"):
        number = probe.get(name, {}).get("port")
        if isinstance(number, int):
            yield from port(f"{path}.{name}.port", number)
        elif number is not None:
            yield from port_name(f"{path}.{name}.port", number)


def _resource_causes(path: str, resources: Object) -> Iterator[Cause]:
    amounts: dict[str, dict[str, Any]] = {"requests": {}, "limits": {}}
    for kind, found in amounts.items():
        for name, value in resources.get(kind, {}).items():
            try:
                found[name] = quantity(value)
            except ValueError as error:
                yield wrong(f"{path}.{kind}.{name}", value, str(error))
            else:
                if found[name] < 0:
                    yield wrong(f"{path}.{kind}.{name}", value, "must be greater than or equal to 0")
    for name, request in amounts["requests"].items():
        limit = amounts["limits"].get(name)
        if limit is not None and request > limit:
            message = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            yield wrong(f"{path}.requests", str(resources["requests"][name]), message)
