"""What every manifest of this project must hold, beyond what a cluster asks for.

Each policy is a function from the well-formed objects of one overlay to its findings.
"""

from __future__ import annotations

from collections.abc import Iterator

from localcluster import component_objects
from localcluster.admission.kserve import AUTOSCALER, storage_uris
from localcluster.builtin import GATEWAY, GATEWAY_NAMESPACE
from localcluster.findings import Container, Finding, containers
from localcluster.inference_service import MODE, ROLES, components, service_name
from localcluster.render import ManifestError, Object, Objects, label

_MODES = {"Standard", "Knative"}
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
# Autoscalers that KServe makes by itself; with `external` and `none` it leaves that to others.
_KSERVES_AUTOSCALERS = {"hpa", "keda"}
_OWN_AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")


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
    """Every pod fits the Pod Security Standard *restricted*, has a read-only root, and no API token without rights.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    for container in containers(objects):
        yield from _restricted(container)
    bound = {subject["name"] for binding in objects.of_kind("RoleBinding") for subject in binding.get("subjects") or []}
    for account in objects.of_kind("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False and account["metadata"]["name"] not in bound:
            message = "must be false: no RoleBinding lets it call the API"
            yield Finding(label(account), "automountServiceAccountToken", message)


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


def canaries(objects: Objects) -> Iterator[Finding]:
    """Traffic is split by an HTTPRoute's weights; KServe's own fields do not do what they say (docs of the design)."""
    advice = "remove it; a candidate is an InferenceService of its own, and the HTTPRoute's weights split the traffic"
    for service in objects.of_kind("InferenceService"):
        mode = (service["metadata"].get("annotations") or {}).get(MODE)
        for role in ROLES:
            if mode == "Standard" and "canaryTrafficPercent" in (service["spec"].get(role) or {}):
                message = f"is accepted and ignored in Standard mode: {advice}"
                yield Finding(label(service), f"spec.{role}.canaryTrafficPercent", message)
        if service["spec"].get("canary"):
            message = f"sends part of the transformer's and explainer's traffic to the wrong predictor: {advice}"
            yield Finding(label(service), "spec.canary", message)


def inference_services(objects: Objects) -> Iterator[Finding]:
    """Runtimes fit, and all components of a service load one model package."""
    for service in objects.of_kind("InferenceService"):
        packages = sorted({uri for _, uri in storage_uris(service)})
        if len(packages) > 1:
            message = f"components load different packages, {packages}; give all of them the same"
            yield Finding(label(service), "spec", message)
        if (service["metadata"].get("annotations") or {}).get(MODE) == "Standard":
            try:
                components(service, objects)
            except ManifestError as error:
                yield Finding(label(service), "spec", str(error))


def routes(objects: Objects) -> Iterator[Finding]:
    """Every Service that a route names exists and has its port; every Gateway is known; some backend has a weight."""
    for route in (route for kind in _ROUTES for route in objects.of_kind(kind)):
        namespace = route["metadata"].get("namespace", "")
        yield from _parents(route, namespace, objects)
        there = _services(objects, namespace)
        for number, rule in enumerate(route["spec"].get("rules") or []):
            backends = rule.get("backendRefs") or []
            if not any(backend.get("weight", 1) for backend in backends):
                message = "no backend has a weight above 0; give one a weight"
                yield Finding(label(route), f"spec.rules[{number}].backendRefs", message)
            for index, backend in enumerate(backends):
                if backend.get("namespace", namespace) != namespace or backend.get("kind", "Service") != "Service":
                    continue
                path, name = f"spec.rules[{number}].backendRefs[{index}]", backend["name"]
                if name not in there:
                    message = f"no Service {name!r}; there is {', '.join(sorted(there)) or 'none'}"
                    yield Finding(label(route), f"{path}.name", message)
                elif there[name] and backend.get("port") not in there[name]:
                    message = f"Service {name!r} has no port {backend.get('port')}; it has {sorted(there[name])}"
                    yield Finding(label(route), f"{path}.port", message)


def versions(objects: Objects) -> Iterator[Finding]:
    """All backends of a rule are the same part of their services: what answers must not depend on the version."""
    parts = {
        (item["metadata"].get("namespace", ""), service_name(item["metadata"]["name"], role)): role
        for item in objects.of_kind("InferenceService")
        for role in ROLES
        if role in item["spec"]
    }
    for route in (route for kind in _ROUTES for route in objects.of_kind(kind)):
        namespace = route["metadata"].get("namespace", "")
        for number, rule in enumerate(route["spec"].get("rules") or []):
            keys = [(backend.get("namespace", namespace), backend["name"]) for backend in rule.get("backendRefs") or []]
            found = {parts[key] for key in keys if key in parts}
            if len(found) > 1:
                message = f"leads to a {' and to a '.join(sorted(found))}; lead all backends to the same part"
                yield Finding(label(route), f"spec.rules[{number}].backendRefs", message)


def _parents(route: Object, namespace: str, objects: Objects) -> Iterator[Finding]:
    gateways: dict[tuple[str, str], set[str]] = {(GATEWAY_NAMESPACE, GATEWAY): set()}
    for gateway in objects.of_kind("Gateway"):
        sections = {listener["name"] for listener in gateway["spec"]["listeners"]}
        gateways[gateway["metadata"].get("namespace", ""), gateway["metadata"]["name"]] = sections
    parents = route["spec"].get("parentRefs") or []
    if not parents:
        yield Finding(label(route), "spec.parentRefs", "names no Gateway, so nothing is routed; name one")
    for index, parent in enumerate(parents):
        path, key = f"spec.parentRefs[{index}]", (parent.get("namespace", namespace), parent["name"])
        if parent.get("kind", "Gateway") != "Gateway":
            continue
        if key not in gateways:
            known = ", ".join(sorted("/".join(each) for each in gateways))
            yield Finding(label(route), f"{path}.name", f"no Gateway {'/'.join(key)!r}; there is {known}")
        elif gateways[key] and parent.get("sectionName", next(iter(gateways[key]))) not in gateways[key]:
            message = f"Gateway {key[1]!r} has no listener {parent['sectionName']!r}; it has {sorted(gateways[key])}"
            yield Finding(label(route), f"{path}.sectionName", message)


def _services(objects: Objects, namespace: str) -> dict[str, set[int]]:
    """Ports by Service, of those written out and of those that KServe makes; none where they cannot be told."""
    found: dict[str, set[int]] = {}
    for item in objects.of_kind("Service"):
        if item["metadata"].get("namespace", "") == namespace:
            found[item["metadata"]["name"]] = {port["port"] for port in item["spec"].get("ports") or []}
    for item in objects.of_kind("InferenceService"):
        if item["metadata"].get("namespace", "") == namespace:
            name = item["metadata"]["name"]
            found |= {service_name(name, role): set() for role in ROLES if role in item["spec"]}
            try:
                made = [component_objects.service(component, {}) for component in components(item, objects)]
            except ManifestError:  # `inference_services` tells of it
                continue
            for service in made:
                found[service["metadata"]["name"]] = {port["port"] for port in service["spec"]["ports"]}
    return found


def autoscalers(objects: Objects) -> Iterator[Finding]:
    """Nobody scales what KServe scales already, and nothing is scaled twice."""
    made: dict[tuple[str, str], str] = {}
    for service in objects.of_kind("InferenceService"):
        metadata = service["metadata"]
        if (metadata.get("annotations") or {}).get(AUTOSCALER, "hpa") in _KSERVES_AUTOSCALERS:
            names = (service_name(metadata["name"], role) for role in ROLES if role in service["spec"])
            made |= {(metadata.get("namespace", ""), name): "KServe" for name in names}
    for scaler in (item for kind in _OWN_AUTOSCALERS for item in objects.of_kind(kind)):
        name = scaler["spec"]["scaleTargetRef"]["name"]
        key = (scaler["metadata"].get("namespace", ""), name)
        if key in made:
            message = f"{name!r} is scaled by {made[key]} already; remove one (annotation {AUTOSCALER}: external)"
            yield Finding(label(scaler), "spec.scaleTargetRef", message)
        made[key] = label(scaler)


def duplicates(objects: Objects) -> Iterator[Finding]:
    """No object is there twice."""
    seen = set()
    for item in objects:
        key = (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
        if key in seen:
            yield Finding(label(item), "", "is there twice")
        seen.add(key)


POLICIES = (
    images,
    resources,
    pod_security,
    deployment_modes,
    canaries,
    inference_services,
    routes,
    versions,
    autoscalers,
    duplicates,
)
