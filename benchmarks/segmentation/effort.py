"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Sizes of what is measured; the defaults are those of the figures' names.

    Attributes:
        repeats: Processes that are started for a figure, whose median counts.
        choose_rows: Rows that K is chosen for, by the plain loop too.
        large_rows: The same without the loop.
        coverages: Samples that intervals are checked on.
        sets: Data sets of `k_agreement`.
        score_rows: Customers that are scored.
        large_score_rows: The same, for memory that must not grow.
        transactions: Purchases that features are computed from.
        customers: Customers who made them.
        seconds: Length of one measurement of a service.
        rounds: Measurements of each service.
    """

    repeats: int = 3
    choose_rows: int = 50_000
    large_rows: int = 1_000_000
    coverages: int = 20
    sets: int = 100
    score_rows: int = 10_000_000
    large_score_rows: int = 100_000_000
    transactions: int = 10_000_000
    customers: int = 500_000
    seconds: float = 4.0
    rounds: int = 5
