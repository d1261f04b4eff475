"""Ports for servers that a test starts."""

from __future__ import annotations

import os
import socket
from itertools import cycle

LOOPBACK = "127.0.0.1"
# Below the ports that systems give to outgoing connections, so that none takes one before its server is up.
_FIRST, _EACH = 20_000, 3_000


# Tests run beside each other in a few processes, which pytest-xdist numbers; another run begins elsewhere.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
_ports = cycle(_FIRST + _worker * _EACH + (os.getpid() + step) % _EACH for step in range(_EACH))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that no other test is given."""
    found: list[int] = []
    while len(found) < count:
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
    return found


def free_port() -> int:
    """One of `free_ports`."""
    return free_ports(1)[0]
