"""Tests of one rate against another that stay valid however often one looks (docs/decisions/0012).

A block is what both arms answered between two looks: `failures` of `requests` in each. The null hypothesis says that
in every block the candidate's rate exceeds stable's by at most a tolerance; the rates themselves may change from block
to block, as load and inputs do, since both arms meet the same moment. A bet on rates outside the null multiplies wealth
by the likelihood of the block under the bet over its likelihood under the null's nearest point (the reverse information
projection: Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests", 2024). Under the null
wealth never grows in expectation, so by Ville's inequality it ever reaches 1/level with a probability of at most level.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, log1p
from typing import NamedTuple

# Excess beyond the tolerance that is bet on: from barely to plainly worse.
GAPS = (0.02, 0.06, 0.15, 0.35, 0.7)
NOTHING = float("-inf")
_HIGHEST = 0.95
_EDGE = 1e-9


class Block(NamedTuple):
    """What both arms answered between two looks.

    Attributes:
        stable_failures: Of `stable_requests`.
        stable_requests: At least 0.
        candidate_failures: Of `candidate_requests`.
        candidate_requests: At least 0.
    """

    stable_failures: int
    stable_requests: int
    candidate_failures: int
    candidate_requests: int

    def mirrored(self) -> Block:
        """The same with successes counted: an excess becomes a shortfall."""
        return Block(
            self.stable_requests - self.stable_failures,
            self.stable_requests,
            self.candidate_requests - self.candidate_failures,
            self.candidate_requests,
        )


def log_growth(block: Block, stable: float, candidate: float, tolerance: float) -> float:
    """Logarithm of what a bet gains in a block under "candidate's rate ≤ stable's + tolerance".

    Args:
        block: What was answered.
        stable: Stable's rate in the bet, inside 0 to 1; chosen before the block was seen.
        candidate: The candidate's, likewise.
        tolerance: Between -1 and 1.
    """
    if candidate - stable <= tolerance or not block.candidate_requests or not block.stable_requests:
        return 0.0
    nearest = _projection(block.stable_requests, block.candidate_requests, stable, candidate, tolerance)
    return _gain(block.stable_failures, block.stable_requests, stable, nearest) + _gain(
        block.candidate_failures, block.candidate_requests, candidate, nearest + tolerance
    )


def log_growth_alone(block: Block, candidate: float, limit: float) -> float:
    """The same where stable answers nothing, under "candidate's rate ≤ limit"."""
    return 0.0 if candidate <= limit else _gain(block.candidate_failures, block.candidate_requests, candidate, limit)


def restarted(wealth: float, growth: float, look: int) -> float:
    """Adds a bet that starts at this look, with a share of 1/(look (look + 1)) of the money, and lets all grow.

    So a candidate that was good for long and turns bad is found as soon as one that was bad from the start, up to the
    logarithm of the share. The shares of all looks sum to one: the sum of all bets is a fair bet again.

    Args:
        wealth: Logarithm of the wealth of all bets before; `NOTHING` before the first.
        growth: Logarithm of this block's gain.
        look: 1, 2, …
    """
    return log_sum((wealth, -log(look * (look + 1)))) + growth


def log_sum(logarithms: Sequence[float]) -> float:
    """Logarithm of a sum from the logarithms of its terms."""
    highest = max(logarithms)
    return highest if highest == NOTHING else highest + log(sum(exp(one - highest) for one in logarithms))


def estimate(failures: int, requests: int) -> float:
    """A rate strictly between 0 and 1 (Krichevsky and Trofimov)."""
    return (failures + 0.5) / (requests + 1)


def bets(stable: float, tolerance: float, gaps: Sequence[float] = GAPS) -> list[float]:
    """The candidate's rates that are bet on, given stable's."""
    return [min(stable + tolerance + gap, _HIGHEST) for gap in gaps]


def upper_bound(failures: int, requests: int, level: float) -> float:
    """A rate that the true one exceeds at no time but with probability `level` (Robbins, 1970).

    It inverts the mixture of Krichevsky and Trofimov, whose wealth against a rate p is at least
    exp(requests · KL(observed ‖ p)) / (2 √requests).
    """
    if requests == 0:
        return 1.0
    observed = failures / requests
    budget = (log(2 / level) + 0.5 * log(requests)) / requests
    low, high = observed, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _divergence(observed, middle) < budget else (low, middle)
    return high


def _gain(failures: int, requests: int, bet: float, null: float) -> float:
    return failures * log(bet / null) + (requests - failures) * (log1p(-bet) - log1p(-null))


def _divergence(observed: float, rate: float) -> float:
    rate = min(max(rate, _EDGE), 1 - _EDGE)
    yes = observed * log(observed / rate) if observed > 0 else 0.0
    no = (1 - observed) * log((1 - observed) / (1 - rate)) if observed < 1 else 0.0
    return yes + no


def _projection(
    stable_requests: int, candidate_requests: int, stable: float, candidate: float, tolerance: float
) -> float:
    """Stable's rate at the point of the null's edge that is nearest to the bet in Kullback-Leibler divergence.

    The derivative of the divergence along the edge grows, so its zero is bracketed: false position, Illinois' variant.
    """
    low = max(stable, -tolerance + _EDGE, _EDGE)
    high = min(candidate - tolerance, 1 - tolerance - _EDGE, 1 - _EDGE)
    if low >= high:
        return low

    def slope(rate: float) -> float:
        other = rate + tolerance
        return stable_requests * (rate - stable) / (rate * (1 - rate)) + candidate_requests * (other - candidate) / (
            other * (1 - other)
        )

    below, above = slope(low), slope(high)
    if below >= 0:
        return low
    if above <= 0:
        return high
    side, middle = 0, low
    for _ in range(100):
        middle = (low * above - high * below) / (above - below)
        value = slope(middle)
        # What is left of the slope bounds the logarithm of the block's expected gain under the null.
        if abs(value) < 1e-6:
            break
        if value < 0:
            low, below = middle, value
            above = above / 2 if side < 0 else above
            side = -1
        else:
            high, above = middle, value
            below = below / 2 if side > 0 else below
            side = 1
    return middle
