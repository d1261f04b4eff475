"""How the fields of each kind merge: which lists have keys, which maps are replaced as a whole.

Core kinds follow the definitions that `kubernetes-validate` carries. Custom kinds follow a table of the lists that
their CustomResourceDefinitions declare as maps or sets: every other list of a custom resource is replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from localcluster.api.resources import Resource
from localcluster.render import Object
from localcluster.schemas.kserve import FRAMEWORKS

KUBERNETES = "1.37"
_DEFINITIONS = "#/$defs/"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# Key fields that may be left out, with what the API server takes them for.
_KEY_DEFAULTS = {"protocol": "TCP"}

# Of KServe's kinds: lists of a pod that have no keys there, and fields that hold one container.
_UNKEYED = ("containers", "initContainers", "hostAliases", "imagePullSecrets", "volumes", "ephemeralContainers")
_MODEL_CONTAINERS = ("model", "art", *FRAMEWORKS)

ListType = Literal["atomic", "set", "map"]


@dataclass(frozen=True)
class MergeSchema:
    """What is known of one field.

    Attributes:
        node: Its schema as OpenAPI; empty for a field that is not known.
    """

    node: Object

    @property
    def list_type(self) -> ListType:
        """How a list merges: not at all, by value, or by key."""
        declared: ListType | None = self._get("x-kubernetes-list-type")
        if declared is not None:
            return declared
        if "merge" not in self.strategies:
            return "atomic"
        return "map" if self.merge_key else "set"

    @property
    def list_keys(self) -> tuple[str, ...]:
        """Fields that tell the items of a list apart in server-side apply."""
        keys = self._get("x-kubernetes-list-map-keys")
        return tuple(keys) if keys else ((self.merge_key,) if self.merge_key else ())

    @property
    def merge_key(self) -> str:
        """Field that tells the items of a list apart in a strategic merge patch."""
        key: str = self._get("x-kubernetes-patch-merge-key") or ""
        return key

    @property
    def strategies(self) -> tuple[str, ...]:
        """Of a strategic merge patch: among `merge`, `replace`, `retainKeys`."""
        return tuple((self._get("x-kubernetes-patch-strategy") or "").split(","))

    @property
    def atomic(self) -> bool:
        """Whether a map is replaced as a whole."""
        return bool(self._get("x-kubernetes-map-type") == "atomic")

    def field(self, name: str) -> MergeSchema:
        """Schema of a field of a map."""
        properties = self._get("properties") or {}
        found = properties.get(name, self._get("additionalProperties"))
        return MergeSchema(found) if isinstance(found, dict) else UNKNOWN

    def item(self) -> MergeSchema:
        """Schema of the items of a list."""
        found = self._get("items")
        return MergeSchema(found) if isinstance(found, dict) else UNKNOWN

    def key_of(self, item: Any) -> tuple[Any, ...]:
        """What tells an item apart from the others of its list; a key field that is missing counts as its default."""
        if self.list_type == "set" or not isinstance(item, dict):
            return (json.dumps(item, sort_keys=True),)
        return tuple(item.get(key, _KEY_DEFAULTS.get(key)) for key in self.list_keys)

    def _get(self, name: str) -> Any:
        if name in self.node:
            return self.node[name]
        reference = self.node.get("$ref")
        return definitions()[reference.removeprefix(_DEFINITIONS)].get(name) if reference else None


UNKNOWN = MergeSchema({})


@cache
def definitions() -> dict[str, Object]:
    """Every definition of Kubernetes' API by its full name."""
    from kubernetes_validate import utils

    path = f"kubernetes-json-schema/v{KUBERNETES}.0-local/_definitions.json"
    found: dict[str, Object] = utils.schema_contents(path, KUBERNETES)["$defs"]
    return found


@cache
def definition_of(api_version: str, kind: str) -> str:
    """Full name of the definition of a core kind, empty for any other."""
    return _definition_names().get((api_version, kind), "")


@cache
def merge_schema(resource: Resource) -> MergeSchema:
    """Schema of a whole object."""
    if name := definition_of(resource.api_version, resource.kind):
        return MergeSchema({"$ref": _DEFINITIONS + name})
    parts = _custom_kinds().get(resource.kind, {})
    return MergeSchema(_fields(metadata={"$ref": _DEFINITIONS + _OBJECT_META}, **parts))


@cache
def _definition_names() -> dict[tuple[str, str], str]:
    found = {}
    for name, definition in definitions().items():
        kinds = definition.get("x-kubernetes-group-version-kind", ())
        # What belongs to every group, such as DeleteOptions, is no kind of object.
        if len(kinds) == 1:
            (kind,) = kinds
            group, version = kind["group"], kind["version"]
            found[f"{group}/{version}" if group else version, kind["kind"]] = name
    return found


def _fields(**properties: Any) -> Object:
    return {"properties": properties}


def _keyed(keys: Sequence[str], item: Object | None = None) -> Object:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys), "items": item or {}}


@cache
def _custom_kinds() -> dict[str, dict[str, Object]]:
    core = definitions()["io.k8s.api.core.v1.PodSpec"]["properties"]
    container = {"$ref": _DEFINITIONS + "io.k8s.api.core.v1.Container"}
    conditions = _keyed(["type"])
    atomic = {"x-kubernetes-map-type": "atomic"}
    # KServe's CRDs declare no keys for these, so a change of one container replaces the list.
    pod = {**core, **{name: {} for name in _UNKEYED}}
    runtime_pod = {**pod, "nodeSelector": {}}
    component = _fields(
        **pod,
        **dict.fromkeys(_MODEL_CONTAINERS, container),
        workerSpec=_fields(**pod),
    )
    runtime = {"spec": _fields(**runtime_pod, workerSpec=_fields(**runtime_pod))}
    allowed = _fields(namespaces=_fields(selector=atomic))
    return {
        "InferenceService": {"spec": _fields(predictor=component, transformer=component, explainer=component)},
        "ServingRuntime": runtime,
        "ClusterServingRuntime": runtime,
        "GatewayClass": {"status": _fields(conditions=conditions, supportedFeatures=_keyed(["name"]))},
        "Gateway": {
            "spec": _fields(
                allowedListeners=allowed,
                listeners=_keyed(["name"], _fields(allowedRoutes=allowed)),
                tls=_fields(frontend=_fields(perPort=_keyed(["port"]))),
            ),
            "status": _fields(conditions=conditions, listeners=_keyed(["name"], _fields(conditions=conditions))),
        },
    }
