"""Listens for HTTP connections, closes those that idle, and ends without breaking off a request."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource
import socket
import struct

from inference_services.serving.http_connection import Application, Connection

_BACKLOG = 4096
_KEEP_ALIVE_S = 75.0
_SWEEP_S = 5.0

# After the end is announced, clients on idle connections have this long to send one more request and be told to go
# elsewhere.
_LINGER_S = 1.0
# What was connected just before is taken; to close the listening socket would reset it.
_LAST_ACCEPTED_S = 0.1
_SO_ATTACH_FILTER = 26


class HttpServer:
    """Serves an application. Needs a running event loop.

    Args:
        application: What answers.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None
        self._sweep: asyncio.TimerHandle | None = None

    async def listen(self, listening: socket.socket) -> None:
        """Takes connections from a bound socket."""
        allow_many_connections()
        listening.setblocking(False)
        self._listening = listening
        self._server = await self._loop.create_server(self._connect, sock=listening, backlog=_BACKLOG)
        self._close_idle()

    async def drain(self, seconds: float) -> None:
        """Takes no more connections, lets running requests finish, and closes everything.

        Args:
            seconds: How long running requests have.
        """
        await asyncio.sleep(_LAST_ACCEPTED_S)
        queued = self._accept_queued()
        if self._server is not None:
            self._server.close()
        for accepted in queued:
            await self._loop.connect_accepted_socket(self._connect, accepted)
        await asyncio.sleep(_LAST_ACCEPTED_S)  # what was accepted last is among the connections only now
        if self._sweep is not None:
            self._sweep.cancel()
        await self._wait(_LINGER_S)
        for connection in tuple(self._connections):
            connection.close()
        await self._wait(seconds)
        for connection in tuple(self._connections):
            connection.close(at_once=True)
        await self._wait(1)

    def _connect(self) -> Connection:
        return Connection(self._application, self._connections, self._loop)

    def _accept_queued(self) -> list[socket.socket]:
        """Takes the clients that the kernel has let in already, whom the end of the listening socket would reset."""
        queued = []
        with contextlib.suppress(OSError):
            while self._listening is not None:
                queued.append(self._listening.accept()[0])
        return queued

    async def _wait(self, seconds: float) -> None:
        """Waits until no connection is open, but not longer than this."""
        end = self._loop.time() + seconds
        while self._connections and self._loop.time() < end:  # noqa: ASYNC110  # their end is nobody's event
            await asyncio.sleep(0.02)

    def _close_idle(self) -> None:
        oldest = self._loop.time() - _KEEP_ALIVE_S
        for connection in tuple(self._connections):
            if connection.idle_since is not None and connection.idle_since < oldest:
                connection.close(at_once=True)
        self._sweep = self._loop.call_later(_SWEEP_S, self._close_idle)


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound to an address.

    Args:
        host: The address.
        port: The port.
        shared: Whether other processes bind the same port too and share its connections.

    Raises:
        OSError: The port is taken, or the address is not this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def reserve(host: str, port: int) -> socket.socket:
    """A socket that holds an address for processes that are to share it, and takes no connections.

    As long as it is open the address can be bound as shared only: whoever wants it for himself, or to reserve it, is
    told that it is taken.

    Raises:
        OSError: The port is taken, or the address is not this machine's.
    """
    held = bind(host, port)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held


def take_no_more(listening: socket.socket) -> None:
    """Has the kernel pass over new clients of a listening socket.

    Those that it has let in already can then all be accepted before the socket is closed, which would reset them. For
    a socket that shares its port this is no help: clients that the kernel has chosen it for would have to try again.
    """
    drop_everything = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0
    with contextlib.suppress(OSError):
        program = struct.pack("HP", 1, ctypes.addressof(drop_everything))
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def allow_many_connections() -> None:
    """Raises the limit on open files as far as the system lets a process raise it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
