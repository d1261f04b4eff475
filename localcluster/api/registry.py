"""Create, update, patch: from what a client sent to what is stored, by the rules that hold for every kind."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

from localcluster.api import patches, server_side_apply
from localcluster.api.admission import FieldValidation, Operation, admit
from localcluster.api.deletion import Deleter
from localcluster.api.errors import ApiError, Cause, already_exists, bad_request, conflict, invalid, not_found
from localcluster.api.object_meta import KEPT, born, checked, counts_generations, now
from localcluster.api.plain_data import plain
from localcluster.api.resources import NAMESPACES, RESOURCES, Resource
from localcluster.api.scale import scale_of, scaled
from localcluster.api.store import Key, Store
from localcluster.render import Object

PatchType = Literal["json", "merge", "strategic", "apply"]

_INITIAL_STATUS = {
    "namespaces": {"phase": "Active"},
    "persistentvolumeclaims": {"phase": "Pending"},
    "pods": {"phase": "Pending"},
}
_STORAGE_VERSIONS = {resource.storage: resource.api_version for resource in reversed(RESOURCES)}


@dataclass(frozen=True)
class WriteOptions:
    """What a client asks for beside the write.

    Attributes:
        manager: Who owns the fields that are written.
        dry_run: Whether to store nothing.
        field_validation: What to do with unknown fields.
        force: Whether server-side apply takes fields from other managers.
        subresource: `status` or `scale` if only that is written.
    """

    manager: str
    dry_run: bool = False
    field_validation: FieldValidation = "Warn"
    force: bool = False
    subresource: str = ""


@dataclass(frozen=True)
class Written:
    """What a write came to.

    Attributes:
        item: The object as it is stored now.
        created: Whether it is new.
        warnings: What its author should know.
    """

    item: Object
    created: bool = False
    warnings: tuple[str, ...] = ()


class Registry:
    """Writes objects.

    Args:
        store: Where they are kept.
        deleter: Removes those that only waited for a last finalizer.
    """

    def __init__(self, store: Store, deleter: Deleter) -> None:
        self._store = store
        self._deleter = deleter

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """The object.

        Raises:
            ApiError: 404 if there is none.
        """
        item = self._store.get(Key(resource.storage, namespace, name))
        if item is None:
            raise not_found(resource.plural, resource.group, name)
        return of_version(resource, item)

    def create(self, resource: Resource, namespace: str, body: Any, options: WriteOptions) -> Written:
        """Creates an object.

        Raises:
            ApiError: 400 or 422 if it cannot be; 404 if its namespace is not there; 409 if there is one of its name.
        """
        item = checked(resource, body, namespace)
        item["metadata"].pop("managedFields", None)
        return self._create(resource, item, options, applied=False)

    def replace(self, resource: Resource, namespace: str, name: str, body: Any, options: WriteOptions) -> Written:
        """Puts an object in the place of the one that is there.

        Raises:
            ApiError: 400 or 422 if it cannot be; 404 if there is none; 409 if it was changed since the client read it.
        """
        item = checked(resource, body, namespace, name)
        live = self.get(resource, namespace, name)
        if resource.custom and not item["metadata"].get("resourceVersion"):
            message = "Invalid value: must be specified for an update"
            cause = Cause("FieldValueInvalid", message, "metadata.resourceVersion")
            raise invalid(resource.kind, resource.group, name, [cause])
        return self._update(resource, live, item, options, applied=False)

    def patch(
        self, resource: Resource, namespace: str, name: str, kind: PatchType, body: Any, options: WriteOptions
    ) -> Written:
        """Changes a part of an object; server-side apply creates it if there is none.

        Raises:
            ApiError: 400 or 422 if the patch or its result cannot be; 404 if there is none; 409 for a conflict with
                another version or another manager.
        """
        if kind == "apply":
            return self._apply(resource, namespace, name, body, options)
        live = self.get(resource, namespace, name)
        patched = plain(patch(resource, live, kind, body))
        patched = checked(resource, patched, namespace, name)
        return self._update(resource, live, patched, options, applied=False)

    def scale(
        self, resource: Resource, namespace: str, name: str, kind: PatchType | None, body: Any, options: WriteOptions
    ) -> Written:
        """Sets the number of replicas by a Scale, or by a patch of one; returns the Scale.

        Raises:
            ApiError: As `replace` and `patch` do.
        """
        live = self.get(resource, namespace, name)
        if kind is not None:
            body = patch(resource, scale_of(live), "merge" if kind == "strategic" else kind, body)
        item = checked(resource, scaled(live, body), namespace, name)
        written = self._update(resource, live, item, options, applied=False)
        return Written(scale_of(written.item), warnings=written.warnings)

    def _apply(self, resource: Resource, namespace: str, name: str, body: Any, options: WriteOptions) -> Written:
        applied = checked(resource, body, namespace, name)
        live = self._store.get(Key(resource.storage, namespace, name))
        if live is not None:
            live = of_version(resource, live)
        if live is None and options.subresource:
            raise not_found(resource.plural, resource.group, name)
        merged = server_side_apply.apply(
            live,
            applied,
            resource,
            manager=options.manager,
            force=options.force,
            at=now(),
            subresource=options.subresource,
        )
        merged = checked(resource, merged, namespace, name)
        if live is None:
            return self._create(resource, merged, options, applied=True)
        return self._update(resource, live, merged, options, applied=True)

    def _create(self, resource: Resource, item: Object, options: WriteOptions, *, applied: bool) -> Written:
        self._check_namespace(resource, item)
        item = born(resource, item)
        name = item["metadata"]["name"]
        key = Key(resource.storage, item["metadata"].get("namespace", ""), name)
        if self._store.get(key) is not None:
            raise already_exists(resource.plural, resource.group, name)
        if "status" in resource.subresources:
            item.pop("status", None)
            if initial := _INITIAL_STATUS.get(resource.storage):
                item["status"] = initial
        admitted = self._admit(resource, "CREATE", item, None, options)
        item = admitted.item
        if not applied:
            item = server_side_apply.record_update(None, item, resource, manager=options.manager, at=now())
        if not options.dry_run:
            item = self._store.put(key.storage, _of_storage(resource, item))
        return Written(of_version(resource, item), created=True, warnings=admitted.warnings)

    def _update(
        self, resource: Resource, live: Object, item: Object, options: WriteOptions, *, applied: bool
    ) -> Written:
        metadata, before = item["metadata"], live["metadata"]
        name = before["name"]
        if metadata.get("resourceVersion", "") not in {"", "0", before["resourceVersion"]}:
            message = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(resource.plural, resource.group, name, message)
        if (uid := metadata.get("uid")) and uid != before["uid"]:
            message = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}"
            raise conflict(resource.plural, resource.group, name, message)
        item = _only_what_may_change(resource, live, item, options.subresource)
        self._check_finalizers(resource, before, item["metadata"])
        admitted = self._admit(resource, "UPDATE", item, live, options)
        item = admitted.item
        if not applied:
            item = server_side_apply.record_update(
                live, item, resource, manager=options.manager, at=now(), subresource=options.subresource
            )
        if _same(live, item):
            return Written(live, warnings=admitted.warnings)
        if counts_generations(resource) and _spec(item) != _spec(live):
            item = {**item, "metadata": {**item["metadata"], "generation": before.get("generation", 0) + 1}}
        if not options.dry_run:
            key = Key(resource.storage, before.get("namespace", ""), name)
            item = self._deleter.settle(key, _of_storage(resource, item))
        return Written(of_version(resource, item), warnings=admitted.warnings)

    def _admit(
        self, resource: Resource, operation: Operation, item: Object, live: Object | None, options: WriteOptions
    ) -> Written:
        if resource.storage == "secrets":
            item = _with_string_data(item)
        admitted = admit(
            resource,
            operation,
            item,
            live,
            field_validation=options.field_validation,
            subresource="status" if options.subresource == "status" else "",
            siblings=lambda: self._store.items(resource.storage, item["metadata"].get("namespace", "")),
        )
        return Written(admitted.item, warnings=tuple(admitted.warnings))

    def _check_namespace(self, resource: Resource, item: Object) -> None:
        if not resource.namespaced:
            return
        name = item["metadata"]["namespace"]
        namespace = self._store.get(Key(NAMESPACES.storage, "", name))
        if namespace is None:
            raise not_found(NAMESPACES.plural, "", name)
        if "deletionTimestamp" in namespace["metadata"]:
            full = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            called = item["metadata"].get("name", "")
            reason = f"unable to create new content in namespace {name} because it is being terminated"
            cause = Cause("NamespaceTerminating", f"namespace {name} is being terminated", "metadata.namespace")
            raise ApiError(
                403,
                "Forbidden",
                f'{full} "{called}" is forbidden: {reason}',
                kind=resource.plural,
                group=resource.group,
                name=called,
                causes=[cause],
            )

    def _check_finalizers(self, resource: Resource, before: Object, after: Object) -> None:
        new = set(after.get("finalizers") or ()) - set(before.get("finalizers") or ())
        if "deletionTimestamp" in before and new:
            message = "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
            cause = Cause("FieldValueForbidden", message + ", ".join(sorted(new)), "metadata.finalizers")
            raise invalid(resource.kind, resource.group, before["name"], [cause])


def patch(resource: Resource, current: Object, kind: PatchType, body: Any) -> Object:
    """A copy of an object with a patch applied.

    Raises:
        ApiError: 400 or 422 if the patch cannot be read or applied; 415 if the kind does not know it.
    """
    if kind == "json":
        if not isinstance(body, list):
            raise bad_request("a JSON patch must be a list of operations")
        return patches.json_patch(current, body)
    if not isinstance(body, dict):
        raise bad_request("the body of a patch must be an object")
    if kind == "merge":
        return patches.merge_patch(current, body)
    return patches.strategic_merge_patch(current, body, resource)


def of_version(resource: Resource, item: Object) -> Object:
    """An object as this version of its kind shows it."""
    return item if item["apiVersion"] == resource.api_version else {**item, "apiVersion": resource.api_version}


def _of_storage(resource: Resource, item: Object) -> Object:
    return {**item, "apiVersion": _STORAGE_VERSIONS[resource.storage]}


def _only_what_may_change(resource: Resource, live: Object, item: Object, subresource: str) -> Object:
    """The new state, with the parts that this endpoint does not write taken from the old one."""
    before = live["metadata"]
    if subresource == "status":
        managed = item["metadata"].get("managedFields", before.get("managedFields"))
        metadata = {**before, **({"managedFields": managed} if managed else {})}
        kept = {key: value for key, value in live.items() if key != "status"}
        return {**kept, "metadata": metadata, **({"status": item["status"]} if "status" in item else {})}
    metadata = {key: value for key, value in item["metadata"].items() if key not in KEPT}
    metadata |= {key: before[key] for key in KEPT if key in before}
    if "managedFields" not in metadata and "managedFields" in before:
        metadata["managedFields"] = before["managedFields"]
    item = {**item, "metadata": metadata}
    if "status" in resource.subresources:
        item.pop("status", None)
        if "status" in live:
            item["status"] = live["status"]
    return item


def _with_string_data(item: Object) -> Object:
    """A Secret whose `stringData` went into `data`."""
    plain = item.get("stringData")
    if not isinstance(plain, dict) or not all(isinstance(value, str) for value in plain.values()):
        return item
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
    item = {key: value for key, value in item.items() if key != "stringData"}
    data = item.get("data")
    return {**item, "data": {**(data if isinstance(data, dict) else {}), **encoded}}


def _spec(item: Object) -> Object:
    return {key: value for key, value in item.items() if key not in {"metadata", "status", "apiVersion", "kind"}}


def _same(live: Object, item: Object) -> bool:
    """Whether a write would change nothing; the time at which a manager last wrote does not count."""
    return _timeless(live) == _timeless(item)


def _timeless(item: Object) -> Object:
    metadata = item["metadata"]
    managed = [
        {key: value for key, value in entry.items() if key != "time"} for entry in metadata.get("managedFields") or ()
    ]
    return {**item, "metadata": {**metadata, "managedFields": managed}}
