"""Garbage collection: objects go when all their owners are gone, and when their namespace goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from localcluster.api.deletion import FOREGROUND, DeleteOptions, Deleter, without_owners
from localcluster.api.errors import ApiError
from localcluster.api.persistence import Change
from localcluster.api.resources import NAMESPACES, RESOURCES, Resource
from localcluster.api.store import Key, Store
from localcluster.render import Object

_LOG = logging.getLogger("localcluster")
_BACKGROUND, _IN_FOREGROUND = DeleteOptions(), DeleteOptions(propagation="Foreground")
_RETRY_S = 1
# `kubectl delete -k` deletes a namespace first, and then expects to find what is in it.
_NAMESPACE_STAYS_S = 2.0


class GarbageCollector:
    """Works soon after each change, in the event loop, on what that change concerns.

    Args:
        store: What it keeps in order.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_owner: dict[str, set[Key]] = {}
        self._waiting: dict[Key, None] = {}
        self._timer: asyncio.Handle | None = None
        self._doomed: dict[str, float] = {}
        self._resources: dict[str, Resource] = {resource.storage: resource for resource in reversed(RESOURCES)}
        self.deleter = Deleter(store, self.dependents)
        self._stop_listening = store.listen(self._changed)

    def start(self) -> None:
        """Looks at every object once; call it in the running event loop."""
        for storage in self._store.storages():
            for item in self._store.items(storage):
                key = _key_of(storage, item)
                for uid in _owners(item):
                    self._by_owner.setdefault(uid, set()).add(key)
                self._waiting[key] = None
        self._schedule()

    def stop(self) -> None:
        """Works no more."""
        self._stop_listening()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def dependents(self, uid: str) -> list[Key]:
        """The objects that name a uid among their owners."""
        return sorted(self._by_owner.get(uid, ()))

    def _changed(self, change: Change) -> None:
        item = change.item
        key = _key_of(change.storage, item)
        owners = _owners(item)
        gone = change.type == "DELETED"
        for uid in _owners(change.before or {"metadata": {}}) - (set() if gone else owners) | (
            owners if gone else set()
        ):
            if (known := self._by_owner.get(uid)) is not None:
                known.discard(key)
                if not known:
                    del self._by_owner[uid]
        if gone:
            # What it owned may go, what waited for it may go on, and its namespace may be empty now.
            self._look_at(self._by_owner.get(item["metadata"]["uid"], ()))
            self._look_at(found for uid in owners if (found := self._store.key_of_uid(uid)) is not None)
            self._look_at([Key(NAMESPACES.storage, "", key.namespace)])
            return
        for uid in owners:
            self._by_owner.setdefault(uid, set()).add(key)
        if "deletionTimestamp" in item["metadata"] or any(self._store.key_of_uid(uid) is None for uid in owners):
            self._look_at([key])

    def _look_at(self, keys: Iterable[Key]) -> None:
        self._waiting.update(dict.fromkeys(keys))
        self._schedule()

    def _schedule(self, after_s: float = 0) -> None:
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._work)

    def _work(self) -> None:
        """One round; what its own writes concern comes in the next, so that requests get their turn between."""
        self._timer = None
        keys, self._waiting = self._waiting, {}
        failed: dict[Key, None] = {}
        for key in keys:
            try:
                self._order(key)
            except ApiError as error:
                _LOG.warning("garbage collection of %s: %s", "/".join(key), error)
                failed[key] = None
        again = bool(failed) and not self._waiting
        self._waiting.update(failed)
        if self._timer is None:
            self._schedule(_RETRY_S if again else 0)

    def _order(self, key: Key) -> None:
        item = self._store.get(key)
        if item is None:
            return
        metadata = item["metadata"]
        deleting = "deletionTimestamp" in metadata
        if deleting and key.storage == NAMESPACES.storage:
            loop = asyncio.get_running_loop()
            if metadata["uid"] not in self._doomed:
                self._doomed[metadata["uid"]] = loop.time() + _NAMESPACE_STAYS_S
                loop.call_later(_NAMESPACE_STAYS_S, self._look_at, [key])
            elif loop.time() >= self._doomed[metadata["uid"]]:
                self._empty(key)
            return
        if deleting and FOREGROUND in (metadata.get("finalizers") or ()):
            self._delete_owned(key, metadata["uid"])
        owners = _owners(item)
        absent = {uid for uid in owners if self._store.key_of_uid(uid) is None}
        if absent and absent == owners:
            self._delete(key, _BACKGROUND)
        elif absent:
            self._store.put(key.storage, without_owners(item, absent))

    def _delete_owned(self, owner: Key, uid: str) -> None:
        blocked = False
        for key in self.dependents(uid):
            item = self._store.get(key)
            if item is None:
                continue
            blocked = blocked or any(
                reference["uid"] == uid and reference.get("blockOwnerDeletion") is True
                for reference in item["metadata"]["ownerReferences"]
            )
            if "deletionTimestamp" not in item["metadata"]:
                waits = any(self._alive(other) for other in self.dependents(item["metadata"]["uid"]))
                self._delete(key, _IN_FOREGROUND if waits else _BACKGROUND)
        if not blocked:
            self.deleter.release(owner, FOREGROUND)

    def _empty(self, namespace: Key) -> None:
        """Deletes what is in a namespace that is to go, and the namespace when nothing is left and nothing holds it."""
        left = [
            _key_of(storage, item)
            for storage in self._store.storages()
            for item in self._store.items(storage, namespace.name)
        ]
        for key in left:
            if self._alive(key):
                self._delete(key, _BACKGROUND)
        item = self._store.get(namespace)
        if item is not None and not item["metadata"].get("finalizers") and not any(map(self._store.get, left)):
            self._store.remove(namespace)

    def _delete(self, key: Key, options: DeleteOptions) -> None:
        self.deleter.delete(self._resources[key.storage], key, options)

    def _alive(self, key: Key) -> bool:
        item = self._store.get(key)
        return item is not None and "deletionTimestamp" not in item["metadata"]


def _key_of(storage: str, item: Object) -> Key:
    return Key(storage, item["metadata"].get("namespace", ""), item["metadata"]["name"])


def _owners(item: Object) -> set[str]:
    return {reference["uid"] for reference in item["metadata"].get("ownerReferences") or ()}
