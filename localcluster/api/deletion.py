"""How objects end: grace for pods, finalizers, and what becomes of the objects that an object owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from localcluster.api.errors import ApiError, bad_request, conflict, not_found
from localcluster.api.object_meta import now
from localcluster.api.resources import NAMESPACES, PODS, Resource
from localcluster.api.store import Key, Store
from localcluster.render import Object

FOREGROUND = "foregroundDeletion"
"""Finalizer of an object that goes after everything that it owns."""

PERMANENT_NAMESPACES = ("default", "kube-system", "kube-public")
_GRACE_S = 30

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True)
class DeleteOptions:
    """What a client asks for beside the end of an object.

    Attributes:
        propagation: What becomes of the objects that it owns.
        grace_s: Seconds that a pod has to end; None for what the pod says.
        uid: If given, only the object with this uid is deleted.
        resource_version: If given, only this version of it is.
        dry_run: Whether to change nothing.
    """

    propagation: Propagation = "Background"
    grace_s: int | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

    @classmethod
    def of(cls, body: Any, query: Callable[[str], str], *, dry_run: bool) -> DeleteOptions:
        """Reads them from a request's body and query.

        Raises:
            ApiError: 400 if they cannot be read.
        """
        if body is None:
            body = {}
        if not isinstance(body, dict) or not isinstance(preconditions := body.get("preconditions") or {}, dict):
            raise bad_request("the body of a delete must be a DeleteOptions object")
        grace = body.get("gracePeriodSeconds")
        if grace is None and (text := query("gracePeriodSeconds")):
            if not text.lstrip("-").isdecimal():
                raise bad_request(f"gracePeriodSeconds must be a number, not {text!r}")
            grace = int(text)
        if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
            raise bad_request("gracePeriodSeconds must be a number")
        orphan = body.get("orphanDependents", query("orphanDependents") == "true")
        propagation: Any = (
            body.get("propagationPolicy") or query("propagationPolicy") or ("Orphan" if orphan else "Background")
        )
        if propagation not in ("Background", "Foreground", "Orphan"):
            raise bad_request(f"propagationPolicy must be Background, Foreground or Orphan, not {propagation!r}")
        uid, version = preconditions.get("uid") or "", preconditions.get("resourceVersion") or ""
        if not isinstance(uid, str) or not isinstance(version, str):
            raise bad_request("preconditions must be strings")
        return cls(
            propagation,
            None if grace is None else min(max(grace, -1), 1 << 31),
            uid,
            version,
            dry_run or bool(body.get("dryRun")),
        )


class Deleter:
    """Deletes objects, or marks those that cannot go yet.

    Args:
        store: Where they are.
        dependents: The objects that name a uid among their owners.
    """

    def __init__(self, store: Store, dependents: Callable[[str], list[Key]]) -> None:
        self._store = store
        self._dependents = dependents

    def delete(self, resource: Resource, key: Key, options: DeleteOptions) -> tuple[Object, bool]:
        """Deletes an object.

        Returns:
            The object as it is now, and whether it is gone.

        Raises:
            ApiError: 404 if there is none; 409 if it is not the one that the preconditions mean; 403 for a namespace
                that stays.
        """
        item = self._store.get(key)
        if item is None:
            raise not_found(resource.plural, resource.group, key.name)
        self._check(resource, item, options)
        grace = _grace_s(resource, item, options)
        if options.dry_run:
            return item, not (grace or item["metadata"].get("finalizers"))
        if options.propagation == "Orphan":
            self._orphan(item["metadata"]["uid"])
        finalizers = list(item["metadata"].get("finalizers") or ())
        if options.propagation == "Foreground" and FOREGROUND not in finalizers:
            finalizers.append(FOREGROUND)
        if not grace and not finalizers and resource is not NAMESPACES:
            return self._store.remove(key) or item, True
        marked = _marked(resource, item, finalizers, grace)
        return (item if marked == item else self._store.put(key.storage, marked)), False

    def release(self, key: Key, finalizer: str) -> None:
        """Takes a finalizer away; the object goes if it was the last thing that held it."""
        item = self._store.get(key)
        if item is None:
            return
        left = [name for name in item["metadata"].get("finalizers") or () if name != finalizer]
        self.settle(key, {**item, "metadata": {**item["metadata"], "finalizers": left}})

    def settle(self, key: Key, item: Object) -> Object:
        """Stores the new state of an object, or removes it if it is to go and nothing holds it any more."""
        metadata = item["metadata"]
        if "finalizers" in metadata and not metadata["finalizers"]:
            metadata = {name: value for name, value in metadata.items() if name != "finalizers"}
            item = {**item, "metadata": metadata}
        held = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds") or key.storage == "namespaces"
        if "deletionTimestamp" in metadata and not held:
            return self._store.remove(key, item) or item
        return self._store.put(key.storage, item)

    def _check(self, resource: Resource, item: Object, options: DeleteOptions) -> None:
        metadata = item["metadata"]
        name = metadata["name"]
        for wanted, field, word in ((options.uid, "uid", "UID"), (options.resource_version, "resourceVersion", "RV")):
            if wanted and wanted != metadata[field]:
                message = (
                    f"Precondition failed: {word} in precondition: {wanted}, {word} in object meta: {metadata[field]}"
                )
                raise conflict(resource.plural, resource.group, name, message)
        if resource is NAMESPACES and name in PERMANENT_NAMESPACES:
            message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
            raise ApiError(403, "Forbidden", message, kind="namespaces", name=name)

    def _orphan(self, uid: str) -> None:
        for key in self._dependents(uid):
            if (item := self._store.get(key)) is not None:
                self._store.put(key.storage, without_owners(item, {uid}))


def without_owners(item: Object, uids: set[str]) -> Object:
    """A copy of an object that these do not own any more."""
    metadata = dict(item["metadata"])
    references = [reference for reference in metadata.pop("ownerReferences", ()) if reference["uid"] not in uids]
    return {**item, "metadata": {**metadata, **({"ownerReferences": references} if references else {})}}


def _grace_s(resource: Resource, item: Object, options: DeleteOptions) -> int:
    """How long the object stays so that its process can end; only a pod that was started has one."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if resource is not PODS or not spec.get("nodeName") or status.get("phase") in {"Succeeded", "Failed"}:
        return 0
    asked = options.grace_s
    if asked is None:
        asked = spec.get("terminationGracePeriodSeconds")
    grace = _GRACE_S if not isinstance(asked, int) else asked
    return grace if grace >= 0 else 1


def _marked(resource: Resource, item: Object, finalizers: list[str], grace: int) -> Object:
    metadata = dict(item["metadata"])
    if "deletionTimestamp" not in metadata or grace < metadata.get("deletionGracePeriodSeconds", 0):
        at = datetime.now(UTC) + timedelta(seconds=grace)
        metadata["deletionTimestamp"] = at.strftime("%Y-%m-%dT%H:%M:%SZ") if grace else now()
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata:
            metadata["generation"] += 1
    if finalizers:
        metadata["finalizers"] = finalizers
    item = {**item, "metadata": metadata}
    return (
        {**item, "status": {**(item.get("status") or {}), "phase": "Terminating"}} if resource is NAMESPACES else item
    )
