"""Schemas of Kubernetes' own kinds: the definitions that `kubernetes-validate` carries, with their defaults."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from localcluster.schemas.core_defaults import DEFAULTS
from localcluster.schemas.structural import Schema, Structure

KUBERNETES = "1.37"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_META = "io.k8s.apimachinery.pkg"
_ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}
# What the published definitions say less well than the API server does.
_PRECISE: dict[str, Schema] = {
    f"{_META}.api.resource.Quantity": {"type": ["string", "number"]},
    f"{_META}.util.intstr.IntOrString": {"x-kubernetes-int-or-string": True},
    f"{_META}.apis.meta.v1.FieldsV1": {"type": "object", **_ANYTHING},
    f"{_META}.runtime.RawExtension": {"type": "object", **_ANYTHING},
}


@cache
def definitions(version: str = KUBERNETES) -> dict[str, Schema]:
    """Definitions of a version of Kubernetes by name, such as `io.k8s.api.core.v1.Container`."""
    return {**_read("_definitions.json", version)["$defs"], **_PRECISE}


@cache
def _with_defaults() -> dict[str, Schema]:
    made = dict(definitions())
    for name, fields in DEFAULTS.items():
        made[name] = _filled(made[name], fields)
    return made


def _filled(schema: Schema, fields: Mapping[str, Any]) -> Schema:
    given = {field: {**schema["properties"][field], "default": value} for field, value in fields.items()}
    return {**schema, "properties": {**schema["properties"], **given}}


@cache
def structure(api_version: str, kind: str) -> Structure | None:
    """The schema of a core kind, None for any other."""
    group, _, version = api_version.rpartition("/")
    # `networking.k8s.io/v1` is `networking-v1` in the names of its files.
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], version) if part)
    try:
        root = _read(f"{name}.json")
    except FileNotFoundError:
        return None
    known = root.get("x-kubernetes-group-version-kind", [])
    if {"group": group, "version": version, "kind": kind} not in known:
        return None
    # A kind's own file says the same as its definition, but has no defaults.
    defaults = DEFAULTS.get(f"io.k8s.api.{group or 'core'}.{version}.{kind}", {})
    return Structure(_filled(root, defaults), _with_defaults(), keyed=False)


def _read(name: str, version: str = KUBERNETES) -> Any:
    return json.loads((_folder() / f"v{version}.0-local-strict" / name).read_bytes())


@cache
def _folder() -> Path:
    # Found, not imported: the package brings a validator of its own that takes longer to import than this to read.
    found = importlib.util.find_spec("kubernetes_validate")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("kubernetes-validate is missing; run `make install`, which brings it")
    return Path(found.origin).parent / "kubernetes-json-schema"
