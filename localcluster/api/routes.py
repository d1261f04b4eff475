"""Paths of resources: which object or collection a URL means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from localcluster.api.errors import ApiError
from localcluster.api.resources import NAMESPACES, RESOURCES, Resource

# `/namespaces/<name>/status` is a part of a namespace, `/namespaces/<name>/pods` a collection in one.
_OF_NAMESPACES = frozenset(NAMESPACES.subresources)


@dataclass(frozen=True)
class Target:
    """What a URL means.

    Attributes:
        resource: Kind of the object or objects.
        namespace: Their namespace; empty for all, and for cluster-wide kinds.
        name: Name of the object; empty for a collection.
        subresource: `status`, `scale` or `log`, if the URL ends so.
    """

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def unknown_path() -> ApiError:
    """404 for a path under which nothing is."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def find(path: str) -> Target:
    """What a path means.

    Raises:
        ApiError: 404 for a path under which nothing is.
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, version, rest = "", *_split(parts[1:], 1)
    elif parts[0] == "apis" and len(parts) > 1:
        group, version, rest = parts[1], *_split(parts[2:], 1)
    else:
        raise unknown_path()
    namespace = ""
    if len(rest) > 2 and rest[0] == NAMESPACES.plural and rest[2] not in _OF_NAMESPACES:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = [*rest, "", "", ""][:3]
    resource = _by_path().get((group, version, plural))
    if resource is None or len(rest) > 3 or "" in rest or (namespace and not resource.namespaced):
        raise unknown_path()
    if subresource and subresource not in resource.subresources:
        raise unknown_path()
    if name and resource.namespaced and not namespace:
        raise unknown_path()
    return Target(resource, namespace, name, subresource)


def _split(parts: list[str], at: int) -> tuple[str, list[str]]:
    return "/".join(parts[:at]), parts[at:]


@cache
def _by_path() -> dict[tuple[str, str, str], Resource]:
    return {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}
