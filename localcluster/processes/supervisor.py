"""Runs many processes, and ends them all when it ends, however it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from localcluster.processes.guardian import Guardian
from localcluster.processes.process_spec import ProcessSpec
from localcluster.processes.runner import Backoff, Event, ProcessStatus, Runner

_LOG = logging.getLogger("localcluster")


class StartError(Exception):
    """A process does not become ready."""


class Supervisor:
    """Runs processes until told otherwise, and ends them all when it ends, however it ends.

    Use it as an asynchronous context manager. Each process leads a process group of its own, so a Ctrl-C in the
    terminal does not reach it, and ending it ends its workers too. A guardian process ends what is left if this
    process is killed.

    Args:
        logs: Folder of the log files, one a process; the earlier ones of each are kept as `.1` to `.5`.
        grace_s: Seconds that a process gets at most when the supervisor ends; its own grace period if None.
        on_event: Called in the event loop for everything that happens; must not block.
        backoff: Waits between restarts.
    """

    def __init__(
        self,
        logs: Path,
        *,
        on_event: Callable[[Event], None] = lambda _: None,
        backoff: Backoff | None = None,
        grace_s: float | None = None,
    ) -> None:
        self._logs = logs
        self._grace_s = grace_s
        self._on_event = on_event
        self._backoff = backoff or Backoff()
        self._runners: dict[str, Runner] = {}
        self._changed = asyncio.Event()
        self._guardian: Guardian | None = None

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._guardian = await Guardian.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            ends = await asyncio.gather(*(self._end(name) for name in self._runners), return_exceptions=True)
            for failure in ends:
                if failure is not None:
                    _LOG.error("a process did not end as it should", exc_info=failure)
        finally:
            if self._guardian is not None:
                await self._guardian.close()

    def start(self, spec: ProcessSpec) -> None:
        """Starts a process and keeps it running.

        Raises:
            ValueError: A process of that name is running.
        """
        if self._guardian is None:
            raise RuntimeError("enter the supervisor first: `async with Supervisor(...)`")
        if spec.name in self._runners:
            raise ValueError(f"{spec.name}: a process of this name is running; stop it first")
        log = self.log(spec.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        runner = Runner(spec, log, self._guardian, self._backoff, self._on_change)
        self._runners[spec.name] = runner
        runner.begin()

    async def stop(self, name: str, *, grace_s: float | None = None) -> None:
        """Ends a process: SIGTERM, and SIGKILL after its grace period. Unknown names are ignored.

        Args:
            name: Name of the process.
            grace_s: Its grace period, if other than its specification says.
        """
        if (runner := self._runners.get(name)) is not None:
            await runner.end(grace_s)
            if self._runners.get(name) is runner:
                del self._runners[name]

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self._logs / f"{name}.log"

    def status(self) -> tuple[ProcessStatus, ...]:
        """All processes as they are now."""
        return tuple(runner.status() for runner in self._runners.values())

    def status_of(self, name: str) -> ProcessStatus | None:
        """A process as it is now, None if there is none of that name."""
        runner = self._runners.get(name)
        return None if runner is None else runner.status()

    def is_ready(self, name: str) -> bool:
        """Whether a process answers its readiness probe."""
        runner = self._runners.get(name)
        return runner is not None and runner.answers

    async def wait_ready(self, names: Collection[str] = (), *, timeout_s: float, attempts: int = 2) -> None:
        """Waits until processes are ready.

        Args:
            names: Which; all of them if empty.
            timeout_s: Seconds to wait at most.
            attempts: Give up on a process that ended this often without having been ready.

        Raises:
            StartError: One of them does not become ready; the message ends with the end of its log.
        """
        wanted = list(names or self._runners)
        deadline = time.monotonic() + timeout_s
        while waiting := [name for name in wanted if not self.is_ready(name)]:
            for name in waiting:
                runner = self._runners.get(name)
                if runner is None:
                    raise StartError(f"{name}: is not running")
                if not runner.was_ready and runner.failures >= attempts:
                    how = "ended" if runner.ended is None else runner.ended.message
                    raise StartError(f"{name}: {how}\n{runner.log_tail()}".rstrip())
            changed = self._changed
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await changed.wait()
            except TimeoutError:
                log = self._runners[waiting[0]].log_tail()
                late = ", ".join(waiting)
                raise StartError(f"{late}: not ready after {timeout_s:g} s\n{log}".rstrip()) from None

    async def _end(self, name: str) -> None:
        grace_s = self._runners[name].spec.grace_s
        await self.stop(name, grace_s=grace_s if self._grace_s is None else min(grace_s, self._grace_s))

    def _on_change(self, event: Event) -> None:
        self._on_event(event)
        self._changed.set()
        self._changed = asyncio.Event()
