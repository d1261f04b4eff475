"""Several server processes behind one port: a parent that starts them, replaces those that die, and ends them.

The workers share their ports by SO_REUSEPORT, which spreads connections evenly; where all accept from one socket, the
first to wake takes most of them. Their metrics are files in a folder of theirs (the multiprocess mode of Prometheus'
client): whichever worker is asked adds up all of them, those of workers that have died too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference_services.serving.logs import configure_logs
from inference_services.serving.options import WORKER_INDEX

if TYPE_CHECKING:
    from inference_services.serving.rest_server import RestServer

_PARENT = "SERVING_WORKER_PARENT"
_METRICS = "PROMETHEUS_MULTIPROC_DIR"
_READY = "ready"
_PR_SET_PDEATHSIG = 1
_LONGEST_WAIT_S = 30.0
_SETTLED_S = 60.0
_BEAT_S = 2.0
_LONGEST_SILENCE_S = 15.0
# After so many failures, one soon after the other or in all, a new start of everything is the better remedy; it also
# clears away the metrics of the dead.
_MOST_QUICK_FAILURES = 8
_MOST_FAILURES = 100

_log = logging.getLogger("serving")


@dataclass(frozen=True)
class Worker:
    """This process, if it is one of several.

    Attributes:
        status: Descriptor to tell the parent through.
        folder: Where all workers' metrics are.
    """

    status: int
    folder: Path

    @classmethod
    def current(cls) -> Worker | None:
        """What the parent has told this process; None if it has no such parent."""
        given = os.environ.get(_PARENT)
        if given is None:
            return None
        status, parent = map(int, given.split(","))
        # Ends with its parent, however that ends.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            raise SystemExit("the parent has ended")
        return cls(status, Path(os.environ[_METRICS]))

    def join(self, server: RestServer) -> None:
        """Makes a server one of several."""
        from inference_services.serving.metrics import shared_registry

        server.registry = shared_registry(self.folder, os.getppid())
        server.all_ready = (self.folder / _READY).exists
        server.on_ready = self._beat

    def _beat(self) -> None:
        """Tells the parent that the event loop runs, and does so from now on."""
        with contextlib.suppress(OSError):
            os.set_blocking(self.status, False)
            os.write(self.status, b".")
        asyncio.get_running_loop().call_later(_BEAT_S, self._beat)


class _Child:
    """A worker as its parent sees it.

    Attributes:
        process: The process.
        ready: Whether it takes connections.
        silence: Seconds since it was heard, in which this process ran.
        status: Descriptor to hear from it; -1 once it has told all.
    """

    def __init__(self, index: int, folder: Path) -> None:
        self.index = index
        self.status, told = os.pipe()
        self.started = time.monotonic()
        self.ready = False
        self.silence = 0.0
        environment = {
            **os.environ,
            WORKER_INDEX: str(index),
            _PARENT: f"{told},{os.getpid()}",
            _METRICS: str(folder),
        }
        self.process = subprocess.Popen(sys.orig_argv, env=environment, pass_fds=(told,))
        os.close(told)

    def hear(self) -> None:
        """Takes what it tells."""
        self.silence = 0.0
        if os.read(self.status, 4096):
            self.ready = True
        else:
            self.forget()

    def forget(self) -> None:
        """Listens no more."""
        if self.status >= 0:
            os.close(self.status)
            self.status = -1


class Supervisor:
    """Starts workers with this process' own command line and watches over them.

    Args:
        count: How many.
        grace: Seconds that they have to end.
    """

    def __init__(self, count: int, *, grace: float) -> None:
        configure_logs()
        self._count = count
        self._grace = grace
        self._folder, self._lock = _own_folder()
        self._children: dict[int, _Child] = {}
        self._buried = 0
        self._heard = time.monotonic()
        self._failures = dict.fromkeys(range(count), 0)
        self._start_at: dict[int, float] = dict.fromkeys(range(count), 0.0)
        self._ended = False

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT, or until no worker can be started.

        Returns:
            The exit code.
        """
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for received in (signal.SIGTERM, signal.SIGINT):
            signal.signal(received, self._end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            while not self._ended:
                self._start()
                self._hear(woken)
                self._kill_silent()
                code = self._bury()
                if code is not None:
                    return code
            return 0
        finally:
            self._stop(self._children.values())
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)

    def _end(self, *_: object) -> None:
        self._ended = True

    def _start(self) -> None:
        """Starts the workers whose time has come."""
        now = time.monotonic()
        for index in [index for index, at in self._start_at.items() if at <= now]:
            del self._start_at[index]
            self._children[index] = _Child(index, self._folder)

    def _hear(self, woken: socket.socket) -> None:
        """Waits for a worker that is ready or dead, for a signal, or for the time of the next start."""
        waiting = [child.status for child in self._children.values() if child.status >= 0]
        wait = max(0.0, min([_BEAT_S, *(at - time.monotonic() for at in self._start_at.values())]))
        heard, _, _ = select.select([woken.fileno(), *waiting], [], [], wait)
        if woken.fileno() in heard:
            woken.recv(4096)
        for child in self._children.values():
            if child.status in heard:
                child.hear()
        if len(self._children) == self._count and all(child.ready for child in self._children.values()):
            (self._folder / _READY).touch()

    def _kill_silent(self) -> None:
        """Kills workers whose event loop has stood still for long; time in which this process stood still is none."""
        now = time.monotonic()
        passed, self._heard = min(now - self._heard, _BEAT_S), now
        for child in self._children.values():
            child.silence += passed
            if child.ready and child.silence > _LONGEST_SILENCE_S:
                _log.error("a worker does not answer", extra={"fields": {"worker": child.index}})
                child.process.kill()
                child.silence = 0.0

    def _bury(self) -> int | None:
        """Plans the replacement of workers that have died; the exit code if there is no use in it."""
        for index, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                continue
            child.forget()
            del self._children[index]
            for left in self._folder.glob(f"gauge_live*_{child.process.pid}.db"):
                left.unlink()
            if self._ended:
                continue
            if not child.ready and not (self._folder / _READY).exists():
                return code if code > 0 else 1
            settled = time.monotonic() - child.started > _SETTLED_S
            self._failures[index] = 0 if settled else self._failures[index] + 1
            self._buried += 1
            if self._failures[index] > _MOST_QUICK_FAILURES or self._buried > _MOST_FAILURES:
                _log.error("workers end again and again", extra={"fields": {"worker": index, "code": code}})
                return code if code > 0 else 1
            wait = min(_LONGEST_WAIT_S, 0.25 * 2 ** self._failures[index])
            self._start_at[index] = time.monotonic() + wait
            fields = {"worker": index, "code": code, "again_in_seconds": wait}
            _log.error("a worker has ended", extra={"fields": fields})
        return None

    def _stop(self, children: Iterable[_Child]) -> None:
        """Lets the workers finish, and kills those that do not."""
        children = list(children)
        for child in children:
            child.process.terminate()
        end = time.monotonic() + self._grace + 5
        for child in children:
            try:
                child.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.forget()


def _own_folder() -> tuple[Path, int]:
    """A new folder for metrics and the lock on it; folders that no process has locked any more are removed."""
    prefix = "serving-metrics-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock
