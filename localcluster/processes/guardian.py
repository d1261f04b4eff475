"""Ends what a supervisor has started, should the supervisor die without doing so itself.

Runs as a process of its own and reads lines from standard input: `+PID` for a process group that was started, `-PID`
for one that has ended. When the supervisor is gone, in whatever way, the pipe closes: the groups that are left get
SIGTERM, and SIGKILL after a grace period. Portable, and it reaches workers too, which a parent-death signal does not.

    python guardian.py GRACE_SECONDS
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_AGAIN_S = 1.0
_LOG = logging.getLogger("localcluster")


class Guardian:
    """The supervisor's end of the pipe; starts another guardian should one die.

    The supervisor holds both ends of the pipe: without a guardian, what is written to it waits for the next one.

    Args:
        grace_s: Seconds that it gives what is left to end by itself.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._reading, self._writing = os.pipe()
        self._groups: set[int] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, grace_s: float = 5) -> Guardian:
        """Starts the guardian."""
        import asyncio

        guardian = cls(grace_s)
        try:
            guardian._process = await guardian._spawn()
        except BaseException:
            guardian._close_pipe()
            raise
        guardian._keeping = asyncio.create_task(guardian._keep(guardian._process))
        return guardian

    def remember_me(self) -> None:
        """Tells of the process that calls; runs between fork and exec, so it only writes."""
        self._tell("+", os.getpid())

    def remember(self, pid: int) -> None:
        """Tells of a process group, to later guardians too."""
        self._groups.add(pid)
        self._tell("+", pid)

    def forget(self, pid: int) -> None:
        """Tells that a process group has ended."""
        self._groups.discard(pid)
        self._tell("-", pid)

    async def close(self) -> None:
        """Closes the pipe, upon which the guardian ends what is left and then itself."""
        import asyncio

        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._close_pipe()
        if self._process is not None:
            await self._process.wait()

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        import asyncio

        while True:
            code = await process.wait()
            _LOG.warning("the guardian of processes has ended (%d); starts another one", code)
            try:
                self._process = process = await self._spawn()
            except OSError as error:
                _LOG.warning("the guardian of processes cannot be started: %s", error)
            else:
                for pid in self._groups:
                    self._tell("+", pid)
            await asyncio.sleep(_AGAIN_S)

    async def _spawn(self) -> asyncio.subprocess.Process:
        import asyncio

        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", __file__, str(self._grace_s)),
            env={},
            stdin=self._reading,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

    def _tell(self, sign: str, pid: int) -> None:
        if self._writing >= 0:
            os.write(self._writing, f"{sign}{pid}\n".encode())

    def _close_pipe(self) -> None:
        for descriptor in (self._reading, self._writing):
            if descriptor >= 0:
                os.close(descriptor)
        self._reading = self._writing = -1


def main(grace_s: float) -> None:
    """Watches the pipe until it closes, then ends what is left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        if line[0] == "+":
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = {group for group in groups if _alive(group)}
    _signal(groups, signal.SIGKILL)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal(groups: set[int], number: int) -> None:
    for group in groups:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            continue


if __name__ == "__main__":
    main(float(sys.argv[1]))
