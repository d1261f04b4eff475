"""`blueprints bench`: the figures of a blueprint, measured here."""

from __future__ import annotations


def bench() -> None:
    """Measure a blueprint's figures and their baselines."""
