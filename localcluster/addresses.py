"""Loopback addresses for pods and Services: every cluster on a machine has a range of its own.

The whole of 127.0.0.0/8 is loopback on Linux, so each pod can listen on port 8080 of its own address, and no other
machine can reach any of them.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from localcluster.render import Object

CLAIM_PORT = 6444
# 127.0.x.y is everybody's: 127.0.0.1, 127.0.0.53.
_OCTETS = range(1, 255)
_POD_NETS = range(1, 128)
_SERVICE_NETS = range(128, 255)
_HOSTS = range(1, 255)
_FIRST_FREE_PORT = 1024


class AddressError(Exception):
    """There is no address to give."""


class AddressSpace:
    """The loopback addresses of one cluster, 127.<octet>.0.0/16; claimed for as long as its context lasts.

    A bound socket stands for the claim, so two clusters never share a range, and a killed one leaves no claim behind.
    Addresses of pods are given in turn from a random one on: one that was released, or that an earlier cluster gave
    whose processes still end, comes back as late as possible, when nobody answers or calls there any more.

        with AddressSpace.claim() as space:
            space.pod()  # 127.1.31.7
            space.service()  # 127.1.128.1
    """

    def __init__(self, octet: int, claim: socket.socket) -> None:
        self.octet = octet
        self._claim = claim
        self._taken: set[str] = set()
        self._pods = _endless(octet, _POD_NETS)
        for _ in range(secrets.randbelow(len(_POD_NETS) * len(_HOSTS))):
            next(self._pods)
        self._services = _endless(octet, _SERVICE_NETS)

    @classmethod
    def claim(cls, preferred: int | None = None) -> AddressSpace:
        """Claims a range.

        Args:
            preferred: The second octet to try first: the one of the last time, so that addresses stay.

        Raises:
            AddressError: This system has only 127.0.0.1, or every range is taken.
        """
        if not sys.platform.startswith("linux"):
            raise AddressError(
                f"pods need addresses of their own in 127.0.0.0/8, which {sys.platform} does not have; use Linux"
            )
        for octet in (*(() if preferred is None else (preferred,)), *_OCTETS):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            with contextlib.suppress(OSError):
                listener.bind((f"127.{octet}.0.1", CLAIM_PORT))
                listener.listen(1)
                return cls(octet, listener)
            listener.close()
        raise AddressError(f"every range of loopback addresses is taken (port {CLAIM_PORT}); end another cluster")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claim.close()

    def pod(self) -> str:
        """An address that no other pod has."""
        return self._next(self._pods, len(_POD_NETS))

    def service(self, preferred: str = "") -> str:
        """An address that no other Service has; the preferred one if it lies in this range and is free."""
        if preferred not in self._taken and self.holds_service(preferred):
            self._taken.add(preferred)
            return preferred
        return self._next(self._services, len(_SERVICE_NETS))

    def holds_service(self, address: str) -> bool:
        """Whether an address is one that `service` may give."""
        parts = address.split(".")
        if len(parts) != 4 or not all(part.isdecimal() for part in parts):
            return False
        first, octet, net, host = map(int, parts)
        return (first, octet) == (127, self.octet) and net in _SERVICE_NETS and host in _HOSTS

    def release(self, address: str) -> None:
        """Gives an address back."""
        self._taken.discard(address)

    def _next(self, addresses: Iterator[str], nets: int) -> str:
        for _ in range(nets * len(_HOSTS)):
            address = next(addresses)
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise AddressError(f"every address of 127.{self.octet}.0.0/16 is taken; delete pods or Services")


def listening_port(service_port: Object) -> int:
    """The port of a Service's address that is really listened at.

    Below 1024 that would need rights which nobody has here, so it is the targetPort, or for a named one port + 8000.

    Args:
        service_port: An entry of `spec.ports` of a Service.
    """
    port: int = service_port["port"]
    target = service_port.get("targetPort", port)
    if port >= _FIRST_FREE_PORT:
        return port
    return target if isinstance(target, int) and target >= _FIRST_FREE_PORT else port + 8000


def _endless(octet: int, nets: range) -> Iterator[str]:
    while True:
        for net in nets:
            for host in _HOSTS:
                yield f"127.{octet}.{net}.{host}"
