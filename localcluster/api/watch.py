"""Watches: changes as a stream, from a resourceVersion on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Literal, NamedTuple, Self

from localcluster.api.persistence import Change
from localcluster.api.selectors import Selection
from localcluster.api.store import Store
from localcluster.render import Object

# A watcher that is this far behind is cut off; it comes back with the last resourceVersion that it saw.
_LONGEST_QUEUE = 2000
BOOKMARK_S = 60


class Event(NamedTuple):
    """What a watcher is told.

    Attributes:
        type: What became of the object, as far as this watcher's selection goes.
        item: The object; of a bookmark, nothing but the resourceVersion.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    item: Object


class Watch:
    """Changes of a kind of objects, within a selection. Use it as a context manager.

    Args:
        store: Whose changes.
        storage: `Resource.storage` of the kind.
        selection: Which of its objects.
        after: The resourceVersion after which it starts; None for now, with what is there as `ADDED`.

    Raises:
        ApiError: 410 if that version is too old.
    """

    def __init__(self, store: Store, storage: str, selection: Selection, after: int | None) -> None:
        self._store = store
        self._storage = storage
        self._selection = selection
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        if after is None:
            found = store.items(storage, selection.namespace)
            self._queue.extend(Event("ADDED", item) for item in found if selection.matches(item))
        else:
            for change in store.changes(storage, after):
                self._take(change)
        self._stop_listening = store.listen(self._changed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_listening()

    def close(self) -> None:
        """Ends it."""
        self._closed = True
        self._wake.set()

    def pending(self) -> list[Event]:
        """What has happened since the last call."""
        events = list(self._queue)
        self._queue.clear()
        return events

    async def batches(self, *, timeout_s: float, bookmarks: bool) -> AsyncIterator[list[Event]]:
        """Events as they come; ends after a time, when it is closed, and when its reader is too slow."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while not self._closed:
            if events := self.pending():
                yield events
                continue
            left = end - loop.time()
            if left <= 0:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(min(left, BOOKMARK_S)):
                    await self._wake.wait()
            except TimeoutError:
                if bookmarks:
                    yield [self.bookmark()]

    def bookmark(self) -> Event:
        """The version up to which the watcher has seen everything, once it has what is pending."""
        return Event("BOOKMARK", {"metadata": {"resourceVersion": str(self._store.version)}})

    def _changed(self, change: Change) -> None:
        if change.storage != self._storage or self._closed:
            return
        if len(self._queue) >= _LONGEST_QUEUE:
            self._queue.clear()
            self.close()
            return
        self._take(change)
        if self._queue:
            self._wake.set()

    def _take(self, change: Change) -> None:
        matches, before = self._selection.matches, change.before
        was = before is not None and matches(before)
        if change.type != "DELETED" and matches(change.item):
            self._queue.append(Event("MODIFIED" if was else "ADDED", change.item))
        elif was and before is not None:
            version = {"resourceVersion": change.item["metadata"]["resourceVersion"]}
            # One that left the selection is told of as it was when it was still in it.
            last = (
                change.item if change.type == "DELETED" else {**before, "metadata": {**before["metadata"], **version}}
            )
            self._queue.append(Event("DELETED", last))
