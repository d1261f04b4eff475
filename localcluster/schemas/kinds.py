"""The schema of every kind that the project uses: Kubernetes' own, KServe's and Gateway API's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from localcluster.schemas import core, gateway_api, kserve
from localcluster.schemas.structural import Schema, Structure


@cache
def structure(api_version: str, kind: str) -> Structure | None:
    """The schema of a kind, None for one that the project does not know."""
    key = (api_version, kind)
    if (root := kserve.schemas().get(key)) is not None:
        return custom(root, kserve.definitions())
    if (root := gateway_api.schemas().get(key)) is not None:
        return custom(root, core.definitions())
    return core.structure(api_version, kind)


def custom(schema: Schema, definitions: Mapping[str, Schema]) -> Structure:
    """The schema of a custom kind, with what every object has and no CustomResourceDefinition spells out."""
    text: Schema = {"type": "string"}
    properties = {
        **schema.get("properties", {}),
        "apiVersion": text,
        "kind": text,
        "metadata": core.definitions()[core.OBJECT_META],
    }
    return Structure({**schema, "properties": properties}, definitions)
