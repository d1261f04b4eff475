"""KServe's admission webhooks: defaults and rules of InferenceServices and ServingRuntimes, with KServe's messages.

Ported from KServe's source (`pkg/apis/serving/v1beta1/inference_service_{defaults,validation}.go`, `component.go`,
`pkg/webhook/admission/servingruntime`). Left out is what nobody here can use: several nodes (`workerSpec`), several
storage URIs, confidential models, the cache of local models, ModelMesh.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from localcluster.admission.quantity import quantity
from localcluster.inference_service import CONTAINER, MODE, ROLES
from localcluster.render import Object
from localcluster.schemas.kserve import FRAMEWORKS

AUTOSCALER = "serving.kserve.io/autoscalerClass"
_KNATIVE_AUTOSCALER = "autoscaling.knative.dev/class"
_KNATIVE_HPA = "hpa.autoscaling.knative.dev"
_OLD_MODES = {"RawDeployment": "Standard", "Serverless": "Knative"}
_AUTOSCALERS = ("hpa", "external", "keda", "none")
_NAME = "[a-z]([-a-z0-9]*[a-z0-9])?"
_BLOCKED_VARIABLES = ("PYTHONPATH",)
STORAGE_SCHEMES = (
    "gs://",
    "s3://",
    "pvc://",
    "file://",
    "https://",
    "http://",
    "hdfs://",
    "webhdfs://",
    "oci://",
    "oci+native://",
    "oci+fetch://",
    "hf://",
)
_AZURE_BLOB = re.compile(r"https://(.+?).blob.core.windows.net/(.+)")
_SPEAK_V2 = {"triton", "onnx", "huggingface"}
_FORMATS_OF_V2 = {"triton", "vLLM"}
_FIELDS = {
    "predictor": (
        "Name, SKLearn, XGBoost, Tensorflow, PyTorch, Triton, ONNX, HuggingFace, PMML, LightGBM, Paddle, Model, "
        "StorageUris, StorageContainerName, WorkerSpec, PodSpec"
    ),
    "transformer": "PodSpec, ComponentExtensionSpec",
    "explainer": "ART, PodSpec, ComponentExtensionSpec",
}


def fill_inference_service(service: Object) -> None:
    """Sets what KServe's mutating webhook sets, in place."""
    annotations = service["metadata"].setdefault("annotations", {})
    mode = annotations.setdefault(
        MODE, "Standard"
    )  # what KServe's ConfigMap says where it is installed without Knative
    annotations[MODE] = _OLD_MODES.get(mode, mode)
    spec = service.get("spec", {})
    if predictor := spec.get("predictor"):
        _fill_model(predictor)
        containers = predictor.get("containers", [])
        if "model" not in predictor and containers and (len(containers) == 1 or not containers[0].get("name")):
            containers[0]["name"] = CONTAINER
    for role in ("transformer", "explainer"):
        for container in spec.get(role, {}).get("containers", [])[:1]:
            container["name"] = CONTAINER


def _fill_model(predictor: Object) -> None:
    for framework in FRAMEWORKS:
        if framework in predictor:
            given = predictor.pop(framework)
            if framework in _SPEAK_V2:
                given.setdefault("protocolVersion", "v2")
            predictor["model"] = {"modelFormat": {"name": framework}, **given}
            break
    model = predictor.get("model", {})
    if model.get("modelFormat", {}).get("name") in _FORMATS_OF_V2:
        model.setdefault("protocolVersion", "v2")


