"""The annotations in which a rollout is kept: its present state, and the ends of the last rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from blueprints.governance.rollout.adapters.cluster import Object
from blueprints.governance.rollout.state import Phase, State

STATE = "ml-deployment-blueprints/rollout"
HISTORY = "ml-deployment-blueprints/rollouts"
_KEPT = 20


class Ended(BaseModel):
    """How a rollout ended.

    Attributes:
        id: The rollout's.
        at: Seconds since 1970, UTC.
        phase: `promoted`, `rolled_back`, `aborted` or `failed`.
        stable_model: What stable served before.
        candidate_model: What was tried.
        started_by: By whom.
        reason: Why it ended so.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    at: float
    phase: Phase
    stable_model: str
    candidate_model: str
    started_by: str
    reason: str


_HISTORY: TypeAdapter[tuple[Ended, ...]] = TypeAdapter(tuple[Ended, ...])


def stored_state(item: Object) -> State | None:
    """The state in an object's annotations.

    Raises:
        StateError: It cannot be read.
    """
    text = _annotations(item).get(STATE)
    return None if text is None else State.loads(text)


def history(item: Object) -> tuple[Ended, ...]:
    """The last rollouts that ended, oldest first; what someone else wrote there is passed over."""
    try:
        return _HISTORY.validate_json(_annotations(item).get(HISTORY, "[]"))
    except ValidationError:
        return ()


def annotated(state: State, item: Object) -> dict[str, str]:
    """The annotations that keep a state; one that is over joins the history in the same write."""
    kept = {STATE: state.dumps()}
    if state.phase.over:
        ended = Ended(
            id=state.rollout.id,
            at=state.entered_at,
            phase=state.phase,
            stable_model=state.rollout.stable_model,
            candidate_model=state.rollout.candidate_model,
            started_by=state.rollout.started_by,
            reason=state.reason,
        )
        others = [other for other in history(item) if other.id != ended.id]
        kept[HISTORY] = _HISTORY.dump_json((*others, ended)[-_KEPT:]).decode()
    return kept


def _annotations(item: Object) -> Mapping[str, Any]:
    return item["metadata"].get("annotations") or {}
