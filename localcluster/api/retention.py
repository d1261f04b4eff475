"""Events are news: they go after an hour, and the oldest go when there are many."""

from __future__ import annotations

import asyncio
import logging

from localcluster.api.errors import ApiError
from localcluster.api.persistence import Change
from localcluster.api.resources import EVENTS
from localcluster.api.store import Key, Store

_LOG = logging.getLogger("localcluster")
TTL_S = 3600
MOST = 1000
# Looks no more often than this.
_PERIOD_S = 60


class EventRetention:
    """Removes old Events.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # By the time of their last write, the oldest first.
        self._expiry: dict[Key, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stop_listening = store.listen(self._changed)

    def start(self) -> None:
        """Begins, in the running event loop; Events that are there count as written now."""
        items = self._store.items(EVENTS.storage)
        for item in sorted(items, key=lambda item: int(item["metadata"]["resourceVersion"])):
            self._renew(Key(EVENTS.storage, item["metadata"]["namespace"], item["metadata"]["name"]))

    def stop(self) -> None:
        """Ends it."""
        self._stop_listening()
        if self._timer is not None:
            self._timer.cancel()

    def _changed(self, change: Change) -> None:
        if change.storage != EVENTS.storage:
            return
        metadata = change.item["metadata"]
        key = Key(EVENTS.storage, metadata["namespace"], metadata["name"])
        self._expiry.pop(key, None)
        if change.type != "DELETED":
            self._renew(key)

    def _renew(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        self._expiry[key] = loop.time() + TTL_S
        if len(self._expiry) > MOST and (self._timer is None or self._timer.when() > loop.time()):
            self._plan(0)
        elif self._timer is None:
            self._plan(TTL_S)

    def _plan(self, after_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(after_s, self._remove_old)

    def _remove_old(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        surplus = len(self._expiry) - MOST
        for number, (key, expiry) in enumerate(list(self._expiry.items())):
            if number >= surplus and expiry > now:
                self._plan(max(expiry - now, _PERIOD_S))
                return
            try:
                self._store.remove(key)
            except ApiError as error:
                _LOG.warning("an old event stays for now: %s", error)
                self._plan(_PERIOD_S)
                return