def inference_service_problems(service: Object, old: Object | None = None) -> Iterator[str]:
    """Why KServe's validating webhook refuses an InferenceService; it says the first.

    Args:
        service: A well-formed one, with its defaults.
        old: What is stored now, for an update.
    """
    metadata, spec = service["metadata"], service.get("spec", {})
    annotations = metadata.get("annotations", {})
    if old is not None:
        yield from _forbidden_changes(service, old)
    if not re.fullmatch(_NAME, metadata["name"]):
        yield (
            f'the InferenceService "{metadata["name"]}" is invalid: a InferenceService name must consist of lower case '
            "alphanumeric characters or '-', and must start with alphabetical character. (e.g. \"my-name\" or "
            f"\"abc-123\", regex used for validation is '{_NAME}')"
        )
    if AUTOSCALER in annotations and annotations[AUTOSCALER] not in _AUTOSCALERS:
        yield f"[{annotations[AUTOSCALER]}] is not a supported autoscaler class type"
    for role in ROLES:
        if message := _blocked_variable(_containers(spec.get(role, {}))):
            yield f'the InferenceService "{metadata["name"]}" is invalid: {message}'
    predictor = spec.get("predictor", {})
    for container in predictor.get("containers", []):
        if container.get("name") == "transformer-container" and "STORAGE_URI" in _variables(container):
            yield "storage uri should not be specified in transformer container"
    if predictor.get("model", {}).get("name"):
        yield "the 'name' field is not allowed in standard predictor"
    for role in ROLES:
        if role in spec or role == "predictor":
            yield from _component_problems(role, spec.get(role, {}), annotations)
    yield from _canary_problems(spec, annotations)


def _forbidden_changes(service: Object, old: Object) -> Iterator[str]:
    before = old.get("status", {}).get("deploymentMode", "")
    before = _OLD_MODES.get(before, before)
    mode = service["metadata"].get("annotations", {}).get(MODE)
    if before and mode is not None and mode != before:
        yield f"update rejected: deploymentMode cannot be changed from '{before}' to '{mode}'"
    new, stored = (each.get("spec", {}).get("predictor", {}) for each in (service, old))
    if new.get("name") != stored.get("name") and _storage_uri(new) == _storage_uri(stored):
        yield "predictor.name change requires a model change (e.g. storageUri)"


def _component_problems(role: str, part: Object, annotations: Mapping[str, str]) -> Iterator[str]:
    if _implementations(role, part) != 1:
        yield f"exactly one of [{_FIELDS[role]}] must be specified in {role.capitalize()}Spec"
        return
    if role == "predictor" and "model" not in part:
        protocol = _variables(part["containers"][0]).get("PROTOCOL", "v1")
        if protocol not in {"v1", "v2"}:
            yield f"invalid protocol v1, v2. Must be one of [{protocol}]"
    if part.get("containerConcurrency", 0) < 0:
        yield "parallelism cannot be less than 0"
    yield from _replica_problems(part)
    yield from _logger_problems(part)
    if annotations.get(MODE) != "Standard":
        knative_hpa = annotations.get(_KNATIVE_AUTOSCALER) == _KNATIVE_HPA
        yield from _hpa_problems(part) if knative_hpa else _knative_problems(part)
    elif annotations.get(AUTOSCALER) == "hpa":
        yield from _hpa_problems(part)
    elif annotations.get(AUTOSCALER) == "keda":
        yield from _keda_problems(part)


def _implementations(role: str, part: Object) -> int:
    containers = part.get("containers", [])
    if role == "predictor":
        models = sum(field in part for field in (*FRAMEWORKS, "model"))
        named = sum(container.get("name") == CONTAINER for container in containers)
        return models + named or min(1, len(containers))
    return ("art" in part) + (len(containers) > 0)


def _replica_problems(part: Object) -> Iterator[str]:
    least, most = part.get("minReplicas", 1), part.get("maxReplicas", 0)
    if least < 0:
        yield "'MinReplicas' cannot be less than 0"
    if most < 0:
        yield "'MaxReplicas' cannot be less than 0"
    if least > most and most != 0:
        yield "'MinReplicas' cannot be greater than MaxReplicas"


def _logger_problems(part: Object) -> Iterator[str]:
    if (logger := part.get("logger")) is None:
        return
    if logger.get("mode") not in {"all", "request", "response"}:
        yield "invalid logger type"
    if "storage" in logger and not {"path", "parameters", "key"} <= logger["storage"].keys():
        yield "invalid logger storage configuration"


def _hpa_problems(part: Object) -> Iterator[str]:
    metric, target = part.get("scaleMetric", "cpu"), part.get("scaleTarget")
    if metric not in {"cpu", "memory"}:
        yield f"[{metric}] is not a supported metric"
    elif target is not None:
        if (metric == "cpu" and target < 1) or target > 100:
            yield "the target utilization percentage should be a [1-100] integer"
        elif target < 1:
            yield "the target memory should be greater than 1 MiB"
    for each in part.get("autoScaling", {}).get("metrics", []):
        if each["type"] != "Resource":
            yield f"invalid HPA metric source type with value [{each['type']}],valid metric source types are Resource"
        elif "resource" not in each:
            yield "metricSpec.Resource is not set for resource metric source type"


def _knative_problems(part: Object) -> Iterator[str]:
    if "deploymentStrategy" in part:
        yield "customizing deploymentStrategy is only supported for raw deployment mode"
    metric = part.get("scaleMetric", "concurrency")
    if metric not in {"concurrency", "rps"}:
        yield f"[{metric}] is not a supported metric"
    elif metric == "rps" and part.get("scaleTarget", 1) < 1:
        yield "the target for rps should be greater than 1"


def _keda_problems(part: Object) -> Iterator[str]:
    if "scaleMetric" in part:
        yield "ScaleMetric is not supported for KEDA"
    for metric in part.get("autoScaling", {}).get("metrics", []):
        if metric["type"] == "Resource":
            yield from _keda_resource_problems(metric)
            continue
        field, name = {"External": ("external", "External"), "PodMetric": ("podmetric", "PodMetric")}[metric["type"]]
        kind = "external" if field == "external" else "pod"
        if (source := metric.get(field)) is None:
            yield f"metricSpec.{name} is not set for {kind} metric source type"
        elif not source["metric"].get("query"):
            yield "the query should not be empty"
        elif "value" not in source["target"]:
            yield "the target threshold value should not be empty"
        else:
            yield from _target_problems(source["target"])


def _keda_resource_problems(metric: Object) -> Iterator[str]:
    if (resource := metric.get("resource")) is None:
        yield "metricSpec.Resource is not set for resource metric source type"
        return
    target = resource["target"]
    if resource["name"] == "cpu" and target.get("type") != "Utilization":
        yield "the cpu target value type should be Utilization"
    elif resource["name"] == "memory" and target.get("type") not in {"AverageValue", "Utilization"}:
        yield "the memory target value type should be AverageValue or Utilization"
    elif resource["name"] == "memory" and quantity(target.get("averageValue", "1Mi")) < 2**20:
        yield "the memory target value should be greater than 1 MiB"
    else:
        yield from _target_problems(target)


def _target_problems(target: Object) -> Iterator[str]:
    fields = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}
    field = fields.get(target.get("type", ""))
    if field is None:
        return
    if field not in target:
        yield f"the {field[0].upper()}{field[1:]} type should be set"
    elif field == "averageUtilization" and not 1 <= target[field] <= 100:
        yield "the target utilization percentage should be a [1-100] integer"


def _canary_problems(spec: Object, annotations: Mapping[str, str]) -> Iterator[str]:
    canaries = spec.get("canary", [])
    if not canaries:
        return
    if annotations.get(MODE) != "Standard":
        yield "canary is only supported in Standard deployment mode"
    stable = spec["predictor"]
    if "model" not in stable and not _storage_uri(stable):
        yield ("canary requires a stable predictor with a model (multi-model serving is not supported with canary)")
    names: set[str] = {stable.get("name", "")}
    for number, canary in enumerate(canaries):
        part = canary["predictor"]
        name = part.get("name", "")
        if not name:
            yield f"canary[{number}] predictor.name is required"
        elif name == stable.get("name"):
            yield f'canary predictor.name "{name}" conflicts with stable predictor name'
        elif name in names:
            yield f'canary predictor.name "{name}" is duplicated'
        names.add(name)
        for field in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
            if part.get(field):
                yield f'canary "{name}" must not set {field} (canary uses fixed replicas)'
        least, limit = part.get("minReplicas"), stable.get("minReplicas", 1)
        if least is not None and least > limit:
            yield f'canary "{name}" minReplicas ({least}) must not exceed stable predictor minReplicas ({limit})'
    if (total := sum(canary["trafficPercent"] for canary in canaries)) > 100:
        yield f"sum of canary trafficPercent values ({total}) must be <= 100"


def storage_uri_problem(uri: str) -> str:
    """Why KServe's controller refuses a storage URI; empty if it does not."""
    if not re.search(r"\w+?://", uri) or uri.startswith(STORAGE_SCHEMES) or _AZURE_BLOB.search(uri):
        return ""
    return (
        f"storageUri, must be one of: [{', '.join(STORAGE_SCHEMES)}] or match "
        "https://{}.blob.core.windows.net/{}/{} "
        f"or be an absolute or relative local path. StorageUri [{uri}] is not supported"
    )


