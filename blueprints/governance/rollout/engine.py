"""The loop that works at a rollout: read, look, decide, write. It keeps nothing in memory from one look to the next."""

from __future__ import annotations

import logging
from collections.abc import Callable

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.machine import Seen, next_state
from blueprints.governance.rollout.ports import (
    Clock,
    Lease,
    Metrics,
    MetricsUnavailableError,
    Release,
    SupersededError,
    Traffic,
    UnavailableError,
)
from blueprints.governance.rollout.state import Phase, Rollout, Stage, State

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 20
# Between two stages of a promotion, and after a write that another one was faster with.
_SOON_S = 0.2


class RolloutError(Exception):
    """What was asked of a rollout cannot be done."""


def start(traffic: Traffic, rollout: Rollout, config: RolloutConfig, now: float) -> State:
    """Stores a new rollout, which an engine then works at.

    Raises:
        RolloutError: Another one is under way, or its promotion failed and the candidate still answers for stable.
        SupersededError: Someone else wrote at the same time.
    """
    stored = traffic.read()
    if stored.state is not None and not stored.state.phase.over:
        raise RolloutError(
            f"rollout {stored.state.rollout.id} of {stored.state.rollout.service} is under way ({stored.state.phase}): "
            "wait for its end, or abort it"
        )
    if stored.state is not None and stored.state.phase is Phase.FAILED and stored.weight != 0:
        service = stored.state.rollout.service
        raise RolloutError(
            f"the last promotion of {service} failed and the candidate still answers, as stable may be unable to: "
            f"try it again (blueprints rollout promote {service}), or deploy stable anew "
            f"(blueprints deploy {service} --force)"
        )
    state = State.start(rollout, config, now)
    traffic.write(state, stored.version)
    return state


def order(traffic: Traffic, command: Callable[[State], State]) -> State:
    """Changes the stored state by a command of `machine` (pause, resume, promote, abort), beside a working engine.

    Args:
        traffic: Where the state is stored.
        command: From the present state to the new one.

    Raises:
        RolloutError: There is no rollout, or others keep writing.
        CommandError: The rollout cannot follow the command.
    """
    for _ in range(_ATTEMPTS):
        stored = traffic.read()
        if stored.state is None:
            raise RolloutError("there is no rollout; start one first")
        state = command(stored.state)
        try:
            traffic.write(state, stored.version)
        except SupersededError:
            continue
        return state
    raise RolloutError("others keep writing to the route: try again")


class Engine:
    """Works at one service's rollout until it is over.

    Args:
        traffic: Weights and state.
        metrics: What the arms answered.
        release: Steps of the promotion.
        lease: Keeps a second engine waiting.
        clock: Time.
        holder: This engine's name in the lease, unique per process.
        on_change: Called with the state after each write, to show it.
    """

    def __init__(
        self,
        traffic: Traffic,
        metrics: Metrics,
        release: Release,
        lease: Lease,
        clock: Clock,
        holder: str,
        on_change: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._traffic = traffic
        self._metrics = metrics
        self._release = release
        self._lease = lease
        self._clock = clock
        self._holder = holder
        self._on_change = on_change

    def run(self) -> State:
        """Works, or waits while another engine does, until the rollout is over; returns its last state.

        Raises:
            RolloutError: There is no rollout.
            StateError: The stored state cannot be read.
        """
        try:
            while True:
                began = self._clock.now()
                state, pause = self._tried()
                if state is not None and state.phase.over:
                    return state
                self._clock.sleep(max(0.0, pause - (self._clock.now() - began)))
        finally:
            try:
                self._lease.release(self._holder)
            except UnavailableError as error:
                _LOG.warning("the lease could not be given back, it expires: %s", error)

    def look(self) -> State:
        """One look: at the most one transition and one write.

        Raises:
            RolloutError: There is no rollout.
            SupersededError: Someone else was faster with a write; nothing was written, look again.
            UnavailableError: A port does not answer for now.
        """
        # Before the read: what is read under a lease is not older than what an earlier holder wrote.
        mine = self._lease.acquire(self._holder)
        stored = self._traffic.read()
        state = stored.state
        if state is None:
            raise RolloutError("there is no rollout; start one first")
        if state.phase.over or not mine:
            return state
        after = next_state(state, self._seen(state), self._clock.now())
        if after != state or stored.weight != after.weight:
            self._traffic.write(after, stored.version)
            self._on_change(after)
        return after

    def _tried(self) -> tuple[State | None, float]:
        """One look that outlives what passes by itself; the state, and how long to wait for the next look."""
        try:
            state = self.look()
        except SupersededError:
            return None, _SOON_S
        except UnavailableError as error:
            _LOG.warning("looking again: %s", error)
            return None, 1.0
        if state.phase is Phase.PROMOTING:
            return state, _SOON_S
        return state, state.config.interval_s

    def _seen(self, state: State) -> Seen:
        if state.phase is Phase.PROMOTING:
            return Seen(stage_done=self._effect(state))
        try:
            return Seen(self._metrics.observe())
        except MetricsUnavailableError as error:
            _LOG.warning("no metrics at this look: %s", error)
            return Seen()

    def _effect(self, state: State) -> bool:
        """Does what the promotion's stage asks for. The state is written after it, so a crash between repeats it."""
        match state.stage:
            case Stage.MOVE_MODEL:
                self._release.move_model(state.rollout)
            case Stage.AWAIT_STABLE:
                return self._release.stable_ready(state.rollout)
            case Stage.REMOVE_CANDIDATE:
                self._release.remove_candidate(state.rollout)
            case Stage.REGISTER:
                self._release.register(state.rollout, state.reason)
            case _:
                return False
        return True
