"""The state machine of a rollout: pure functions from a state, and what is seen, to the next state.

    pending ─► analysing (step 0, 1, …) ─► promoting (stage by stage) ─► promoted
       │          │  ▲                        │  ▲
       │          ▼  │ resume                 ▼  │ promote
       │         paused                      failed
       └──────────┴──► rolled_back, aborted

A state is stored together with the candidate's weight in one write, so a rollback is one transition: there is no
state in which it has been decided and traffic still flows.
"""

from __future__ import annotations

from typing import NamedTuple

from blueprints.governance.rollout.analysis import judged, objection, shifted
from blueprints.governance.rollout.config import Outcome
from blueprints.governance.rollout.evidence import gathered
from blueprints.governance.rollout.observation import Observation
from blueprints.governance.rollout.state import Phase, Stage, State, Verdict

_STAGES = tuple(Stage)


class CommandError(Exception):
    """An order that the rollout cannot follow in its present phase."""


class Seen(NamedTuple):
    """What the engine found at one look.

    Attributes:
        observation: Both arms; None if they cannot be observed, or need not be.
        stage_done: In a promotion: whether the effect of the present stage has happened.
    """

    observation: Observation | None = None
    stage_done: bool = False


def next_state(state: State, seen: Seen, now: float) -> State:
    """The state that follows; the same one if nothing does. Never fails, and can be repeated.

    Args:
        state: As it was read.
        seen: What was found after that.
        now: Seconds since 1970.
    """
    if state.phase.over:
        return state
    if state.phase is Phase.PROMOTING:
        return _promoting(state, seen.stage_done, now)
    if state.phase is Phase.PENDING:
        return _pending(state, seen.observation, now)
    return _analysing(state, seen.observation, now)


def pause(state: State, now: float, by: str = "") -> State:
    """Stops at the present weight. A candidate that is shown to be worse is rolled back still.

    Raises:
        CommandError: The rollout is at no step.
    """
    if state.phase is not Phase.ANALYSING:
        raise CommandError(f"only a rollout that is being analysed can be paused; it is {state.phase}")
    return _entered(state, Phase.PAUSED, now, _by("paused", by))


def resume(state: State, now: float, by: str = "") -> State:
    """Goes on at the present step; its waits begin anew, and predictions that differ are accepted from now on.

    Raises:
        CommandError: The rollout is not paused.
    """
    if state.phase is not Phase.PAUSED:
        raise CommandError(f"only a paused rollout can be resumed; it is {state.phase}")
    accepted = state.shift_accepted or shifted(state.evidence, state.config) is not None
    resumed = state.model_copy(update={"shift_accepted": accepted, "verdict": Verdict.HOLD, "unready_s": 0.0})
    return _entered(resumed, Phase.ANALYSING, now, _by("resumed", by))


def promote(state: State, now: float, by: str = "") -> State:
    """Promotes without waiting for the verdict, or tries a failed promotion again where it stopped.

    Raises:
        CommandError: The candidate takes no traffic, or the rollout is over.
    """
    if state.phase is Phase.FAILED and state.stage is not None:
        return _entered(state, Phase.PROMOTING, now, _by("promotion tried again", by))
    if state.phase not in (Phase.ANALYSING, Phase.PAUSED):
        raise CommandError(f"only a candidate with traffic on it can be promoted; the rollout is {state.phase}")
    return _promotion(state, now, _by("promoted without the verdict", by))


def abort(state: State, now: float, by: str = "") -> State:
    """Takes all traffic from the candidate and ends the rollout.

    Raises:
        CommandError: The rollout is over, or stable takes the candidate's model already.
    """
    if state.phase in (Phase.PROMOTING, Phase.FAILED):
        raise CommandError(
            "stable takes the candidate's model already: let the promotion finish, then roll the old model out"
        )
    if state.phase.over:
        raise CommandError(f"the rollout is over: it is {state.phase}")
    return _entered(state.model_copy(update={"weight": 0}), Phase.ABORTED, now, _by("aborted", by))


def _pending(state: State, observation: Observation | None, now: float) -> State:
    if observation is not None and observation.candidate.ready and observation.stable.ready:
        started = state.model_copy(update={"evidence": gathered(state.evidence, observation, state.config, weight=0)})
        return _next_step(started, now, "stable and candidate are ready")
    if now - state.entered_at > state.config.ready_limit_s:
        reason = _why_unready(observation)
        return _back(state, now, f"{reason} after {state.config.ready_limit_s:g} s")
    return state


