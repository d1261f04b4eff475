"""What kube-proxy is to a cluster: TCP listeners on Services' addresses that pass connections on to ready endpoints.

It moves bytes and knows no protocol. A connection goes to the endpoint with the fewest, in turn among equals; one that
refuses is passed over. Connections to an endpoint that is no longer listed stay until one of the two sides closes
them, so that a server which drains finishes its answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
from collections import Counter
from collections.abc import Callable, Sequence

_CONNECT_S = 1.0
_ATTEMPTS = 4
# A side that does not take its bytes keeps the other from sending once so many wait.
_WAITING_BYTES = 256 * 1024
_MOST_FILES = 16_384

SocketAddress = tuple[str, int]
"""IPv4 address and port."""


class ServiceProxy:
    """Listens for Services; call `close` at the end.

    Args:
        max_connections: Client connections at one time, over all listeners; more are reset. By default they take half
            of the files that this process may open.
    """

    def __init__(self, *, max_connections: int | None = None) -> None:
        self._max_connections = max_connections or _files() // 4
        self._listeners: dict[SocketAddress, _Listener] = {}
        self._clients: set[_Side] = set()

    @property
    def addresses(self) -> tuple[SocketAddress, ...]:
        """Where it listens."""
        return tuple(self._listeners)

    @property
    def connections(self) -> int:
        """Client connections that are open now."""
        return len(self._clients)

    async def serve(self, address: SocketAddress, endpoints: Sequence[SocketAddress]) -> None:
        """Passes new connections to an address on to these endpoints from now on; without any they are reset.

        Raises:
            OSError: It cannot listen there.
        """
        if (listener := self._listeners.get(address)) is not None:
            listener.endpoints = tuple(endpoints)
            return
        listener = self._listeners[address] = _Listener(endpoints, self._clients, self._max_connections)
        try:
            await listener.listen(address)
        except OSError:
            del self._listeners[address]
            raise

    def drop(self, address: SocketAddress) -> None:
        """Stops listening on an address; open connections stay."""
        if (listener := self._listeners.pop(address, None)) is not None:
            listener.close()

    def close(self) -> None:
        """Stops listening and ends every connection."""
        for address in self.addresses:
            self.drop(address)
        for client in list(self._clients):
            client.abort()


def _files() -> int:
    """Files that this process may have open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_FILES if limit == resource.RLIM_INFINITY else min(limit, _MOST_FILES)


class _Listener:
    """One address of a Service and the endpoints behind it."""

    def __init__(self, endpoints: Sequence[SocketAddress], clients: set[_Side], max_connections: int) -> None:
        self.endpoints = tuple(endpoints)
        self._clients = clients
        self._max_connections = max_connections
        self._open: Counter[SocketAddress] = Counter()
        self._turn = itertools.count()
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    async def listen(self, address: SocketAddress) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Side(self._accept, self._clients.discard), *address, backlog=1024
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _accept(self, client: _Side) -> None:
        if not self.endpoints or len(self._clients) >= self._max_connections:
            client.abort()
            return
        self._clients.add(client)
        client.transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._connect(client))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, client: _Side) -> None:
        untried = list(self.endpoints)
        for _ in range(min(_ATTEMPTS, len(untried))):
            endpoint = self._pick(untried)
            untried.remove(endpoint)
            self._open[endpoint] += 1
            try:
                async with asyncio.timeout(_CONNECT_S):
                    server = await self._open_to(endpoint)
            except (OSError, TimeoutError):
                self._closed(endpoint)
                continue
            client.join(server)
            return
        client.abort()

    async def _open_to(self, endpoint: SocketAddress) -> _Side:
        def side() -> _Side:
            return _Side(lambda _: None, lambda _: self._closed(endpoint))

        return (await asyncio.get_running_loop().create_connection(side, *endpoint))[1]

    def _pick(self, endpoints: Sequence[SocketAddress]) -> SocketAddress:
        first = next(self._turn) % len(endpoints)
        return min((*endpoints[first:], *endpoints[:first]), key=lambda endpoint: self._open[endpoint])

    def _closed(self, endpoint: SocketAddress) -> None:
        self._open[endpoint] -= 1
        if self._open[endpoint] <= 0:
            del self._open[endpoint]


class _Side(asyncio.Protocol):
    """One of the two connections that make a proxied one: what it receives is written to the other."""

    transport: asyncio.Transport

    def __init__(self, on_open: Callable[[_Side], None], on_close: Callable[[_Side], None]) -> None:
        self._on_open = on_open
        self._on_close = on_close
        self._peer: _Side | None = None
        self._early: list[bytes] = []
        self._ended = False
        self._lost = False

    def join(self, peer: _Side) -> None:
        """Ties two open connections together and lets bytes flow."""
        self._peer, peer._peer = peer, self
        if self._lost or peer._lost:
            self.abort()
            return
        for side in (self, peer):
            for data in side._early:
                side.data_received(data)
            side._early.clear()
            if side._ended:
                side.eof_received()
        self.transport.resume_reading()

    def abort(self) -> None:
        """Resets this connection, and with it the other."""
        self.transport.abort()
        if self._peer is not None and not self._peer._lost:
            self._peer.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=_WAITING_BYTES)
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        if self._peer is None:
            self._early.append(data)
        elif not self._peer._lost:
            self._peer.transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self._peer is not None and not self._peer._lost:
            if self._peer._ended:
                # Both have said all; what is still to be written goes out first.
                self._peer.transport.close()
                self.transport.close()
            else:
                with contextlib.suppress(OSError, RuntimeError):  # it may be closing
                    self._peer.transport.write_eof()
        return True  # the other direction stays open

    def pause_writing(self) -> None:
        if self._peer is not None and not self._peer._lost:
            self._peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and not self._peer._lost:
            self._peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._on_close(self)
        if self._peer is not None and not self._peer._lost:
            if exc is None:
                self._peer.transport.close()
            else:
                self._peer.transport.abort()
