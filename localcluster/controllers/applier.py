"""Server-side apply for controllers: only what is not yet as it should be is written."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from localcluster.api.errors import conflict
from localcluster.api.resources import Resource
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, Key, controller_uid, key_of
from localcluster.render import Object


class Applier:
    """Brings objects that one object owns into their form.

    Args:
        client: Where it writes.
        cache: Where it sees what is there; it must mirror the kinds that are applied.
    """

    def __init__(self, client: Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache
        # By uid, what was applied last: what is removed from a form cannot be seen in the object.
        self._applied: dict[str, str] = {}
        # What writes answered, for as long as the cache is behind.
        self._written: dict[tuple[Resource, Key], Object] = {}
        cache.listen(self._changed)

    def latest(self, resource: Resource, key: Key) -> Object | None:
        """The object as the cache has it, or as the last write through here left it, if that is later."""
        seen = self._cache.get(resource, key)
        written = self._written.get((resource, key))
        if seen is not None and written is not None and _is_later(written, than=seen):
            return written
        self._written.pop((resource, key), None)
        return seen

    def wrote(self, resource: Resource, item: Object) -> None:
        """Notes what a write answered."""
        self._written[resource, key_of(item)] = item

    async def apply(self, resource: Resource, wanted: Object) -> bool:
        """Applies an object whose first owner reference is its controller; whether it is new.

        Raises:
            ApiError: 409 if the object belongs to another.
        """
        key = key_of(wanted)
        there = self.latest(resource, key)
        digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        if there is not None:
            uid = there["metadata"]["uid"]
            if (other := controller_uid(there)) not in {"", wanted["metadata"]["ownerReferences"][0]["uid"]}:
                message = f"it belongs to another object (uid {other}); delete it or choose another name"
                raise conflict(resource.plural, resource.group, key[1], message)
            if self._applied.get(uid) == digest and covers(there, wanted):
                return False
        applied = await self._client.apply(resource, wanted)
        # The cache may not have seen yet what was made a moment ago.
        new = there is None and applied["metadata"]["uid"] not in self._applied
        self._applied[applied["metadata"]["uid"]] = digest
        self.wrote(resource, applied)
        return new

    async def prune(self, resource: Resource, owner: Object, wanted: set[str]) -> None:
        """Deletes what an object owns beyond the names that are wanted."""
        for item in self._cache.owned(resource, owner):
            metadata = item["metadata"]
            if metadata["name"] not in wanted and "deletionTimestamp" not in metadata:
                await self._client.delete(resource, metadata["name"], metadata["namespace"], uid=metadata["uid"])

    def _changed(self, resource: Resource, item: Object) -> None:
        """Forgets what is gone."""
        key, uid = key_of(item), item["metadata"]["uid"]
        if self._cache.get(resource, key) is None:
            self._applied.pop(uid, None)
            if (written := self._written.get((resource, key))) is not None and written["metadata"]["uid"] == uid:
                del self._written[resource, key]


def _is_later(item: Object, *, than: Object) -> bool:
    """Whether this is a later state of the same object; the API server counts its versions up."""
    mine, other = item["metadata"], than["metadata"]
    return bool(mine["uid"] == other["uid"] and int(mine["resourceVersion"]) > int(other["resourceVersion"]))


def covers(there: Any, wanted: Any) -> bool:
    """Whether an object says all that is wanted; what it says beyond that, defaults above all, does not count."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(key in there and covers(there[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(there, list) and len(there) == len(wanted) and all(map(covers, there, wanted))
    return bool(there == wanted)


def difference(old: Object, new: Object) -> Object:
    """The JSON merge patch that makes one object of another; empty if they are equal."""
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            if below := difference(old[key], value):
                patch[key] = below
        elif value != old[key]:
            patch[key] = value
    return patch
