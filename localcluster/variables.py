"""Kubernetes' rules for a container's environment: `env`, `envFrom`, references to fields, and `$(NAME)`."""

from __future__ import annotations

import base64
import binascii
import math
import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

from localcluster.render import ManifestError, Object

Find = Callable[[str, str, str], Object | None]
"""The object of a kind, name and namespace, None if there is none."""

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.][-A-Za-z0-9_.]*)\)")
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_QUANTITY = re.compile(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replaces `$(NAME)` by a variable, as Kubernetes does in commands, args and values.

    Unknown names stay as they are; `$$` stands for `$`, so `$$(NAME)` gives the text `$(NAME)`.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return environment.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def declared_environment(
    container: Object, find: Find, namespace: str, where: str, pod: Object | None = None
) -> dict[str, str]:
    """The variables that a container declares; later ones win and may refer to earlier ones.

    Args:
        container: The container.
        find: Where its ConfigMaps and Secrets are.
        namespace: Namespace of the pod.
        where: The container, for messages.
        pod: For references to its fields, with its address in `status`.

    Raises:
        ManifestError: A ConfigMap, a Secret or one of its keys is missing, a reference has no counterpart here, or no
            process can have such a variable.
    """
    declared: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix", "")
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if (reference := source.get(field)) is not None:
                values = values_of(find, kind, reference, namespace, where)
                declared |= {prefix + key: _text(value, key, where) for key, value in values.items()}
    for variable in container.get("env") or []:
        source = variable.get("valueFrom")
        if source is None:
            declared[variable["name"]] = expand(str(variable.get("value", "")), declared)
            continue
        here = f"{where}: {variable['name']}"
        if (value := _referenced(source, container, find, namespace, here, pod)) is not None:
            declared[variable["name"]] = value
    for name, value in declared.items():
        if not name or "=" in name or "\0" in name + value:
            raise ManifestError(
                f"{where}: no process can have the variable {name!r}; remove '=' from its name, NUL from both"
            )
    return declared


def values_of(find: Find, kind: str, reference: Object, namespace: str, where: str) -> dict[str, bytes]:
    """What a ConfigMap or Secret holds; nothing if it is missing and optional.

    Raises:
        ManifestError: It is missing.
    """
    found = find(kind, reference["name"], namespace)
    if found is None:
        if reference.get("optional"):
            return {}
        raise ManifestError(f'{where}: {kind.lower()} "{reference["name"]}" not found; apply it')
    data = found.get("data") or {}
    try:
        if kind == "Secret":
            decoded = {key: base64.b64decode(value, validate=True) for key, value in data.items()}
            return {**decoded, **{key: value.encode() for key, value in (found.get("stringData") or {}).items()}}
        binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    except binascii.Error as error:
        raise ManifestError(f"{where}: {kind} {reference['name']}: its data is not base64: {error}") from error
    return {**{key: value.encode() for key, value in data.items()}, **binary}


def quantity(text: str | float) -> Decimal:
    """The number that a quantity such as `250m` or `1Gi` stands for.

    Raises:
        ManifestError: It is no quantity.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    try:
        if match is not None:
            return Decimal(match[1]) * _SUFFIXES[match[2] or ""]
    except InvalidOperation:
        pass
    raise ManifestError(f"{text!r} is no quantity; write it as 500m, 2 or 1Gi")


def _text(value: bytes, key: str, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where}: the value of {key!r} is bytes, which no variable can hold") from error


def _referenced(
    source: Object, container: Object, find: Find, namespace: str, where: str, pod: Object | None
) -> str | None:
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if (reference := source.get(field)) is not None:
            values, key = values_of(find, kind, reference, namespace, where), reference["key"]
            if key in values:
                return _text(values[key], key, where)
            if reference.get("optional"):
                return None
            raise ManifestError(f"{where}: {kind} {reference['name']} has no key {key!r}")
    if pod is not None and (reference := source.get("fieldRef")) is not None:
        return _field(pod, reference["fieldPath"], where)
    if pod is not None and (reference := source.get("resourceFieldRef")) is not None:
        return _resource(container, reference, where)
    raise ManifestError(f"{where}: valueFrom.{next(iter(source), '')} has no counterpart on this machine")


def _field(pod: Object, path: str, where: str) -> str:
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if keyed := _KEYED_FIELD.fullmatch(path):
        return str((metadata.get(keyed[1]) or {}).get(keyed[2], ""))
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.hostIP": status.get("hostIP", ""),
        "status.podIP": status.get("podIP", ""),
    }
    if path not in values:
        raise ManifestError(f"{where}: valueFrom.fieldRef: {path} has no counterpart on this machine")
    return str(values[path])


def _resource(container: Object, reference: Object, where: str) -> str:
    """A request or limit in units of the divisor, rounded up; without a limit, what this machine has."""
    kind, _, name = reference["resource"].partition(".")
    given = (container.get("resources") or {}).get(kind) or {}
    try:
        amount = quantity(given[name]) if name in given else _machine(name) if kind == "limits" else Decimal(0)
        divisor = quantity(reference.get("divisor") or 1) or Decimal(1)
    except KeyError as error:
        raise ManifestError(f"{where}: resource {reference['resource']} has no counterpart on this machine") from error
    return str(math.ceil(amount / divisor))


def _machine(resource: str) -> Decimal:
    pages = {"memory": "SC_PHYS_PAGES"}
    if resource == "cpu":
        return Decimal(os.cpu_count() or 1)
    return Decimal(os.sysconf(pages[resource])) * os.sysconf("SC_PAGE_SIZE")
