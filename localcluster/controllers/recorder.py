"""Events that controllers tell of objects: in order, counted when they repeat, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from localcluster.api.errors import ApiError
from localcluster.api.resources import EVENTS
from localcluster.controllers.client import Client
from localcluster.render import Object

_LOG = logging.getLogger("localcluster")
_WAITING = 2000
_REMEMBERED = 2000


@dataclass(frozen=True)
class _Happening:
    regarding: Object
    reason: str
    message: str
    type: str


class Recorder:
    """Writes Events; `record` only puts them in a queue, `run` writes them.

    The same words about the same object are one Event with a count, as a cluster's clients do it.

    Args:
        client: Where they are written.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: asyncio.Queue[_Happening] = asyncio.Queue(_WAITING)
        self._known: dict[tuple[str, str, str], tuple[str, int]] = {}

    def record(self, regarding: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Tells of something that happened to an object; does not block, and drops it if far too many wait."""
        kind = "Warning" if warning else "Normal"
        try:
            self._queue.put_nowait(_Happening(regarding, reason, message[:1024], kind))
        except asyncio.QueueFull:
            _LOG.warning("event dropped: %s %s", reason, message)

    async def run(self) -> None:
        """Writes until it is cancelled."""
        while True:
            happening = await self._queue.get()
            try:
                await self._write(happening)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                # The object's namespace may be gone; an Event is no reason to try again.
                _LOG.info("event not written: %s: %s", happening.reason, error)

    async def _write(self, happening: _Happening) -> None:
        metadata = happening.regarding["metadata"]
        namespace = metadata.get("namespace", "default")
        said = (metadata["uid"], happening.reason, happening.message)
        if said in self._known:
            name, count = self._known.pop(said)
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            patch = {"count": count + 1, "lastTimestamp": now}
            if await self._client.merge(EVENTS, name, namespace, patch) is not None:
                self._known[said] = (name, count + 1)
                return
        name = await self._client.event(happening.regarding, happening.reason, happening.message, type_=happening.type)
        self._known[said] = (name, 1)
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