def _analysing(state: State, observation: Observation | None, now: float) -> State:
    if observation is not None:
        evidence = gathered(state.evidence, observation, state.config, state.weight)
        state = _unready_counted(state.model_copy(update={"evidence": evidence}), observation.candidate.ready, now)
    if state.unready_since is not None and _unready_s(state, now) > state.config.unready_grace_s:
        reason = f"the candidate was not ready for more than {state.config.unready_grace_s:g} s"
        return _back(state, now, reason)
    if state.phase is Phase.PAUSED:
        against = objection(state.evidence, state.config)
        return state if against is None else _back(state, now, against)
    verdict, reason = judged(state, observation, now)
    state = state.model_copy(update={"verdict": verdict, "reason": reason})
    if verdict is Verdict.ROLLBACK:
        return _back(state, now, reason)
    if not state.shift_accepted and (shift := shifted(state.evidence, state.config)) is not None:
        return _otherwise(state, state.config.on_prediction_shift, now, shift)
    if verdict is Verdict.INCONCLUSIVE:
        return _otherwise(state, state.config.on_inconclusive, now, reason)
    return _next_step(state, now, reason) if verdict is Verdict.ADVANCE else state


def _unready_counted(state: State, ready: bool, now: float) -> State:
    if not ready:
        return state if state.unready_since is not None else state.model_copy(update={"unready_since": now})
    # How long it was unready without an engine to see it is not known: being ready is never what rolls it back.
    spent = min(_unready_s(state, now), state.config.unready_grace_s)
    return state.model_copy(update={"unready_since": None, "unready_s": spent})


def _unready_s(state: State, now: float) -> float:
    return state.unready_s + (0.0 if state.unready_since is None else now - state.unready_since)


def _next_step(state: State, now: float, reason: str) -> State:
    following = state.step + 1
    if following == len(state.config.steps):
        return _promotion(state, now, reason)
    step = state.config.steps[following]
    entered = state.model_copy(
        update={
            "step": following,
            "weight": step.weight,
            "requests_at_entry": state.evidence.candidate.requests,
            "evidence": state.evidence.at_next_step(),
            "verdict": Verdict.HOLD,
        }
    )
    return _entered(entered, Phase.ANALYSING, now, reason)


def _promotion(state: State, now: float, reason: str) -> State:
    """All traffic goes to the candidate before stable changes.

    While a service of several parts changes its model, its transformer may meet a predictor of the other version.
    """
    stage = Stage.MOVE_MODEL if state.weight == 100 else Stage.SHIFT_TRAFFIC
    return _entered(state.model_copy(update={"stage": stage, "weight": 100}), Phase.PROMOTING, now, reason)


def _promoting(state: State, done: bool, now: float) -> State:
    if state.stage is None:
        return _entered(state, Phase.FAILED, now, "the stored promotion has no stage")
    spent = now - state.entered_at
    if state.stage in {Stage.SHIFT_TRAFFIC, Stage.DRAIN}:
        done = spent >= state.config.settle_s
    if not done:
        if spent <= state.config.ready_limit_s:
            return state
        reason = f"promotion stopped at {state.stage}: not done after {state.config.ready_limit_s:g} s"
        return _entered(state, Phase.FAILED, now, reason)
    following = _STAGES.index(state.stage) + 1
    if following == len(_STAGES):
        return _entered(state.model_copy(update={"stage": None}), Phase.PROMOTED, now, state.reason)
    stage = _STAGES[following]
    weight = 0 if stage is Stage.DRAIN else state.weight
    moved = state.model_copy(update={"stage": stage, "weight": weight, "entered_at": now})
    return moved.recorded(now, stage.value)


def _back(state: State, now: float, reason: str) -> State:
    return _entered(state.model_copy(update={"weight": 0, "verdict": Verdict.ROLLBACK}), Phase.ROLLED_BACK, now, reason)


def _otherwise(state: State, outcome: Outcome | None, now: float, reason: str) -> State:
    if outcome is Outcome.PAUSE:
        return _entered(state.model_copy(update={"verdict": Verdict.INCONCLUSIVE}), Phase.PAUSED, now, reason)
    return _back(state, now, reason)


def _entered(state: State, phase: Phase, now: float, reason: str) -> State:
    entered = state.model_copy(update={"phase": phase, "entered_at": now, "reason": reason})
    return entered.recorded(now, reason)


def _why_unready(observation: Observation | None) -> str:
    if observation is None:
        return "the services' metrics could not be read"
    return "stable was not ready" if observation.candidate.ready else "the candidate was not ready"


def _by(what: str, who: str) -> str:
    return f"{what} by {who}" if who else what
