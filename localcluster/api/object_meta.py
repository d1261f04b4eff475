"""What a client may send as an object at all: its kind, its name, and metadata that the server can rely on."""

from __future__ import annotations

import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from localcluster.api.errors import Cause, bad_request, invalid
from localcluster.api.resources import Resource
from localcluster.render import Object

# What Kubernetes draws random names from: no vowels, so that no words come out.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_LONGEST_GENERATED = 63 - _SUFFIX
_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_ANNOTATIONS_BYTES = 256 << 10

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", re.ASCII)
_NAMED_AS_DNS_LABEL = frozenset({"namespaces", "services"})
_NAME_RULE = "must consist of lower case letters, digits, '-' and '.', and start and end with a letter or a digit"
_LABEL_RULE = "must consist of letters, digits, '-', '_' and '.', and start and end with a letter or a digit"

# What only the server writes: an update carries it over from what is stored.
KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion")
_OF_THE_SERVER = (*KEPT, "selfLink")


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def checked(resource: Resource, body: Any, namespace: str, name: str = "") -> Object:
    """An object as a request sent it, with its kind and namespace filled in.

    Args:
        resource: What the request's path says that it is.
        body: What was sent; not changed.
        namespace: Namespace in the path.
        name: Name in the path; empty for a new object.

    Raises:
        ApiError: 400 if it is something else, or somewhere else; 422 if its metadata cannot be used.
    """
    if not isinstance(body, dict):
        raise bad_request(f"the body of the request must be a {resource.kind}")
    version, kind = body.get("apiVersion", resource.api_version), body.get("kind", resource.kind)
    if (version, kind) != (resource.api_version, resource.kind):
        raise bad_request(
            f"the object in the body ({version}, {kind}) is not what the path says ({resource.api_version},"
            f" {resource.kind})"
        )
    metadata = body.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    metadata = {key: value for key, value in metadata.items() if value is not None}
    for key in ("name", "generateName", "namespace", "uid", "resourceVersion"):
        if not isinstance(metadata.get(key, ""), str):
            raise bad_request(f"metadata.{key} must be a string")
    if metadata.get("namespace", namespace) not in {namespace, ""}:
        raise bad_request(
            f"the namespace of the provided object ({metadata['namespace']}) does not match the namespace sent on the"
            f" request ({namespace})"
        )
    if name and metadata.get("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    metadata.pop("namespace", None)
    if resource.namespaced:
        metadata["namespace"] = namespace
    if name:
        metadata["name"] = name
    _check(resource, metadata)
    return {**body, "apiVersion": version, "kind": kind, "metadata": metadata}


def born(resource: Resource, item: Object) -> Object:
    """A new object with what the server gives it: name, uid, time of creation.

    Args:
        resource: What it is.
        item: A checked object.

    Raises:
        ApiError: 400 if it has a resourceVersion; 422 if it has no name, or one that cannot be.
    """
    metadata = item["metadata"]
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    metadata = {key: value for key, value in metadata.items() if key not in _OF_THE_SERVER}
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    if not name and not prefix:
        cause = Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")
        raise invalid(resource.kind, resource.group, name, [cause])
    metadata["name"] = name or prefix[:_LONGEST_GENERATED] + random_suffix()
    check_name(resource, metadata["name"])
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now()
    if counts_generations(resource):
        metadata["generation"] = 1
    return {**item, "metadata": metadata}


def random_suffix() -> str:
    """Five characters as Kubernetes appends them to generated names."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))


def counts_generations(resource: Resource) -> bool:
    """Whether a change of anything but metadata and status counts as a new generation."""
    return resource.custom or "status" in resource.subresources


def check_name(resource: Resource, name: str) -> None:
    """Refuses what cannot be the name of an object.

    Raises:
        ApiError: 422.
    """
    as_label = resource.storage in _NAMED_AS_DNS_LABEL
    longest = _LONGEST_LABEL if as_label else _LONGEST_NAME
    if len(name) > longest or not (_DNS_LABEL if as_label else _NAME).fullmatch(name):
        message = f'Invalid value: "{name}": {_NAME_RULE}, at most {longest} characters'
        cause = Cause("FieldValueInvalid", message, "metadata.name")
        raise invalid(resource.kind, resource.group, name, [cause])


def _check(resource: Resource, metadata: Object) -> None:
    """Holds labels, annotations, finalizers and owners against the shapes that the server and its clients rely on."""
    causes = [*_label_causes(metadata), *_annotation_causes(metadata), *_reference_causes(metadata)]
    managed = metadata.get("managedFields")
    if managed is not None and not (isinstance(managed, list) and all(isinstance(entry, dict) for entry in managed)):
        causes.append(_wrong("metadata.managedFields", "must be a list of objects"))
    if causes:
        raise invalid(resource.kind, resource.group, metadata.get("name", ""), causes)


def _label_causes(metadata: Object) -> list[Cause]:
    labels = metadata.get("labels")
    if labels is None:
        return []
    if not _strings(labels):
        return [_wrong("metadata.labels", "must be a map of strings to strings")]
    causes = [
        _wrong("metadata.labels", f'"{value}": a label\'s value {_LABEL_RULE}, at most {_LONGEST_LABEL} characters')
        for value in labels.values()
        if value and not _label_name(value)
    ]
    return causes + [_wrong("metadata.labels", f'"{key}": {wrong}') for key in labels if (wrong := _key_error(key))]


def _annotation_causes(metadata: Object) -> list[Cause]:
    annotations = metadata.get("annotations")
    if annotations is None:
        return []
    if not _strings(annotations):
        return [_wrong("metadata.annotations", "must be a map of strings to strings")]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATIONS_BYTES:
        return [Cause("FieldValueTooLong", f"Too long: at most {_ANNOTATIONS_BYTES} bytes", "metadata.annotations")]
    return [_wrong("metadata.annotations", f'"{key}": {error}') for key in annotations if (error := _key_error(key))]


def _reference_causes(metadata: Object) -> list[Cause]:
    causes: list[Cause] = []
    finalizers = metadata.get("finalizers", [])
    if not isinstance(finalizers, list) or not all(isinstance(name, str) and name for name in finalizers):
        causes.append(_wrong("metadata.finalizers", "must be a list of names"))
    references = metadata.get("ownerReferences", [])
    if not isinstance(references, list) or not all(isinstance(reference, dict) for reference in references):
        return [*causes, _wrong("metadata.ownerReferences", "must be a list of objects")]
    for number, reference in enumerate(references):
        causes += [
            _wrong(f"metadata.ownerReferences[{number}].{key}", "must be a string, and not empty")
            for key in ("apiVersion", "kind", "name", "uid")
            if not isinstance(reference.get(key), str) or not reference[key]
        ]
    if sum(reference.get("controller") is True for reference in references) > 1:
        causes.append(_wrong("metadata.ownerReferences", "only one reference can have controller set to true"))
    return causes


def _strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, str) for entry in value.values())


def _label_name(text: str) -> bool:
    return len(text) <= _LONGEST_LABEL and _LABEL_NAME.fullmatch(text) is not None


def _key_error(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if not _label_name(name):
        return f"the name of a key {_LABEL_RULE}, at most {_LONGEST_LABEL} characters"
    if slash and (len(prefix) > _LONGEST_NAME or not _NAME.fullmatch(prefix.lower())):
        return f"the prefix of a key {_NAME_RULE}"
    return ""


def _wrong(field: str, message: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {message}", field)
