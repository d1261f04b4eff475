"""One HTTP/1.1 connection of a load generator: as little Python a request as can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

NO_ANSWER = 0
"""Status of a request whose connection was refused, or broke before the whole answer was there."""

_HEAD_END = b"\r\n\r\n"
_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    Attributes:
        status: HTTP status, `NO_ANSWER` if there was none.
        body: What it says.
        retry_after: Seconds after which the server wants to be asked again, 0 if it does not say.
    """

    status: int
    body: bytes = b""
    retry_after: float = 0.0


def post_request(url: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a POST with a JSON body; made once, sent often."""
    there = urlsplit(url)
    lines = {
        "Host": there.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {there.path or '/'} HTTP/1.1\r\n{head}\r\n".encode() + body


class Connection(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time.

    Args:
        answered: Called with the connection and the answer, once for every request that was sent.
        closed: Called when the connection is gone; a request under way has been answered with `NO_ANSWER` by then.

    Attributes:
        begun: When the request under way should have been sent, in seconds of the caller's clock; free for its use.
        busy: Whether a request is under way.
    """

    __slots__ = ("_answered", "_body_at", "_buffer", "_closed", "_head", "_length", "_transport", "begun", "busy")

    def __init__(self, answered: Callable[[Connection, Answer], None], closed: Callable[[Connection], None]) -> None:
        self._answered = answered
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head: tuple[int, float, bool] | None = None
        self._body_at = self._length = 0
        self.begun = 0.0
        self.busy = False

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, begun: float) -> None:
        """Sends a request; the one before must have been answered."""
        self.begun, self.busy = begun, True
        cast("asyncio.Transport", self._transport).write(request)

    def abort(self) -> None:
        """Breaks the connection off."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Called by the event loop."""
        self._transport = None
        if self.busy:
            self._answer(Answer(NO_ANSWER))
        self._closed(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if self._head is None:
            end = buffer.find(_HEAD_END)
            if end < 0:
                return
            self._read_head(buffer[:end])
            self._body_at = end + 4
        whole = self._body_at + self._length
        if len(buffer) < whole or self._head is None:
            return
        (status, retry_after, last), self._head = self._head, None
        self._buffer = b""
        if last or not self.busy or len(buffer) > whole:  # more than was asked for: nobody knows what comes next
            self.abort()
        if self.busy:
            self._answer(Answer(status, buffer[self._body_at : whole], retry_after))

    def _read_head(self, head: bytes) -> None:
        head = head.lower()
        status, length = int(head[9:12]), _header(head, b"content-length")
        if length is None and status not in _BODILESS:
            self.abort()  # chunked: no server that is measured here answers so
            return
        retry_after = _header(head, b"retry-after") if status in {429, 503} else None
        self._head = status, float(retry_after or 0), _header(head, b"connection") == b"close"
        self._length = int(length or 0)

    def _answer(self, answer: Answer) -> None:
        self.busy = False
        self._answered(self, answer)


def _header(head: bytes, name: bytes) -> bytes | None:
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    begin = at + len(name) + 3
    end = head.find(b"\r\n", begin)
    return (head[begin:] if end < 0 else head[begin:end]).strip()
