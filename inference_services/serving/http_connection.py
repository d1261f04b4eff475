"""HTTP/1.1 on one connection: parsing by httptools, pipelining, keep-alive, and limits on what a client may hold.

Requests of a connection are answered one after the other, in their order. An application sees each when its head is
there, and may refuse it then; when its body is there, to answer it; and when its client has gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import httptools

# A head, or the trailers, may be this long, or as long as what arrives at one time.
_MAX_HEAD = 64 * 1024
_LINGER_S = 2.0
_log = logging.getLogger("serving")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """One request and its answer.

    Attributes:
        connection: Where it came from.
        method: GET, POST, …
        url: As it stands in the request line.
        headers: By name in lower case; of several with one name the last.
        parts: What has come of the body.
        size: How much has come of it.
        more: Whether more of it is to come.
        keep_alive: Whether the connection stays open after the answer.
        answered: Whether it has its answer; what comes of its body after that is thrown away.
        fault: Status that it is to be refused with, for what is wrong with it: 400, 413, 431, 505; or 500; else 0.
        state: The application's own.
    """

    __slots__ = (
        "answered",
        "connection",
        "fault",
        "headers",
        "keep_alive",
        "method",
        "more",
        "parts",
        "size",
        "state",
        "url",
    )

    def __init__(
        self, connection: Connection, method: bytes, url: bytes, headers: Mapping[bytes, bytes], *, keep_alive: bool
    ) -> None:
        self.connection = connection
        self.method = method
        self.url = url
        self.headers = headers
        self.parts: list[bytes] = []
        self.size = 0
        self.more = True
        self.keep_alive = keep_alive
        self.answered = False
        self.fault = 0
        self.state: Any = None

    def body(self) -> bytes:
        """What has come of the body."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)

    def stays_open(self) -> bool:
        """Whether the connection may stay open: who asked first may send the body after a refusal, or may not."""
        return self.keep_alive and not (self.more and b"expect" in self.headers)

    def answer(self, response: bytes, *, keep_alive: bool) -> None:
        """Sends the whole response, head and body; closes the connection after it unless it is to stay open."""
        self.connection.answer(self, response, keep_alive=keep_alive)


