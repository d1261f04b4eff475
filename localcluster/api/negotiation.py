"""Media types: what a request's body is, and in which form the client wants the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import orjson

from localcluster.api import tables
from localcluster.api.errors import ApiError, bad_request
from localcluster.api.plain_data import plain
from localcluster.api.resources import Resource
from localcluster.render import Object

_META = "meta.k8s.io/v1"
_YAML_TYPES = ("application/yaml", "application/apply-patch+yaml")

FormKind = Literal["Object", "Table", "PartialObjectMetadata"]


@dataclass(frozen=True)
class Form:
    """How objects are shown.

    Attributes:
        kind: Whole, as rows of a table, or their metadata alone.
        include: For a table, how much of each object comes with its row.
    """

    kind: FormKind = "Object"
    include: str = ""

    def one(self, resource: Resource, item: Object) -> Object:
        """An object in this form."""
        if self.kind == "Table":
            version = {"resourceVersion": item["metadata"].get("resourceVersion", "")}
            return tables.table(resource, [item], list_metadata=version, include=self.include)
        return _metadata_of(item) if self.kind == "PartialObjectMetadata" else item

    def many(self, resource: Resource, items: Sequence[Object], metadata: Object) -> Object:
        """A list of objects in this form."""
        if self.kind == "Table":
            return tables.table(resource, items, list_metadata=metadata, include=self.include)
        if self.kind == "PartialObjectMetadata":
            return {
                "kind": "PartialObjectMetadataList",
                "apiVersion": _META,
                "metadata": metadata,
                "items": [_metadata_of(item) for item in items],
            }
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": items,
        }

    def bookmark(self, resource: Resource, metadata: Object) -> Object:
        """What stands for a resourceVersion in a watch."""
        if self.kind == "Table":
            return tables.table(resource, [], list_metadata=metadata, include=self.include)
        if self.kind == "PartialObjectMetadata":
            return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": metadata}
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}


def form_of(accept: str, include: str) -> Form:
    """The form that an `Accept` header asks for: the first that the server knows.

    Raises:
        ApiError: 406 if it knows none; 400 for an unknown `includeObject`.
    """
    if include not in {"", "None", "Metadata", "Object"}:
        raise bad_request(f"includeObject must be None, Metadata or Object, not {include!r}")
    for clause in accept.split(",") if accept.strip() else ["*/*"]:
        media, *rest = (part.strip() for part in clause.split(";"))
        if media not in {"application/json", "application/*", "*/*"}:
            continue
        settings = dict(part.partition("=")[::2] for part in rest)
        wanted = settings.get("as", "")
        if not wanted:
            return Form()
        if settings.get("g") != "meta.k8s.io" or settings.get("v") != "v1":
            continue
        if wanted == "Table":
            return Form("Table", include)
        if wanted in {"PartialObjectMetadata", "PartialObjectMetadataList"}:
            return Form("PartialObjectMetadata")
    message = "only the following media types are accepted: application/json, application/json;stream=watch"
    raise ApiError(406, "NotAcceptable", message)


async def decode(content: bytes, media: str, accepted: Iterable[str]) -> Any:
    """The plain data of a body.

    Args:
        content: The body; an empty one is None.
        media: Its `Content-Type` without parameters.
        accepted: Media types that may be here.

    Raises:
        ApiError: 415 for another type; 400 for what cannot be read.
    """
    if media not in accepted:
        if media == "application/vnd.kubernetes.protobuf":
            raise unsupported(accepted, "; this server does not read protobuf: write the object to a file and use")
        raise unsupported(accepted)
    if not content.strip():
        return None
    try:
        return plain(orjson.loads(content))
    except orjson.JSONDecodeError as error:
        if media not in _YAML_TYPES:
            raise bad_request(f"the body of the request is not JSON: {error}") from None
    return plain(await asyncio.to_thread(_yaml, content))


def unsupported(accepted: Iterable[str], hint: str = "") -> ApiError:
    """415, naming what would do."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
        + (f"{hint} `kubectl apply -f`, or add `--dry-run=client -o yaml | kubectl apply -f -`" if hint else "")
    )
    return ApiError(415, "UnsupportedMediaType", message)


def _metadata_of(item: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": item["metadata"]}


def _yaml(content: bytes) -> Any:
    import yaml

    loader = _loader()
    try:
        # Aliases can make a small text huge.
        if b"*" in content and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, loader)):
            raise bad_request("the body of the request uses a YAML alias: write the value out")
        return yaml.load(content, loader)  # noqa: S506  # a safe loader that knows less
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise bad_request(f"the body of the request is not YAML: {' '.join(str(error).split())}") from None


@cache
def _loader() -> Any:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """YAML as another spelling of JSON: times stay text."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    return Loader
