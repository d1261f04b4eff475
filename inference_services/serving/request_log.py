"""One line of JSON a request, at a cost that thousands of requests a second can bear.

Lines are built as bytes, gathered, and written by a thread a moment later, so that neither a system call nor a reader
that is slow to take them holds up the event loop. What is gathered is bounded: beyond that lines are dropped, counted
and the count is told.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

_PAUSE_S = 0.05
_CAPACITY = 50_000
# A write of at most this size to a pipe that several processes share is not mixed with theirs (PIPE_BUF).
_ATOMIC = 4096


class RequestLog:
    """Writes what was answered to a file descriptor.

    Args:
        descriptor: Where to; standard output by default.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._lines: deque[bytes] = deque()  # whose ends two threads may use at one time
        self._dropped = 0  # there was no room for them: counted by `add`
        self._lost = self._told = 0  # could not be written, and missing lines that were told: counted by the thread
        self._unread = False
        self._second = 0
        self._stamp = b""
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)
        self._thread.start()

    def add(self, what: bytes, request_id: str, status: bytes, seconds: float) -> None:
        """Adds a line.

        Args:
            what: See `described`.
            request_id: Id of the request: a plain word.
            status: Its status as JSON.
            seconds: How long it took.
        """
        if len(self._lines) >= _CAPACITY:
            self._dropped += 1
            return
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, _stamp(second)
        self._lines.append(
            b'{"time":"%b.%03d+00:00","level":"info","logger":"serving",%b,"request_id":"%b","status":%b,"ms":%.2f}\n'
            % (self._stamp, (now - second) * 1e3, what, request_id.encode(), status, seconds * 1e3)
        )
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Writes what is left and ends the thread."""
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=5)

    def _write_all(self) -> None:
        while True:
            self._wake.wait()
            if not self._closed:
                time.sleep(_PAUSE_S)
            self._wake.clear()
            closed = self._closed
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            for together in _atomic(lines):
                if not self._put(b"".join(together)):
                    self._lost += len(together)
            missing = self._dropped + self._lost - self._told
            if missing:
                fields = {"level": "warning", "logger": "serving", "message": "request log full", "dropped": missing}
                if self._put(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)):
                    self._told += missing
            if closed or self._unread:
                return

    def _put(self, content: bytes) -> bool:
        try:
            _write_whole(self._descriptor, content)
        except OSError as error:
            self._unread = error.errno in (errno.EPIPE, errno.EBADF)
            return False
        return True


def _atomic(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Lines that are written together."""
    start, size = 0, 0
    for end, line in enumerate(lines):
        if size + len(line) > _ATOMIC and end > start:
            yield lines[start:end]
            start, size = end, 0
        size += len(line)
    if lines:
        yield lines[start:]


def described(message: str, **fields: str) -> bytes:
    """What the lines of one kind have in common, as the inside of a JSON object."""
    return orjson.dumps({"message": message, **fields})[1:-1]


def _stamp(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _write_whole(descriptor: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:  # another process has made the pipe that they share non-blocking
            writable = select.poll()
            writable.register(descriptor, select.POLLOUT)
            writable.poll(1000)