def storage_uris(service: Object) -> Iterator[tuple[str, str]]:
    """Where an InferenceService's components load from: the path of each URI, and the URI."""
    for role in ROLES:
        part = service.get("spec", {}).get(role) or {}
        if uri := (part.get("model") or {}).get("storageUri"):
            yield f"spec.{role}.model.storageUri", uri
        for index, container in enumerate(part.get("containers") or []):
            if uri := _variables(container).get("STORAGE_URI"):
                yield f"spec.{role}.containers[{index}].env.STORAGE_URI", uri


def serving_runtime_problems(
    runtime: Object, others: Iterable[Object] = (), old: Object | None = None
) -> Iterator[str]:
    """Why KServe's validating webhook refuses a ServingRuntime or ClusterServingRuntime; it says the first.

    Args:
        runtime: A well-formed one, with its defaults.
        others: The runtimes of its kind that are there, for one of a namespace those of its namespace.
        old: What is stored now, for an update.
    """
    metadata, spec, kind = runtime["metadata"], runtime.get("spec", {}), runtime["kind"]
    if spec.get("disabled"):
        return
    for name in _mixed_priorities(spec):
        message = f"different priorities assigned for the model format {name}"
        yield f"{message} under the {kind.lower()} {metadata['name']}"
    for other in others:
        if other["metadata"]["name"] != metadata["name"] and (name := _same_priority(spec, other.get("spec", {}))):
            where = f" in namespace {metadata['namespace']}" if "namespace" in metadata else ""
            yield (
                f"same priority assigned for the model format {name} in the {kind.lower()}s "
                f"{other['metadata']['name']} and {metadata['name']}{where}"
            )
    if old is not None and "workerSpec" in old.get("spec", {}) and "workerSpec" not in spec:
        message = "removing workerSpec where it already exists is not allowed"
        yield f"the {kind} {metadata['name']} is invalid: {message}"
    if message := _blocked_variable(spec.get("containers", [])):
        yield f'the {kind} "{metadata["name"]}" is invalid: {message}'


def _selectable(spec: Object) -> list[Object]:
    return [entry for entry in spec.get("supportedModelFormats", []) if entry.get("autoSelect")]


def _mixed_priorities(spec: Object) -> Iterator[str]:
    known: dict[str, Any] = {}
    for entry in _selectable(spec):
        before = known.setdefault(entry["name"], entry.get("priority"))
        if None not in {before, entry.get("priority")} and before != entry["priority"]:
            yield entry["name"]


def _same_priority(spec: Object, other: Object) -> str:
    """A model format for which two runtimes stand at the same place; empty if there is none."""
    one_kind = bool(spec.get("multiModel")) == bool(other.get("multiModel"))
    common = set(spec.get("protocolVersions", [])) & set(other.get("protocolVersions", []))
    if other.get("disabled") or not one_kind or not common:
        return ""
    taken = {
        (entry["name"].lower(), entry.get("version"), entry["priority"])
        for entry in _selectable(other)
        if "priority" in entry
    }
    for entry in _selectable(spec):
        if (entry["name"].lower(), entry.get("version"), entry.get("priority")) in taken:
            return str(entry["name"])
    return ""


def _containers(part: Object) -> list[Object]:
    """Containers that a component spells out, its model's included."""
    inline = [part[field] for field in ("model", "art") if field in part]
    return [*part.get("containers", []), *part.get("initContainers", []), *inline]


def _blocked_variable(containers: Sequence[Object]) -> str:
    for container in containers:
        for name in _BLOCKED_VARIABLES:
            if name in _variables(container):
                return f'setting {name} in container "{container.get("name", "")}" is not allowed for security reasons'
    return ""


def _variables(container: Object) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container.get("env") or []}


def _storage_uri(predictor: Object) -> str:
    if "model" in predictor:
        return str(predictor["model"].get("storageUri", ""))
    named = [each for each in predictor.get("containers", []) if each.get("name") == CONTAINER]
    return _variables(named[0]).get("STORAGE_URI", "") if named else ""
