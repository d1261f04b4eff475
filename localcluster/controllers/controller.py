"""Level-triggered control loops: watch, remember, and work off the keys of what may need work.

A `Cache` mirrors some kinds of objects. A `Controller` has a queue of keys; whatever changes puts keys into it, and
`reconcile` brings the world of one key in order, from what the cache says now, however often it is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp

from localcluster.api.errors import ApiError
from localcluster.api.resources import Resource
from localcluster.controllers.client import Client
from localcluster.render import Object

_LOG = logging.getLogger("localcluster")
_RETRY_S = (0.2, 0.5, 1, 2, 5, 10)
_WATCH_RETRY_S = 0.5

Key = tuple[str, str]
"""Namespace (empty for cluster-wide kinds) and name."""

Listener = Callable[[Resource, Object], None]
"""Called in the event loop for an object that was added, changed or deleted; must not block."""


def key_of(item: Object) -> Key:
    """Namespace and name of an object."""
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


class Cache:
    """Mirrors all objects of some kinds, in all namespaces.

    Args:
        client: Where they are read.
        resources: Which kinds.
    """

    def __init__(self, client: Client, resources: Iterable[Resource]) -> None:
        self._client = client
        self._items: dict[Resource, dict[Key, Object]] = {resource: {} for resource in resources}
        self._synced = {resource: asyncio.Event() for resource in self._items}
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Adds someone who is told of every change from now on; call it before `run`."""
        self._listeners.append(listener)

    def get(self, resource: Resource, key: Key) -> Object | None:
        """The object as it was last seen. Do not change it."""
        return self._items[resource].get(key)

    def all(self, resource: Resource, namespace: str = "") -> list[Object]:
        """All objects of a kind, of one namespace if it is given. Do not change them."""
        return [item for key, item in self._items[resource].items() if namespace in {"", key[0]}]

    def owned(self, resource: Resource, owner: Object) -> list[Object]:
        """Objects whose controlling owner is that object."""
        uid = owner["metadata"]["uid"]
        return [item for item in self.all(resource) if controller_uid(item) == uid]

    async def synced(self) -> None:
        """Waits until every kind was read once."""
        for event in self._synced.values():
            await event.wait()

    async def run(self) -> None:
        """Watches until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for resource in self._items:
                group.create_task(self._follow(resource))

    async def _follow(self, resource: Resource) -> None:
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list(resource)
                async for event in self._client.watch(resource, version):
                    version = event.item["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        self._note(resource, event.item, gone=event.type == "DELETED")
            except ApiError as error:
                if error.code == 410:
                    version = ""
                    continue
                _LOG.warning("watch of %s: %s", resource.plural, error)
                await asyncio.sleep(_WATCH_RETRY_S)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                _LOG.warning("watch of %s: %s", resource.plural, error)
                await asyncio.sleep(_WATCH_RETRY_S)

    async def _list(self, resource: Resource) -> str:
        items, version = await self._client.list(resource)
        there = {key_of(item) for item in items}
        for key, item in list(self._items[resource].items()):
            if key not in there:
                self._note(resource, item, gone=True)
        for item in items:
            self._note(resource, item, gone=False)
        self._synced[resource].set()
        return version

    def _note(self, resource: Resource, item: Object, *, gone: bool) -> None:
        known = self._items[resource]
        if gone:
            known.pop(key_of(item), None)
        else:
            known[key_of(item)] = item
        for listener in self._listeners:
            listener(resource, item)


class Controller(ABC):
    """A queue of keys and the work that one key means.

    A key that is put in twice before its turn comes is worked on once; one that is put in while it is worked on comes
    again. A failure is tried again, later each time.

    Args:
        client: Where it writes.
        cache: What it reads; it must mirror every kind that the controller looks at.
    """

    name: str
    watches: tuple[Resource, ...]
    workers: int = 4

    def __init__(self, client: Client, cache: Cache) -> None:
        self.client = client
        self.cache = cache
        self._waiting: dict[Key, None] = {}
        self._busy: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._wake = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        cache.listen(self._changed)

    @abstractmethod
    def keys_for(self, resource: Resource, item: Object) -> Iterable[Key]:
        """Keys that may need work because this object was added, changed or deleted."""

    @abstractmethod
    async def reconcile(self, key: Key) -> float | None:
        """Brings the world of one key in order; called again and again, so it must find out what is missing.

        Returns:
            Seconds after which to look again, None for when something changes.

        Raises:
            ApiError: Tried again later, as is any other exception.
        """

    def enqueue(self, key: Key, *, after_s: float = 0) -> None:
        """Puts a key into the queue, now or later."""
        if after_s > 0:
            self._later(key, after_s)
            return
        self._waiting[key] = None
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Works until it is cancelled."""
        await self.cache.synced()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(self._work())
        finally:
            for timer in self._timers.values():
                timer.cancel()

    def _changed(self, resource: Resource, item: Object) -> None:
        for key in self.keys_for(resource, item):
            self.enqueue(key)

    async def _work(self) -> None:
        while True:
            async with self._wake:
                await self._wake.wait_for(lambda: any(key not in self._busy for key in self._waiting))
                key = next(key for key in self._waiting if key not in self._busy)
                del self._waiting[key]
                self._busy.add(key)
            try:
                again = await self.reconcile(key)
                self._failures.pop(key, None)
                if again is not None:
                    self._later(key, again)
            except Exception as error:  # noqa: BLE001  # whatever it was, the loop goes on and tries again
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                wait = _RETRY_S[min(failures, len(_RETRY_S)) - 1]
                expected = isinstance(error, (ApiError, aiohttp.ClientError, TimeoutError))
                _LOG.warning("%s %s: %s; again in %g s", self.name, "/".join(key), error, wait, exc_info=not expected)
                self._later(key, wait)
            finally:
                self._busy.discard(key)
                await self._notify()

    def _later(self, key: Key, seconds: float) -> None:
        """Puts a key into the queue after a while; of several times for a key the soonest counts."""
        loop = asyncio.get_running_loop()
        if (other := self._timers.get(key)) is not None:
            if other.when() <= loop.time() + seconds:
                return
            other.cancel()

        def fire() -> None:
            self._timers.pop(key, None)
            self.enqueue(key)

        self._timers[key] = loop.call_later(seconds, fire)

    async def _notify(self) -> None:
        async with self._wake:
            self._wake.notify_all()


def controller_uid(item: Object) -> str:
    """The uid of the controlling owner, empty if there is none."""
    references: Iterable[Mapping[str, Any]] = item["metadata"].get("ownerReferences") or ()
    return next((str(reference["uid"]) for reference in references if reference.get("controller")), "")


def owner_reference(owner: Object) -> Object:
    """The reference by which an object is controlled by its owner, and goes when the owner goes."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def matches(labels: Mapping[str, str] | None, selector: Mapping[str, str]) -> bool:
    """Whether labels hold every pair of a selector; an empty selector matches nothing, as in a Service."""
    have = labels or {}
    return bool(selector) and all(have.get(name) == value for name, value in selector.items())


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancels a task and waits until it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
