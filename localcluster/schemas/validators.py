"""Strict schemas of Kubernetes objects: an unknown field, a wrong type or a missing field is an error.

Core kinds are checked with the definitions that `kubernetes-validate` carries. Custom kinds (KServe, Gateway API) are
checked with their CustomResourceDefinitions, wherever those come from; a CRD's own schema lets unknown fields pass (the
API server drops them), so it is made strict here. CEL rules (`x-kubernetes-validations`) are not evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from localcluster.render import Object

_KUBERNETES = "1.37"


@dataclass(frozen=True)
class SchemaError:
    """One way in which an object breaks its schema.

    Attributes:
        path: Where, as `spec.predictor.minReplicas`.
        message: What is wrong.
    """

    path: str
    message: str


class Schemas:
    """Schemas of the core kinds, and of the custom kinds whose CRDs lie in a folder.

    Args:
        crds: Folder with CustomResourceDefinitions, one or more a YAML file; None for core kinds only.
    """

    def __init__(self, crds: Path | None = None) -> None:
        self._crds = None if crds is None else crds.resolve()

    def knows(self, item: Object) -> bool:
        """Whether there is a schema for this object's kind."""
        return self._validator(item) is not None

    def errors(self, item: Object) -> list[SchemaError]:
        """All ways in which an object breaks its schema; one of an unknown kind breaks it, too."""
        validator = self._validator(item)
        if validator is None:
            return [SchemaError("kind", f"no schema for {item['apiVersion']} {item['kind']}")]
        found = [
            SchemaError(".".join(str(part) for part in error.absolute_path), error.message[:300])
            for error in validator.iter_errors(item)
        ]
        return sorted(found, key=lambda error: error.path)

    def _validator(self, item: Object) -> Any:
        kind = (item["apiVersion"], item["kind"])
        custom = None if self._crds is None else _custom_validator(self._crds, *kind)
        return custom or _core_validator(*kind)


@cache
def _custom_schemas(folder: Path) -> dict[tuple[str, str], Object]:
    # The C parser: KServe's CRD alone is 2 MB.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[tuple[str, str], Object] = {}
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.load_all(path.read_text(), loader):
            if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                spec = document["spec"]
                for version in spec["versions"]:
                    api_version = f"{spec['group']}/{version['name']}"
                    schema = version.get("schema", {}).get("openAPIV3Schema", {})
                    found[api_version, spec["names"]["kind"]] = strict(_with_object_fields(schema))
    return found


def strict(schema: Any) -> Any:
    """A structural schema as JSON Schema that refuses unknown fields.

    Follows the API server: `x-kubernetes-preserve-unknown-fields` keeps an object open, `nullable` allows null, and
    `x-kubernetes-int-or-string` stands for its two types.
    """
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "nullable"}
    if "properties" in schema:
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if key in schema:
            made[key] = strict(schema[key])
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    # Parts of a combinator only narrow what stands beside them, so they stay open.
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


def _with_object_fields(schema: Object) -> Object:
    """Adds what every object may have and no CRD spells out."""
    properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, **schema.get("properties", {})}
    properties["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    required = [*schema.get("required", []), "metadata"]
    return {**schema, "properties": properties, "required": required}


@cache
def _core_validator(api_version: str, kind: str) -> Any:
    """Validator of a core kind, None for any other; the definitions are read once, not for each object."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
    from kubernetes_validate import utils
    from referencing import Registry, Resource

    folder = f"kubernetes-json-schema/v{_KUBERNETES}.0-local-strict"
    group, _, version = api_version.rpartition("/")
    # `networking.k8s.io/v1` is `networking-v1` in the names of its files.
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], version) if part)
    try:
        schema = utils.schema_contents(f"{folder}/{name}.json", _KUBERNETES)
    except FileNotFoundError:
        return None
    definitions = utils.schema_contents(f"{folder}/_definitions.json", _KUBERNETES)
    registry = Resource.from_contents(definitions) @ (Resource.from_contents(schema) @ Registry())
    return Draft202012Validator(schema, registry=registry)


@cache
def _custom_validator(folder: Path, api_version: str, kind: str) -> Any:
    # OpenAPI 3.0 has the boolean `exclusiveMinimum` of draft 4.
    from jsonschema import Draft4Validator

    schema = _custom_schemas(folder).get((api_version, kind))
    return None if schema is None else Draft4Validator(schema)
