"""Strict schemas of Kubernetes objects: an unknown field, a wrong type or a missing field is an error.

Core kinds are checked with the definitions that `kubernetes-validate` carries. Custom kinds (KServe, Gateway API) are
checked with their CustomResourceDefinitions, wherever those come from; a CRD's own schema lets unknown fields pass (the
API server drops them), so it is made strict here. CEL rules (`x-kubernetes-validations`) are not evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """Schemas of core and custom kinds.

    Args:
        custom: JSON Schemas of the custom kinds by `apiVersion` and `kind`.
    """

    def __init__(self, custom: Mapping[tuple[str, str], Object]) -> None:
        self._custom = custom

    def knows(self, item: Object) -> bool:
        """Whether there is a schema for this object's kind."""
        return (item["apiVersion"], item["kind"]) in self._custom or _core_errors(item) is not None

    def errors(self, item: Object) -> list[SchemaError]:
        """All ways in which an object breaks its schema; one of an unknown kind breaks it, too."""
        custom = self._custom.get((item["apiVersion"], item["kind"]))
        found = _core_errors(item) if custom is None else _custom_errors(custom, item)
        return [SchemaError("kind", f"no schema for {item['apiVersion']} {item['kind']}")] if found is None else found


def load_schemas(crds: Path | None) -> Schemas:
    """Schemas of the core kinds, and of the custom kinds whose CRDs lie in a folder.

    Args:
        crds: Folder with CustomResourceDefinitions, one or more a YAML file; None for core kinds only.
    """
    return Schemas(_custom_schemas(crds.resolve()) if crds is not None else {})


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


def _custom_errors(schema: Object, item: Object) -> list[SchemaError]:
    # OpenAPI 3.0 has the boolean `exclusiveMinimum` of draft 4.
    from jsonschema import Draft4Validator  # type: ignore[import-untyped]

    return _told(Draft4Validator(schema).iter_errors(item))


def _told(found: Iterable[Any]) -> list[SchemaError]:
    told = [SchemaError(".".join(str(part) for part in error.absolute_path), error.message[:300]) for error in found]
    return sorted(told, key=lambda error: error.path)


def _core_errors(item: Object) -> list[SchemaError] | None:
    """How an object breaks the schema of its core kind; None if it is of no core kind."""
    import kubernetes_validate

    try:
        kubernetes_validate.validate(item, _KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return _told([error])
    except kubernetes_validate.SchemaNotFoundError:
        return None
    return []
