"""How many requests are worked on at one time, whichever protocol they came over."""

from __future__ import annotations

from prometheus_client import Gauge

from inference_services.serving.errors import overloaded


class Places:
    """The places of requests that are worked on.

    Args:
        limit: How many there are.
        gauge: Shows how many are taken.

    Attributes:
        limit: How many there are.
        taken: How many are taken.
        full: The refusal when all are.
    """

    __slots__ = ("_gauge", "full", "limit", "taken")

    def __init__(self, limit: int, gauge: Gauge) -> None:
        self.limit = limit
        self.taken = 0
        self.full = overloaded(f"{limit} requests are being worked on: try again")
        self._gauge = gauge

    def take(self) -> bool:
        """Takes a place; whether there was one."""
        if self.taken >= self.limit:
            return False
        self.taken += 1
        self._gauge.inc()
        return True

    def leave(self) -> None:
        """Gives a place back."""
        self.taken -= 1
        self._gauge.dec()
