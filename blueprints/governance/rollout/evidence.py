"""What the statistics of a rollout know, in a form that is stored between two looks."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from blueprints.governance.rollout.observation import Counters


class Evidence(BaseModel):
    """Sufficient statistics of the sequential tests.

    Attributes:
        looks: Looks with new requests of the candidate so far.
        stable: What stable has answered since both arms run side by side.
        candidate: What the candidate has answered since then.
        seen_stable: The reading up to which stable was counted.
        seen_candidate: The reading up to which the candidate was counted.
        wealth: Logarithms of the tests' e-values by test; their parts where a test is a mixture.
    """

    model_config = ConfigDict(frozen=True)

    looks: int = 0
    stable: Counters = Counters()
    candidate: Counters = Counters()
    seen_stable: Counters | None = None
    seen_candidate: Counters | None = None
    wealth: dict[str, tuple[float, ...]] = {}
