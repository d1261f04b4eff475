"""Server-side apply for controllers: only what is not yet as it should be is written."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from localcluster.api.errors import conflict
from localcluster.api.resources import Resource
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, controller_uid, key_of
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

    async def apply(self, resource: Resource, wanted: Object) -> bool:
        """Applies an object whose first owner reference is its controller; whether it is new.

        Raises:
            ApiError: 409 if the object belongs to another.
        """
        key = key_of(wanted)
        there = self._cache.get(resource, key)
        digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        if there is not None:
            uid = there["metadata"]["uid"]
            if (other := controller_uid(there)) not in {"", wanted["metadata"]["ownerReferences"][0]["uid"]}:
                message = f"it belongs to another object (uid {other}); delete it or choose another name"
                raise conflict(resource.plural, resource.group, key[1], message)
            if self._applied.get(uid) == digest and covers(there, wanted):
                return False
        applied = await self._client.apply(resource, wanted)
        self._applied[applied["metadata"]["uid"]] = digest
        return there is None

    async def prune(self, resource: Resource, owner: Object, wanted: set[str]) -> None:
        """Deletes what an object owns beyond the names that are wanted."""
        for item in self._cache.owned(resource, owner):
            metadata = item["metadata"]
            if metadata["name"] not in wanted and "deletionTimestamp" not in metadata:
                await self._client.delete(resource, metadata["name"], metadata["namespace"], uid=metadata["uid"])


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
