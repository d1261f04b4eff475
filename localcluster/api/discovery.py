"""What the API serves, as clients ask for it before anything else."""

from __future__ import annotations

import platform

from localcluster.api.merge_schema import KUBERNETES
from localcluster.api.resources import RESOURCES, Resource
from localcluster.render import Object

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_WRITE_VERBS = ("get", "patch", "update")


def document(path: str) -> Object | None:
    """The discovery document at a path such as `/apis/apps/v1`; None if there is none.

    Args:
        path: Path of the request; a slash at its end does not matter.
    """
    found: Object | None = None
    match path.strip("/").split("/"):
        case ["version"]:
            found = _version()
        case ["api"]:
            found = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = dict.fromkeys(resource.group for resource in RESOURCES if resource.group)
            found = {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups]}
        case ["apis", group] if _versions(group):
            found = {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
        case ["api", version]:
            found = _resources("", version)
        case ["apis", group, version] if group:
            found = _resources(group, version)
    return found


def _version() -> Object:
    major, minor = KUBERNETES.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{KUBERNETES}.0",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": f"linux/{'arm64' if platform.machine() == 'aarch64' else 'amd64'}",
    }


def _versions(group: str) -> list[str]:
    return list(dict.fromkeys(resource.version for resource in RESOURCES if resource.group == group))


def _group(group: str) -> Object:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in _versions(group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resources(group: str, version: str) -> Object | None:
    served = [resource for resource in RESOURCES if (resource.group, resource.version) == (group, version)]
    if not served:
        return None
    listed = [entry for resource in served for entry in (_resource(resource), *_subresources(resource))]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": listed,
    }


def _resource(resource: Resource) -> Object:
    return {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(_VERBS),
        **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
        **({"categories": list(resource.categories)} if resource.categories else {}),
    }


def _subresources(resource: Resource) -> list[Object]:
    kinds: dict[str, Object] = {
        "status": {"kind": resource.kind, "verbs": list(_WRITE_VERBS)},
        "scale": {"kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": list(_WRITE_VERBS)},
        "log": {"kind": resource.kind, "verbs": ["get"]},
    }
    return [
        {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced, **kinds[name]}
        for name in resource.subresources
    ]
