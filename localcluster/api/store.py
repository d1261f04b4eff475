"""All objects in memory, written through to disk, with the resourceVersion that orders every write."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from localcluster.api.errors import ApiError
from localcluster.api.persistence import Change, Database
from localcluster.render import Object

Listener = Callable[[Change], None]
"""Told of every change, in order. Must not write: it would be told of its own write before others are told of this."""


class Key(NamedTuple):
    """Names one object; empty namespace for cluster-wide kinds."""

    storage: str
    namespace: str
    name: str


def expired(version: str | int) -> ApiError:
    """410: list again."""
    return ApiError(410, "Expired", f"too old resource version: {version}; list again")


class Store:
    """What is there. Every write is one step: on disk, in memory, told to the listeners, in this order.

    Objects that it hands out are shared: change copies only.

    Args:
        database: Where it is kept; closed by its owner.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._items: dict[str, dict[tuple[str, str], Object]] = {}
        self._by_uid: dict[str, Key] = {}
        self._listeners: list[Listener] = []
        for storage, item in database.objects():
            self._keep(storage, item)
        self._oldest, self.version = database.versions()

    def get(self, key: Key) -> Object | None:
        """The object, None if there is none."""
        return self._items.get(key.storage, {}).get(key[1:])

    def items(self, storage: str, namespace: str = "") -> list[Object]:
        """Objects of a kind, of one namespace if it is given, by namespace and name."""
        items = self._items.get(storage, {})
        return [items[key] for key in sorted(items) if namespace in {"", key[0]}]

    def count(self, storage: str) -> int:
        """How many objects of a kind there are."""
        return len(self._items.get(storage, {}))

    def storages(self) -> list[str]:
        """Kinds of which there are objects."""
        return [storage for storage, items in self._items.items() if items]

    def key_of_uid(self, uid: str) -> Key | None:
        """Where the object with this uid is, None if it is gone."""
        return self._by_uid.get(uid)

    def put(self, storage: str, item: Object) -> Object:
        """Creates or replaces an object.

        Returns:
            The object with its new resourceVersion.

        Raises:
            ApiError: 503 if it cannot be made durable; nothing is changed then.
        """
        before = self.get(_key(storage, item))
        return self._write(storage, item, before)

    def remove(self, key: Key, item: Object | None = None) -> Object | None:
        """Removes an object.

        Args:
            key: Which.
            item: Its last state, if that is another than the one stored.

        Returns:
            It as it was last, with the resourceVersion of its end; None if there is none.

        Raises:
            ApiError: 503 if that cannot be made durable; nothing is changed then.
        """
        before = self.get(key)
        return None if before is None else self._write(key.storage, item or before, before, gone=True)

    def check(self, version: int) -> None:
        """Makes sure that every change after a version is known.

        Raises:
            ApiError: 410 if some of them are not known any more, or that version was never reached (it is of another
                store, so that what its owner remembers is worth nothing).
        """
        if version > self.version or version < self._oldest - 1:
            raise expired(version)

    def changes(self, storage: str, after: int) -> list[Change]:
        """Changes of a kind after a version, oldest first.

        Raises:
            ApiError: 410 if they are not all known.
        """
        self.check(after)
        return self._database.changes(storage, after) if after < self.version else []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener; returns what removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _write(self, storage: str, item: Object, before: Object | None, *, gone: bool = False) -> Object:
        version = self.version + 1
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(version)}}
        change = Change(version, "DELETED" if gone else "MODIFIED" if before else "ADDED", storage, item, before)
        first = self._database.write(change)
        self.version = version
        self._oldest = first or self._oldest or version
        if gone:
            del self._items[storage][_key(storage, item)[1:]]
            self._by_uid.pop(item["metadata"]["uid"], None)
        else:
            self._keep(storage, item)
        for listener in tuple(self._listeners):
            listener(change)
        return item

    def _keep(self, storage: str, item: Object) -> None:
        key = _key(storage, item)
        self._items.setdefault(storage, {})[key[1:]] = item
        self._by_uid[item["metadata"]["uid"]] = key


def _key(storage: str, item: Object) -> Key:
    metadata = item["metadata"]
    return Key(storage, metadata.get("namespace", ""), metadata["name"])
