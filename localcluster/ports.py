"""Ports of this machine: which are free, and what to do about one that is not."""

from __future__ import annotations

import contextlib
import socket

LOOPBACK = "127.0.0.1"


class PortTakenError(Exception):
    """Another program listens where one of ours should."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        # All are held until the last is found, so that none is found twice.
        sockets = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def refuse_taken(port: int, what: str, *, host: str = LOOPBACK) -> None:
    """Makes sure that a port is free.

    Raises:
        PortTakenError: It is taken; the message says what to do.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers bind: connections that linger from an earlier run are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(
                f"{host}:{port}, which {what} needs, is taken ({error.strerror}); "
                "end what listens there, or choose another with --port (make: PORT=; 0: any free one)"
            ) from error
