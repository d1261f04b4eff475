"""What every manifest of this project must hold, beyond being well-formed.

Each check is a function from the objects of one overlay to its findings; `validate` runs them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from localcluster.inference_service import MODE, ROLES, components, service_name
from localcluster.render import ManifestError, Object, Objects, label
from localcluster.schemas.validators import Schemas

_MODES = {"Standard", "Knative"}
_STORAGE_SCHEMES = (
    "gs://",
    "s3://",
    "pvc://",
    "file://",
    "https://",
    "http://",
    "hdfs://",
    "webhdfs://",
    "oci://",
    "hf://",
)
_SAFE_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_ROUTES = ("HTTPRoute", "GRPCRoute")
_RESOURCES = ("cpu", "memory")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a manifest.

    Attributes:
        item: The object, as `Kind/name`.
        path: Where in it, empty for all of it.
        message: What is wrong, and what to do.
    """

    item: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.item}: {self.path}: {self.message}" if self.path else f"{self.item}: {self.message}"


@dataclass(frozen=True)
class Container:
    """A container, wherever in an object it stands."""

    item: Object
    path: str
    spec: Object
    pod: Object

    def finding(self, message: str, path: str = "") -> Finding:
        """A finding about this container."""
        return Finding(label(self.item), f"{self.path}.{path}" if path else self.path, message)


def validate(objects: Objects, schemas: Schemas) -> list[Finding]:
    """Runs every check on the objects of one overlay; the rules count for well-formed objects, so form comes first."""
    checks = (images, resources, pod_security, deployment_modes, inference_services, routes, duplicates)
    found = list(schema(objects, schemas))
    if any(schemas.knows(item) and schemas.errors(item) for item in objects):
        return found
    return [*found, *(finding for check in checks for finding in check(objects))]


def schema(objects: Objects, schemas: Schemas) -> Iterator[Finding]:
    """Every object has a schema and follows it strictly."""
    for item in objects:
        for error in schemas.errors(item):
            yield Finding(label(item), error.path, error.message)


def images(objects: Objects) -> Iterator[Finding]:
    """Every image has a tag or a digest, and the tag is never `latest`."""
    for container in containers(objects):
        image = container.spec.get("image", "")
        name, _, digest = image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        if not image:
            yield container.finding("has no image", "image")
        elif not digest and tag in {"", "latest"}:
            yield container.finding(f"{image!r} moves; give a version as tag, or a digest", "image")


def resources(objects: Objects) -> Iterator[Finding]:
    """Every container has requests and limits for CPU and memory."""
    for container in containers(objects):
        given = container.spec.get("resources") or {}
        for kind in ("requests", "limits"):
            for resource in _RESOURCES:
                if resource not in (given.get(kind) or {}):
                    yield container.finding(f"{resource} is missing", f"resources.{kind}")


def pod_security(objects: Objects) -> Iterator[Finding]:
    """Every pod fits the Pod Security Standard *restricted*, has a read-only root, and mounts no API token.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    for container in containers(objects):
        yield from _restricted(container)
    for account in objects.of_kind("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield Finding(label(account), "automountServiceAccountToken", "must be false: nothing here calls the API")


def _restricted(container: Container) -> Iterator[Finding]:
    own = container.spec.get("securityContext") or {}
    either = {**(container.pod.get("securityContext") or {}), **own}
    capabilities = own.get("capabilities") or {}
    added = set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}
    profile = (either.get("seccompProfile") or {}).get("type")
    held = {
        "allowPrivilegeEscalation must be false": own.get("allowPrivilegeEscalation") is False,
        "privileged must not be true": not own.get("privileged"),
        "readOnlyRootFilesystem must be true; mount an emptyDir at /tmp": own.get("readOnlyRootFilesystem") is True,
        "runAsNonRoot must be true": either.get("runAsNonRoot") is True,
        "runAsUser must not be 0": either.get("runAsUser") != 0,
        "seccompProfile must be RuntimeDefault or Localhost": profile in {"RuntimeDefault", "Localhost"},
        "capabilities must drop ALL and add nothing": capabilities.get("drop") == ["ALL"] and not added,
    }
    for rule, holds in held.items():
        if not holds:
            yield container.finding(rule, "securityContext")
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if container.pod.get(field):
            yield container.finding(f"{field} must not be set")
    for volume in container.pod.get("volumes") or []:
        if unsafe := sorted(volume.keys() - {"name"} - _SAFE_VOLUMES):
            yield container.finding(f"volume {volume['name']}: {unsafe[0]} is not restricted")
    if any(port.get("hostPort") for port in container.spec.get("ports") or []):
        yield container.finding("hostPort must not be set", "ports")


def deployment_modes(objects: Objects) -> Iterator[Finding]:
    """Every InferenceService says its deployment mode: KServe's default differs by how KServe was installed."""
    for service in objects.of_kind("InferenceService"):
        mode = (service["metadata"].get("annotations") or {}).get(MODE)
        if mode not in _MODES:
            yield Finding(label(service), f"metadata.annotations[{MODE}]", f"is {mode!r}; must be Standard or Knative")


