"""The state of a rollout: all that an engine needs to go on after another one was killed."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, ValidationError

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.evidence import Evidence

STATE_VERSION = 1
HISTORY = 24


class StateError(ValueError):
    """A stored state that this version cannot read."""


class Phase(StrEnum):
    """Where a rollout is."""

    PENDING = "pending"
    ANALYSING = "analysing"
    PAUSED = "paused"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether the engine has nothing left to do."""
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED, Phase.FAILED)


class Stage(StrEnum):
    """Where a promotion is; each stage can be repeated. The candidate loses its traffic when it enters `DRAIN`."""

    SHIFT_TRAFFIC = "shift_traffic"
    MOVE_MODEL = "move_model"
    AWAIT_STABLE = "await_stable"
    DRAIN = "drain"
    REMOVE_CANDIDATE = "remove_candidate"
    REGISTER = "register"


class Verdict(StrEnum):
    """What the analysis says of the candidate so far."""

    ADVANCE = "advance"
    HOLD = "hold"
    ROLLBACK = "rollback"
    INCONCLUSIVE = "inconclusive"


class Rollout(BaseModel):
    """What is rolled out; an effect on the cluster is for this rollout only, never for a later one.

    Attributes:
        id: Unique per rollout.
        service: The stable service's name.
        stable_model: What stable serves when the rollout begins, as the adapter names it (a storage URI).
        candidate_model: What the candidate serves.
        started_by: Who started it.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    service: str
    stable_model: str
    candidate_model: str
    started_by: str = ""


class Transition(BaseModel):
    """One line of a rollout's history.

    Attributes:
        at: Seconds since 1970, UTC.
        phase: The phase that began or went on.
        weight: The candidate's weight from then on.
        reason: Why.
    """

    model_config = ConfigDict(frozen=True)

    at: float
    phase: Phase
    weight: int
    reason: str


class State(BaseModel):
    """A rollout at one moment. All times are seconds since 1970, UTC.

    Attributes:
        version: Of this format.
        rollout: What is rolled out.
        config: How.
        phase: Where it is.
        weight: The weight that the candidate shall have now.
        step: Index of the present step; -1 before the first.
        stage: Where a promotion is.
        started_at: When it was started.
        entered_at: When the present phase, step or stage began.
        unready_since: Since when the candidate is unready with traffic on it.
        unready_s: How long it was so before; a person who resumes it forgives that.
        requests_at_entry: Requests of the candidate when the present step began.
        evidence: What the statistics know.
        shift_accepted: Whether a person has let the rollout go on although predictions differ.
        verdict: The last verdict.
        reason: Why the state is what it is.
        history: The last transitions, oldest first.
    """

    model_config = ConfigDict(frozen=True)

    version: int = STATE_VERSION
    rollout: Rollout
    config: RolloutConfig
    phase: Phase = Phase.PENDING
    weight: int = 0
    step: int = -1
    stage: Stage | None = None
    started_at: float
    entered_at: float
    unready_since: float | None = None
    unready_s: float = 0.0
    requests_at_entry: int = 0
    evidence: Evidence = Evidence()
    shift_accepted: bool = False
    verdict: Verdict = Verdict.HOLD
    reason: str = "waits for the candidate to become ready"
    history: tuple[Transition, ...] = ()

    @classmethod
    def start(cls, rollout: Rollout, config: RolloutConfig, now: float) -> State:
        """The first state of a rollout."""
        first = cls(rollout=rollout, config=config, started_at=now, entered_at=now)
        return first.recorded(now, f"started by {rollout.started_by}" if rollout.started_by else "started")

    @classmethod
    def loads(cls, text: str) -> State:
        """Reads what `dumps` wrote.

        Raises:
            StateError: It is of another version, or no state.
        """
        try:
            state = cls.model_validate_json(text)
        except ValidationError as error:
            raise StateError(f"the stored rollout cannot be read ({error.errors()[0]['msg']}): abort it") from error
        if state.version != STATE_VERSION:
            raise StateError(
                f"the stored rollout is of format {state.version}, this engine reads {STATE_VERSION}: "
                "finish it with the version that started it, or abort it"
            )
        return state

    def dumps(self) -> str:
        """Compact JSON, a few KB at the most, for an annotation."""
        return self.model_dump_json()

    def recorded(self, now: float, reason: str) -> State:
        """The same state with a line more in its history."""
        line = Transition(at=now, phase=self.phase, weight=self.weight, reason=reason)
        return self.model_copy(update={"history": (*self.history, line)[-HISTORY:]})
