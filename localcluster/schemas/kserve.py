"""Schemas of KServe's kinds, from the models of the `kserve` SDK: what its CustomResourceDefinitions say, without them.

The SDK generates its models from the same Go types as KServe its CRDs, but keeps less: no enumerations, no limits, no
defaults. `_TIGHTER` puts those back. The parts of pods come from Kubernetes' definitions. The models are read as
text: importing the SDK takes seconds.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from localcluster.schemas import core
from localcluster.schemas.structural import Rule, Schema

# The version whose types KServe 0.20 and 0.21 embed in their CRDs.
_KUBERNETES = "1.35"
_QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_SCALARS: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer", "format": "int32"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
}
_CORE = "io.k8s.api.core.v1"
_ELSEWHERE = {
    "K8sIoApiAppsV1DeploymentStrategy": "io.k8s.api.apps.v1.DeploymentStrategy",
    "K8sIoApiAutoscalingV2HorizontalPodAutoscalerBehavior": (
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior"
    ),
    "ResourceQuantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "V1beta1MetricQuantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
}


class _Definitions(Mapping[str, Schema]):
    """Definitions by name, each made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Schema] = {}

    def __getitem__(self, name: str) -> Schema:
        if name not in self._made:
            own = name.startswith(("V1beta1", "V1alpha1"))
            schema = _of_model(name) if own else dict(core.definitions(_KUBERNETES)[name])
            self._made[name] = _tightened(schema, _TIGHTER.get(name, {}))
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


@cache
def definitions() -> Mapping[str, Schema]:
    """What the schemas of KServe's kinds refer to."""
    return _Definitions()


@cache
def schemas() -> dict[tuple[str, str], Schema]:
    """Schemas by `(apiVersion, kind)`, without what every object has."""
    anything: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    def of(spec: str, status: Schema) -> Schema:
        return {"type": "object", "properties": {"spec": {"$ref": spec}, "status": status}}

    runtime = of("V1alpha1ServingRuntimeSpec", {"type": "object"})
    return {
        ("serving.kserve.io/v1beta1", "InferenceService"): of("V1beta1InferenceServiceSpec", anything),
        ("serving.kserve.io/v1alpha1", "ServingRuntime"): runtime,
        ("serving.kserve.io/v1alpha1", "ClusterServingRuntime"): runtime,
    }


def _of_model(name: str) -> Schema:
    if name == "V1alpha1WorkerSpec":  # the SDK leaves it out
        schema = _of_model("V1alpha1ServingRuntimePodSpec")
        sizes = dict.fromkeys(("pipelineParallelSize", "tensorParallelSize"), _SCALARS["int"])
        return {**schema, "properties": {**schema["properties"], **sizes}}
    file = "_".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower().split())
    text = (_folder() / f"{file}.py").read_text()
    names = _literal(text, "attribute_map")
    types = _literal(text, "openapi_types")
    required = re.findall(r"Invalid value for `(\w+)`, must not be `None`", text)
    return {
        "type": "object",
        "properties": {
            names[field]: {**_of_type(kind), **_BY_FIELD.get(names[field], {})} for field, kind in types.items()
        },
        "required": sorted({names[field] for field in required}),
    }


@cache
def _folder() -> Path:
    found = importlib.util.find_spec("kserve")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the kserve SDK is missing; run `make install`, which brings it")
    return Path(found.origin).parent / "models"


def _literal(text: str, name: str) -> dict[str, str]:
    found = re.search(rf"{name} = (\{{.*?\}})", text, re.DOTALL)
    value: dict[str, str] = ast.literal_eval(found[1]) if found else {}
    return value


def _of_type(name: str) -> Schema:
    if found := re.fullmatch(r"list\[(.*)\]", name):
        return {"type": "array", "items": _of_type(found[1])}
    if found := re.fullmatch(r"dict\(str, (.*)\)", name):
        return {"type": "object", "additionalProperties": _of_type(found[1])}
    if name in _SCALARS:
        return _SCALARS[name]
    if name.startswith(("V1beta1", "V1alpha1")) and name not in _ELSEWHERE:
        return {"$ref": name}
    return {"$ref": _ELSEWHERE.get(name, f"{_CORE}.{name.removeprefix('V1')}")}