def inference_services(objects: Objects) -> Iterator[Finding]:
    """Runtimes fit, sizes are in order, storage is of a known kind, and all components load one model package."""
    for service in objects.of_kind("InferenceService"):
        uris = dict(_storage_uris(service))
        for path, uri in uris.items():
            if not uri.startswith(_STORAGE_SCHEMES):
                yield Finding(label(service), path, f"{uri!r}: KServe knows {', '.join(_STORAGE_SCHEMES)}")
        if len(set(uris.values())) > 1:
            yield Finding(label(service), "spec", f"components load different packages: {sorted(set(uris.values()))}")
        for role in ROLES:
            part = service["spec"].get(role) or {}
            least, most = part.get("minReplicas", 1), part.get("maxReplicas")
            if most is not None and most < least:
                yield Finding(label(service), f"spec.{role}.maxReplicas", f"{most} is below minReplicas {least}")
        if (service["metadata"].get("annotations") or {}).get(MODE) == "Standard":
            try:
                components(service, objects)
            except ManifestError as error:
                yield Finding(label(service), "spec", str(error))


def _storage_uris(service: Object) -> Iterator[tuple[str, str]]:
    for role in ROLES:
        part = service["spec"].get(role) or {}
        if uri := (part.get("model") or {}).get("storageUri"):
            yield f"spec.{role}.model.storageUri", uri
        for index, container in enumerate(part.get("containers") or []):
            for variable in container.get("env") or []:
                if variable["name"] == "STORAGE_URI":
                    yield f"spec.{role}.containers.{index}.env.STORAGE_URI", variable.get("value", "")


def routes(objects: Objects) -> Iterator[Finding]:
    """Every Service that a route names exists: written out, or made by KServe for an InferenceService."""
    for route in (route for kind in _ROUTES for route in objects.of_kind(kind)):
        namespace = route["metadata"].get("namespace", "")
        there = _services(objects, namespace)
        for number, rule in enumerate(route["spec"].get("rules") or []):
            weights = [backend.get("weight", 1) for backend in rule.get("backendRefs") or []]
            if not any(weights):
                yield Finding(label(route), f"spec.rules.{number}", "no backend has a weight above 0")
            for backend in rule.get("backendRefs") or []:
                if backend.get("namespace", namespace) == namespace and backend["name"] not in there:
                    message = f"no Service {backend['name']!r}; there is {', '.join(sorted(there)) or 'none'}"
                    yield Finding(label(route), f"spec.rules.{number}.backendRefs", message)


def _services(objects: Objects, namespace: str) -> set[str]:
    names = {
        service["metadata"]["name"]
        for service in objects.of_kind("Service")
        if service["metadata"].get("namespace", "") == namespace
    }
    for service in objects.of_kind("InferenceService"):
        if service["metadata"].get("namespace", "") == namespace:
            name = service["metadata"]["name"]
            names |= {service_name(name, role) for role in ROLES if role in service["spec"]}
    return names


def duplicates(objects: Objects) -> Iterator[Finding]:
    """No object is there twice."""
    seen = set()
    for item in objects:
        key = (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
        if key in seen:
            yield Finding(label(item), "", "is there twice")
        seen.add(key)


def containers(objects: Objects) -> Iterator[Container]:
    """Every container of every object, init containers included, with the pod that it is part of.

    A predictor's `model` is laid over its runtime's container, as KServe does, and the outcome is what counts.
    """
    for item in objects:
        yield from _containers(item, item, "")
        predictor = (item.get("spec") or {}).get("predictor") or {}
        if item["kind"] == "InferenceService" and "model" in predictor:
            with contextlib.suppress(ManifestError):  # `inference_services` tells of it
                yield Container(item, "spec.predictor.model", components(item, objects)[0].container, predictor)


def _containers(item: Object, node: Any, path: str) -> Iterator[Container]:
    if isinstance(node, dict):
        for key, value in node.items():
            below = f"{path}.{key}" if path else key
            if key in {"containers", "initContainers", "ephemeralContainers"} and isinstance(value, list):
                for index, spec in enumerate(value):
                    yield Container(item, f"{below}.{index}", spec, node)
            else:
                yield from _containers(item, value, below)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _containers(item, value, f"{path}.{index}")