class Application(Protocol):
    """What answers.

    Attributes:
        max_body: Largest body.
    """

    max_body: int

    def begin(self, exchange: Exchange) -> None:
        """A head is there. May answer at once."""

    def refuse(self, exchange: Exchange) -> None:
        """Its form is wrong: see its `fault`. It may not have begun. Must answer."""

    def run(self, exchange: Exchange) -> None:
        """The body is there, and the exchange has no answer yet. Must answer, sooner or later."""

    def gone(self, exchange: Exchange) -> None:
        """The client has gone. No answer will reach it."""


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        application: What answers.
        connections: Where it is found while it is open.
        loop: The event loop.

    Attributes:
        idle_since: When it last had a request or, before its first, was opened, in the event loop's time; None while it
            has one.
    """

    __slots__ = (
        "_application",
        "_connections",
        "_current",
        "_head_size",
        "_headers",
        "_last",
        "_loop",
        "_parser",
        "_reading",
        "_reading_paused",
        "_transport",
        "_url",
        "_waiting",
        "_writing_paused",
        "idle_since",
    )

    def __init__(self, application: Application, connections: set[Connection], loop: asyncio.AbstractEventLoop) -> None:
        self._application = application
        self._connections = connections
        self._loop = loop
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_size = 0
        self._reading: Exchange | None = None  # its body is being read
        self._current: Exchange | None = None  # it is being answered
        self._waiting: list[Exchange] = []  # they came while the current one was
        self._last = False  # no request may follow the one that was read last
        self._reading_paused = False
        self._writing_paused = False
        self.idle_since: float | None = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's name
        """See `asyncio.Protocol`."""
        self._connections.discard(self)
        current, self._current = self._current, None
        self._parser = None
        self._waiting.clear()
        if current is not None and not current.answered:
            current.answered = True
            self._application.gone(current)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._reading is None and self._last:
            return
        self._head_size += len(data)
        while data and self._parser is not None:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._parser.get_method() == b"CONNECT":
                    self._broken(400)
                    return
                data = self._without_upgrade() + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError as error:
                if isinstance(error, httptools.HttpParserCallbackError):
                    _log.exception("request failed")
                    self._broken(500)
                elif not self._last or self._reading is not None:
                    self._broken(400)
                return
            break
        if self._head_size > _MAX_HEAD and not (self._reading is None and self._last):
            self._broken(431)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`. A client that sends no more may wait for an answer, or have gone: soon it has."""
        last = self._waiting[-1] if self._waiting else self._current
        if last is None or last is self._reading:
            return False
        last.keep_alive = False
        self._last = True
        self._loop.call_later(_LINGER_S, self._transport.abort)
        return True

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writing_paused = False
        self._loop.call_soon(self._next)

    # The parser calls these.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = {}

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which nobody looks at."""
        name = name.lower()
        if name == b"host" and name in self._headers:
            value = self._headers[name] + b"," + value
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """The head is there."""
        parser = self._parser
        if self._last or parser.should_upgrade():
            return
        headers, self._headers = self._headers, {}
        version, fault = parser.get_http_version(), 0
        if version == "1.0":
            headers.pop(b"expect", None)
        elif version != "1.1":
            fault = 505
        elif b"," in headers.get(b"host", b","):  # there is none, or there are two
            fault = 400
        keep_alive = parser.should_keep_alive() and version == "1.1" and not fault
        exchange = Exchange(self, parser.get_method(), self._url, headers, keep_alive=keep_alive)
        exchange.fault = fault
        self._head_size = 0
        self._last = not keep_alive
        self._reading = exchange
        if self._current is None and not self._waiting and not self._writing_paused:
            self._begin(exchange)
        else:
            self._waiting.append(exchange)
            self._pause_reading()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._head_size -= len(body)
        exchange = self._reading
        if exchange is None or exchange.answered:
            return
        exchange.size += len(body)
        if exchange.size <= self._application.max_body:
            exchange.parts.append(body)
        else:
            exchange.parts.clear()
            exchange.fault = 413
            if exchange is self._current:
                self._application.refuse(exchange)

    def on_chunk_header(self) -> None:
        """A chunk begins, or the trailers do."""
        self._head_size = 0

    def on_message_complete(self) -> None:
        """The body is there."""
        self._head_size = 0
        exchange, self._reading = self._reading, None
        if exchange is None:
            return
        exchange.more = False
        if exchange is self._current:
            if exchange.answered:
                self._done()
            else:
                self._application.run(exchange)

    def answer(self, exchange: Exchange, response: bytes, *, keep_alive: bool) -> None:
        """See `Exchange.answer`."""
        if exchange.answered:
            return
        exchange.answered = True
        exchange.parts.clear()
        self._transport.write(response)
        self.idle_since = self._loop.time()
        if not keep_alive:
            self._hang_up(unread=exchange.more or exchange.fault > 0)
        elif not exchange.more:
            self._done()

    def close(self, *, at_once: bool = False) -> None:
        """Closes it when its requests are answered, or at once."""
        if at_once:
            self._transport.abort()
        elif self._current is None and not self._waiting:
            self._transport.close()

    def _without_upgrade(self) -> bytes:
        """The head of a request that offers another protocol, without the offer, which may be passed over."""
        headers = {name: value for name, value in self._headers.items() if name not in (b"connection", b"upgrade")}
        if b"close" in self._headers.get(b"connection", b"").lower():
            headers[b"connection"] = b"close"
        request = (self._parser.get_method(), self._url, self._parser.get_http_version().encode())
        return b"\r\n".join([b"%b %b HTTP/%b" % request, *(b"%b: %b" % item for item in headers.items()), b"\r\n"])

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self.idle_since = None
        if exchange.fault:
            self._application.refuse(exchange)
            return
        self._application.begin(exchange)
        if exchange.answered:
            return
        if not exchange.more:
            self._application.run(exchange)
        elif _asks_first(exchange):
            self._transport.write(_CONTINUE)

    def _done(self) -> None:
        self._current = None
        if self._waiting:
            # Not at once: each may be answered at once too, and there may be thousands.
            self._loop.call_soon(self._next)
        elif self._reading_paused:
            self._resume_reading()

    def _next(self) -> None:
        if self._current is not None or self._writing_paused or self._transport.is_closing():
            return
        if self._waiting:
            self._begin(self._waiting.pop(0))
        if not self._waiting:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._writing_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def _hang_up(self, *, unread: bool) -> None:
        """Closes the connection after what has been written.

        Args:
            unread: Whether the client may still be sending. To close then would reset the connection, and the answer
                might be lost: so it is half closed, and what comes is thrown away for a moment.
        """
        self._last = True
        self._current = self._reading = None
        self._waiting.clear()
        if unread:
            self._transport.write_eof()
            self._loop.call_later(_LINGER_S, self._transport.abort)
        else:
            self._transport.close()

    def _broken(self, status: int) -> None:
        """What came last is no HTTP, or broke the application: it is refused in its turn, and no more is read."""
        self._last = True
        broken, self._reading = self._reading or (self._current if status == 500 else None), None
        if broken is None:
            broken = Exchange(self, b"", b"", {}, keep_alive=False)
            self._waiting.append(broken)
        broken.keep_alive = broken.more = False
        broken.fault = status
        if broken is self._current:
            if broken.answered:
                self._hang_up(unread=True)
            else:
                self._application.refuse(broken)
        else:
            self._next()


def _asks_first(exchange: Exchange) -> bool:
    """Whether the client waits for a word before it sends the body."""
    headers = exchange.headers
    return (
        b"expect" in headers
        and headers[b"expect"].lower() == b"100-continue"
        and (b"content-length" in headers or b"transfer-encoding" in headers)
        and not exchange.size
    )