def _tightened(schema: Schema, by: Schema) -> Schema:
    """A schema with parts of it changed; a property with a type is replaced, and one of None is taken out."""
    properties: dict[str, Any] = {
        name: part for name, part in schema.get("properties", {}).items() if name not in _UNKNOWN
    }
    for name, change in by.get("properties", {}).items():
        if change is None:
            del properties[name]
        else:
            properties[name] = change if "type" in change else {**properties[name], **change}
    return {**schema, **by, **({"properties": properties} if properties else {})}


def _unique(*keys: str) -> Schema:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


_INT64: Schema = {"format": "int64"}
_METRIC_TYPE: Schema = {"enum": ["Utilization", "Value", "AverageValue"]}
# Fields that mean the same in whichever model they stand.
_BY_FIELD: dict[str, Schema] = {
    "activeDeadlineSeconds": _INT64,
    "canaryTrafficPercent": _INT64,
    "containerConcurrency": _INT64,
    "terminationGracePeriodSeconds": _INT64,
    "timeout": _INT64,
    "env": _unique("name"),
    "ports": _unique("containerPort", "protocol"),
    "volumeDevices": _unique("devicePath"),
    "volumeMounts": _unique("mountPath"),
    "resourceClaims": _unique("name"),
    "schedulingGates": _unique("name"),
    "topologySpreadConstraints": _unique("topologyKey", "whenUnsatisfiable"),
    "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
    "scaleMetricType": _METRIC_TYPE,
    "storageUris": {"minItems": 1},
}
# Newer than the CRDs.
_UNKNOWN = {"tracing", "schedulingGroup", "userAnnotations"}
# Predictors of the time before ServingRuntimes, in the order in which KServe looks for them.
FRAMEWORKS = (
    "sklearn",
    "tensorflow",
    "xgboost",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
)
_NAMED_MODEL = Rule(
    lambda canary: all("name" in canary["predictor"].get(field, {"name": ""}) for field in ("model", *FRAMEWORKS)),
    "the model of a canary's predictor must have a name",
)
_NO_DEBUGGING: Schema = {"properties": {"ephemeralContainers": None}}
_TIGHTER: dict[str, Schema] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "x-kubernetes-int-or-string": True,
        "pattern": _QUANTITY,
    },
    f"{_CORE}.PersistentVolumeClaimTemplate": {"properties": {"metadata": {"type": "object"}}},
    f"{_CORE}.ContainerPort": {"properties": {"protocol": {"default": "TCP"}}},
    "V1alpha1SupportedModelFormat": {"required": ["name"], "properties": {"priority": {"minimum": 1}}},
    "V1beta1ARTExplainerSpec": {"required": []},
    "V1beta1AuthenticationRef": {"required": ["name"]},
    "V1beta1CanarySpec": {
        "rules": (_NAMED_MODEL,),
        "properties": {"trafficPercent": {"minimum": 0, "maximum": 100}},
    },
    "V1beta1ExternalMetrics": {"properties": {"backend": {"enum": ["prometheus", "graphite"]}}},
    "V1beta1LoggerSpec": {"properties": {"mode": {"enum": ["all", "request", "response"]}}},
    "V1beta1MetricTarget": {"properties": {"type": _METRIC_TYPE}},
    "V1beta1MetricsSpec": {"properties": {"type": {"enum": ["Resource", "External", "PodMetric"]}}},
    "V1beta1ModelFormat": {"required": ["name"]},
    "V1beta1PodMetrics": {"properties": {"backend": {"enum": ["opentelemetry"]}}},
    "V1beta1PredictorSpec": {
        "properties": {"name": {"pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}, "ephemeralContainers": None}
    },
    "V1beta1TransformerSpec": _NO_DEBUGGING,
    "V1beta1ExplainerSpec": _NO_DEBUGGING,
    "V1beta1ResourceMetricSource": {"properties": {"name": {"enum": ["cpu", "memory"]}}},
    "V1beta1StorageUri": {
        "properties": {
            "mountPath": {"default": "/mnt/models", "maxLength": 255, "pattern": "^/.*"},
            "uri": {"minLength": 1},
        }
    },
}
