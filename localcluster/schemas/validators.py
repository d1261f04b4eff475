"""Strict schemas for manifests: an unknown field, a wrong type or a missing field is an error.

Every object is checked with the schemas that the project carries itself. Where CustomResourceDefinitions are at hand,
custom kinds are checked with those, too; their CEL rules are not evaluated (those that matter stand beside our own
schemas).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from localcluster.render import Object
from localcluster.schemas import core
from localcluster.schemas.kinds import custom, structure
from localcluster.schemas.structural import Structure


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
    """Schemas of every kind that the project knows, and of the kinds whose CRDs lie in a folder.

    Args:
        crds: Folder with CustomResourceDefinitions, one or more a YAML file; None for the project's own schemas only.
    """

    def __init__(self, crds: Path | None = None) -> None:
        self._crds = None if crds is None else crds.resolve()

    def knows(self, item: Object) -> bool:
        """Whether there is a schema for this object's kind."""
        return bool(self._structures(item))

    def errors(self, item: Object) -> list[SchemaError]:
        """All ways in which an object breaks its schemas; one of an unknown kind breaks them, too."""
        structures = self._structures(item)
        if not structures:
            said = f"no schema for {item['apiVersion']} {item['kind']}; add one, or give its CustomResourceDefinition"
            return [SchemaError("kind", said)]
        found: dict[str, SchemaError] = {}
        for each in structures:
            for error in _errors(each, item):
                found.setdefault(error.path, error)
        return sorted(found.values(), key=lambda error: error.path)

    def _structures(self, item: Object) -> list[Structure]:
        kind = (item["apiVersion"], item["kind"])
        given = None if self._crds is None else _given(self._crds).get(kind)
        return [found for found in (structure(*kind), given) if found is not None]


def _errors(structure: Structure, item: Object) -> list[SchemaError]:
    decoded, unknown = structure.decode(item)
    structure.fill(decoded)
    found = [SchemaError(path, "unknown field; remove it or correct its name") for path in unknown]
    return [*found, *(SchemaError(cause.field, cause.message) for cause in structure.errors(decoded))]


@cache
def _given(folder: Path) -> dict[tuple[str, str], Structure]:
    # The C parser: KServe's CRD alone is 2 MB.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[tuple[str, str], Structure] = {}
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.load_all(path.read_text(), loader):
            if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                spec = document["spec"]
                for version in spec["versions"]:
                    schema = version.get("schema", {}).get("openAPIV3Schema", {})
                    key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                    found[key] = custom(schema, core.definitions())
    return found
