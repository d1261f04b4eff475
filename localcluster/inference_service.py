"""KServe's own rules, Standard mode: from an InferenceService and its runtimes to one container a component.

Pure functions. They follow KServe's controller (`pkg/controller/v1beta1/inferenceservice`) in which runtime is picked,
how its container is merged with the model's, which placeholders are filled in and which flags are appended. What a
laptop cannot carry out is refused, never passed over.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from localcluster.render import ManifestError, Object, Objects, label

Role = Literal["predictor", "transformer", "explainer"]
ROLES: tuple[Role, ...] = ("predictor", "transformer", "explainer")

CONTAINER = "kserve-container"
MODE = "serving.kserve.io/deploymentMode"
STORAGE = "internal.serving.kserve.io/storage-initializer-sourceuri"
HTTP_PORT = 8080

# Lower is preferred where several runtimes fit.
_PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2")
# Keys by which lists merge, as the API's own patch-merge-keys have it.
_MERGE_KEYS = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath"}
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")
_FIELD = re.compile(r"\s*\.(?:(Name|Namespace)|(Labels|Annotations)\.([A-Za-z_][A-Za-z0-9_]*))\s*")

_USED = {
    "annotations",
    "containerConcurrency",
    "containers",
    "deploymentStrategy",
    "labels",
    "minReplicas",
    "model",
    "volumes",
}
# They go into the pods as they are.
_POD_FIELDS = {
    "affinity",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "schedulerName",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
}
_RUNTIME_POD_FIELDS = {"affinity", "imagePullSecrets", "nodeSelector", "tolerations"}
# They scale by load; here there are as many pods as `minReplicas` says.
_IMMATERIAL = {"autoScaling", "maxReplicas", "scaleMetric", "scaleMetricType", "scaleTarget"}
# The author's own bookkeeping, which KServe does not hand down either.
_UNINHERITED = {"kubectl.kubernetes.io/last-applied-configuration", STORAGE}
_MODEL_FIELDS = {"modelFormat", "protocolVersion", "runtime", "runtimeVersion", "storageUri"}


class UnfitRuntimeError(ManifestError):
    """No runtime can serve a model."""


@dataclass(frozen=True)
class Component:
    """One component of an InferenceService, as KServe would run it.

    Attributes:
        role: Predictor, transformer or explainer.
        inference_service: Name of the InferenceService.
        namespace: Its namespace, empty where the manifests give none.
        container: The container with everything merged, filled in and appended.
        volumes: The pod's volumes.
        storage_uri: Where the model package comes from; empty for a component that needs none.
        replicas: `minReplicas`, at least 1.
        grace_s: Seconds it may take to stop.
        labels: What its objects are labelled with, before KServe's own labels.
        annotations: What they are annotated with.
        pod: Further fields of its pods' spec.
        strategy: How its Deployment is updated; empty for Kubernetes' own default.
        runtime: The ServingRuntime or ClusterServingRuntime that it was made from, None for a custom container.
    """

    role: Role
    inference_service: str
    namespace: str
    container: Object
    volumes: tuple[Object, ...]
    storage_uri: str
    replicas: int
    grace_s: float
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    pod: Object = field(default_factory=dict)
    strategy: Object = field(default_factory=dict)
    runtime: Object | None = None

    @property
    def service(self) -> str:
        """The Kubernetes Service in front of it, which also names its processes."""
        return service_name(self.inference_service, self.role)


def service_name(inference_service: str, role: Role) -> str:
    """The Service that KServe puts before a component."""
    return f"{inference_service}-{role}"


def components(service: Object, objects: Objects) -> list[Component]:
    """Works out the containers of an InferenceService.

    Args:
        service: The InferenceService.
        objects: Where its runtimes are.

    Returns:
        Predictor, then transformer and explainer where there are any.

    Raises:
        ManifestError: No runtime fits, or the object asks for what cannot be run here.
    """
    mode = (service["metadata"].get("annotations") or {}).get(MODE)
    if mode != "Standard":
        raise ManifestError(f"{label(service)}: annotation {MODE} is {mode!r}; only Standard runs as processes here")
    spec: Object = service.get("spec") or {}
    if unknown := sorted(spec.keys() - set(ROLES)):
        raise ManifestError(f"{label(service)}: spec.{unknown[0]} has no counterpart on this machine; remove it")
    if "predictor" not in spec:
        raise ManifestError(f"{label(service)}: spec.predictor is missing")
    return [_component(service, role, spec[role], objects) for role in ROLES if role in spec]


def _component(service: Object, role: Role, spec: Object, objects: Objects) -> Component:
    where = f"{label(service)}: spec.{role}"
    if unknown := sorted(spec.keys() - _USED - _POD_FIELDS - _IMMATERIAL):
        raise ManifestError(f"{where}.{unknown[0]} has no counterpart on this machine; remove it")
    runtime: Object | None = None
    inherited: Object = {}
    if "model" in spec:
        if role != "predictor":
            raise ManifestError(f"{where}.model: only a predictor has a model")
        if spec.get("containers"):
            raise ManifestError(f"{where}: more than one container cannot be run here; keep `model` or `containers`")
        model = spec["model"]
        runtime = select_runtime(service, model, objects)
        inherited = runtime["spec"]
        container = merge_containers(_only_container(runtime), _container_part(model, where))
        container = fill_placeholders(container, service["metadata"], label(runtime))
        uri = model.get("storageUri", "")
    else:
        containers = spec.get("containers") or []
        if len(containers) != 1:
            raise ManifestError(f"{where}.containers: exactly one container can be run here, not {len(containers)}")
        container = {**copy.deepcopy(containers[0]), "name": CONTAINER}
        uri = next((env.get("value", "") for env in container.get("env") or [] if env["name"] == "STORAGE_URI"), "")
        container["args"] = _with_flags(service, role, spec, container.get("args") or [])
        if placeholder := _PLACEHOLDER.search(" ".join(container["args"])):
            raise ManifestError(f"{where}: {placeholder[0]} is filled in within a ServingRuntime only; write the value")
    metadata = service["metadata"]
    if role == "predictor":
        container.setdefault("env", []).append({"name": "INFERENCE_SERVICE_NAME", "value": metadata["name"]})
    annotations = {**_annotations(inherited), **_annotations(metadata), **_annotations(spec)}
    return Component(
        role=role,
        inference_service=metadata["name"],
        namespace=metadata.get("namespace", ""),
        container=container,
        volumes=tuple(_merge_list(inherited.get("volumes") or [], spec.get("volumes") or [], "name")),
        storage_uri=uri,
        replicas=max(1, spec.get("minReplicas", 1)),
        grace_s=float(spec.get("terminationGracePeriodSeconds", 30)),
        labels={
            **(inherited.get("labels") or {}),
            **(metadata.get("labels") or {}),
            **(spec.get("labels") or {}),
        },
        annotations={**annotations, **({STORAGE: uri} if uri else {})},
        pod=_merge(
            {key: value for key, value in inherited.items() if key in _RUNTIME_POD_FIELDS},
            {key: value for key, value in spec.items() if key in _POD_FIELDS},
        ),
        strategy=copy.deepcopy(spec.get("deploymentStrategy") or {}),
        runtime=runtime,
    )


def _annotations(holder: Object) -> dict[str, str]:
    given = holder.get("annotations") or {}
    return {key: value for key, value in given.items() if key not in _UNINHERITED}


def select_runtime(service: Object, model: Object, objects: Objects) -> Object:
    """The ServingRuntime that serves a model: the one it names, else the first that fits.

    Runtimes of the namespace come before ClusterServingRuntimes; among equals a higher `priority` for the format wins,
    then the simplest protocol, then the newest, then the name. Without `protocolVersion` a model speaks v1.

    Raises:
        UnfitRuntimeError: None fits, or the named one does not.
    """
    namespace = service["metadata"].get("namespace", "")
    wanted, protocol = model["modelFormat"], model.get("protocolVersion")
    if name := model.get("runtime"):
        runtime = objects.find("ServingRuntime", name, namespace) or objects.find("ClusterServingRuntime", name)
        if runtime is None:
            raise UnfitRuntimeError(f"{label(service)}: no ServingRuntime or ClusterServingRuntime is named {name!r}")
        if reason := _unfit(runtime, wanted, protocol, named=True):
            raise UnfitRuntimeError(f"{label(service)}: {label(runtime)} {reason}")
        return runtime
    reasons = []
    for kind in ("ServingRuntime", "ClusterServingRuntime"):
        fitting = []
        for runtime in objects.of_kind(kind):
            if kind == "ServingRuntime" and namespace not in {"", runtime["metadata"].get("namespace", namespace)}:
                continue
            if reason := _unfit(runtime, wanted, protocol or "v1", named=False):
                reasons.append(f"{label(runtime)} {reason}")
            else:
                fitting.append(runtime)
        if fitting:
            # Creation times sort as text; stable sorts from the least to the most important key.
            fitting.sort(key=lambda runtime: str(runtime["metadata"]["name"]))
            fitting.sort(key=lambda runtime: str(runtime["metadata"].get("creationTimestamp", "")), reverse=True)
            fitting.sort(key=_protocol_rank)
            return min(fitting, key=lambda runtime: -_priority(runtime, wanted["name"]))
    said = "; ".join(reasons) or "there are no runtimes"
    raise UnfitRuntimeError(f"{label(service)}: no runtime serves modelFormat {_format_name(wanted)}: {said}")


def _unfit(runtime: Object, wanted: Object, protocol: str | None, *, named: bool) -> str:
    spec = runtime["spec"]
    if spec.get("disabled"):
        return "is disabled"
    if spec.get("multiModel"):
        return "is for many models in one server, which cannot be run here"
    formats = [entry for entry in spec.get("supportedModelFormats") or [] if named or entry.get("autoSelect")]
    if not any(
        entry["name"] == wanted["name"] and wanted.get("version") in {None, entry.get("version")} for entry in formats
    ):
        return f"does not support modelFormat {_format_name(wanted)}" + ("" if named else " by autoSelect")
    if protocol is not None and protocol not in (spec.get("protocolVersions") or [protocol]):
        return f"does not support protocol {protocol}"
    return ""


def _format_name(wanted: Object) -> str:
    return f"{wanted['name']} {wanted['version']}" if "version" in wanted else str(wanted["name"])


def _protocol_rank(runtime: Object) -> int:
    ranks = [_PROTOCOLS.index(name) for name in runtime["spec"].get("protocolVersions") or [] if name in _PROTOCOLS]
    return min(ranks, default=len(_PROTOCOLS))


def _priority(runtime: Object, name: str) -> int:
    formats = runtime["spec"].get("supportedModelFormats") or []
    return max((entry.get("priority") or 0 for entry in formats if entry["name"] == name), default=0)


def _only_container(runtime: Object) -> Object:
    containers = runtime["spec"].get("containers") or []
    if [container.get("name") for container in containers] != [CONTAINER]:
        raise ManifestError(f"{label(runtime)}: exactly one container named {CONTAINER} can be run here")
    container: Object = containers[0]
    return container


def _container_part(model: Object, where: str) -> Object:
    for unfit in ("storage", "confidential"):
        if unfit in model:
            raise ManifestError(f"{where}.model.{unfit} has no counterpart on this machine; use storageUri")
    return {key: value for key, value in model.items() if key not in _MODEL_FIELDS}


def merge_containers(runtime: Object, model: Object) -> Object:
    """Lays a model's container over its runtime's: args are appended, keyed lists merge, the rest is replaced."""
    merged = _merge(runtime, model)
    merged["args"] = [*(runtime.get("args") or []), *(model.get("args") or [])]
    return merged


def _merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
    merged = copy.deepcopy(dict(base))
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        elif key in _MERGE_KEYS and merged.get(key):
            merged[key] = _merge_list(merged[key], value or [], _MERGE_KEYS[key])
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _merge_list(base: Sequence[Object], patch: Sequence[Object], key: str) -> list[Object]:
    merged = {entry[key]: entry for entry in base}
    for entry in patch:
        earlier = merged.get(entry[key], {})
        # One variable has one source: a new value replaces an old reference, and the other way round.
        merged[entry[key]] = copy.deepcopy(entry) if key == "name" else _merge(earlier, entry)
    return list(merged.values())


def fill_placeholders(value: Any, metadata: Object, where: str) -> Any:
    """Fills in `{{.Name}}`, `{{.Namespace}}`, `{{.Labels.x}}` and `{{.Annotations.x}}` in every string.

    Args:
        value: A container, or any part of one.
        metadata: The InferenceService's metadata.
        where: The runtime, for messages.

    Raises:
        ManifestError: The InferenceService lacks the label or annotation, or it is another template expression.
    """
    if isinstance(value, dict):
        return {key: fill_placeholders(item, metadata, where) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_placeholders(item, metadata, where) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        field = _FIELD.fullmatch(match[1])
        if field is None:
            raise ManifestError(f"{where}: {match[0]}: only .Name, .Namespace, .Labels.x and .Annotations.x are known")
        if field[1]:
            return str(metadata.get(field[1].lower(), ""))
        values = metadata.get(field[2].lower()) or {}
        if field[3] not in values:
            raise ManifestError(f"{where}: {match[0]}: the InferenceService {metadata['name']} has no such value")
        return str(values[field[3]])

    return _PLACEHOLDER.sub(fill, value)


def _with_flags(service: Object, role: Role, spec: Object, args: Sequence[str]) -> list[str]:
    """Appends the flags that KServe gives to custom containers, where absent."""
    if role == "predictor":
        return list(args)
    name, namespace = service["metadata"]["name"], service["metadata"].get("namespace", "")
    host = ".".join(part for part in (service_name(name, "predictor"), namespace) if part)
    flags = {"--model_name": name, "--predictor_host": host, "--http_port": str(HTTP_PORT)}
    if (concurrency := spec.get("containerConcurrency")) is not None:
        flags["--workers"] = str(concurrency)
    appended = [*args]
    for flag, value in flags.items():
        # As in KServe, `--model_name_x` counts as `--model_name`, and an explainer gets its port in any case.
        if not any(arg.startswith(flag) for arg in args) or (role == "explainer" and flag == "--http_port"):
            appended += [flag, value]
    return appended
