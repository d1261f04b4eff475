"""Logs of pods as a stream: the end of a file, and what is written to it from now on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from localcluster.api.errors import bad_request

_CHUNK = 64 << 10
_POLL_S = 0.1


@dataclass(frozen=True)
class LogOptions:
    """Which part of a log.

    Attributes:
        follow: Whether to go on with what is written later.
        previous: Whether the log of the run before this one is meant.
        tail_lines: At most this many lines of what is there; None for all.
        since: Unix time; a log that was last written before it is shown as empty. (Lines have no times of their own.)
        limit_bytes: At most so much in all; None for no limit.
    """

    follow: bool = False
    previous: bool = False
    tail_lines: int | None = None
    since: float | None = None
    limit_bytes: int | None = None

    @classmethod
    def of(cls, query: Callable[[str], str], flag: Callable[[str], bool]) -> LogOptions:
        """Reads them from a query.

        Raises:
            ApiError: 400 if they cannot be read.
        """
        seconds = _number(query, "sinceSeconds", 1)
        since = None if seconds is None else time.time() - seconds
        if text := query("sinceTime"):
            try:
                since = datetime.fromisoformat(text).timestamp()
            except (ValueError, OverflowError):
                raise bad_request(f"sinceTime must be a time as in RFC 3339, not {text!r}") from None
        return cls(
            follow=flag("follow"),
            previous=flag("previous"),
            tail_lines=_number(query, "tailLines", 0),
            since=since,
            limit_bytes=_number(query, "limitBytes", 1),
        )


async def read(path: Path, options: LogOptions, ended: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
    """Pieces of a log.

    Args:
        path: The file; when it is renamed and begun anew, or cut to nothing, what follows comes from its new beginning.
        options: Which part.
        ended: Whether nothing more will be written, so that following it ends.
    """
    left = options.limit_bytes
    async with aclosing(_pieces(path, options, ended)) as pieces:
        async for piece in pieces:
            yield piece if left is None else piece[:left]
            if left is not None and (left := left - len(piece)) <= 0:
                return


async def _pieces(path: Path, options: LogOptions, ended: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
    descriptor = _open(path)
    try:
        if descriptor is not None:
            _seek(descriptor, options)
        while True:
            last_look = ended() or not options.follow
            while descriptor is not None and (piece := os.read(descriptor, _CHUNK)):
                yield piece
            if descriptor is not None and os.fstat(descriptor).st_size < os.lseek(descriptor, 0, os.SEEK_CUR):
                # It was cut, and whoever writes it goes on at its new end.
                os.lseek(descriptor, 0, os.SEEK_SET)
                continue
            if _replaced(path, descriptor):
                # What was written between the last read and the renaming is in the old file.
                while descriptor is not None and (piece := os.read(descriptor, _CHUNK)):
                    yield piece
                if descriptor is not None:
                    os.close(descriptor)
                if (descriptor := _open(path)) is not None:
                    continue
            if last_look:
                return
            await asyncio.sleep(_POLL_S)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _replaced(path: Path, descriptor: int | None) -> bool:
    """Whether another file has the name by now."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return descriptor is None or (there.st_dev, there.st_ino) != _identity(descriptor)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _seek(descriptor: int, options: LogOptions) -> None:
    """Goes to where the wanted part begins."""
    status = os.fstat(descriptor)
    if options.since is not None and status.st_mtime < options.since:
        os.lseek(descriptor, 0, os.SEEK_END)
    elif options.tail_lines is not None:
        os.lseek(descriptor, _start_of_tail(descriptor, status.st_size, options.tail_lines), os.SEEK_SET)


def _start_of_tail(descriptor: int, size: int, lines: int) -> int:
    if lines == 0:
        return size
    # The newline that ends the last line does not begin another one.
    position, wanted = size, lines + (size > 0 and os.pread(descriptor, 1, size - 1) == b"\n")
    while position > 0:
        start = max(0, position - _CHUNK)
        block = os.pread(descriptor, position - start, start)
        found = block.count(b"\n")
        if found >= wanted:
            end = len(block)
            for _ in range(wanted):
                end = block.rindex(b"\n", 0, end)
            return start + end + 1
        wanted -= found
        position = start
    return 0


def _number(query: Callable[[str], str], name: str, least: int) -> int | None:
    text = query(name)
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or len(text) > 12 or int(text) < least:
        raise bad_request(f"{name} must be a number, {least} or more, not {text!r}")
    return int(text)
