"""Ends what a supervisor has started, should the supervisor die without doing so itself.

Runs as a process of its own and reads lines from standard input: `+PID` for a process group that was started, `-PID`
for one that has ended. When the supervisor is gone, in whatever way, the pipe closes: the groups that are left get
SIGTERM, and SIGKILL after a grace period. Portable, and it reaches workers too, which a parent-death signal does not.

    python guardian.py GRACE_SECONDS
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Guardian:
    """The supervisor's end of the pipe."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: int) -> None:
        self._process = process
        self._pipe: int | None = pipe

    @classmethod
    async def start(cls, grace_s: float = 5) -> Guardian:
        """Starts the guardian; it gives what is left `grace_s` seconds to end by itself."""
        import asyncio

        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", __file__, str(grace_s)),
                env={},
                stdin=reading,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        return cls(process, writing)

    def remember_me(self) -> None:
        """Tells of the process that calls; runs between fork and exec, so it only writes."""
        if self._pipe is not None:
            os.write(self._pipe, b"+%d\n" % os.getpid())

    def forget(self, pid: int) -> None:
        """Tells that a process group has ended."""
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, b"-%d\n" % pid)

    async def close(self) -> None:
        """Closes the pipe, upon which the guardian ends what is left and then itself."""
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            os.close(pipe)
        await self._process.wait()


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
