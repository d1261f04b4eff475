"""The state machine: from every state, and whatever is seen, to a legal next one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.governance.rollout.config import Outcome, RolloutConfig
from blueprints.governance.rollout.machine import CommandError, Seen, abort, next_state, pause, promote, resume
from blueprints.governance.rollout.observation import Arm, Counters, Histogram, Observation
from blueprints.governance.rollout.state import Phase, Rollout, Stage, State, StateError, Verdict

CONFIG = RolloutConfig.laptop()
ROLLOUT = Rollout(id="r1", service="credit-risk", stable_model="s3://old", candidate_model="s3://new", started_by="me")
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25)


def counters(requests, errors=0, slow=0, high=0, refusals=0, restarts=0):
    """Requests of which some fail, some take 0.1 to 0.25 s instead of 10 to 25 ms, some score above 0.5."""
    return Counters(
        requests=requests,
        errors=errors,
        refusals=refusals,
        restarts=restarts,
        latency=Histogram(bounds=BOUNDS, counts=(0, requests - slow, 0, 0, slow, 0)),
        predictions=Histogram(bounds=(0.5,), counts=(requests - high, high)),
    )


class Service:
    """Two arms and a clock; every `tick` is one second of requests and one look of the machine."""

    def __init__(self, config=CONFIG):
        self.state = State.start(ROLLOUT, config, 0.0)
        self.now = 0.0
        self.totals = [counters(0), counters(0)]

    def tick(self, stable=None, candidate=None, ready=True, stable_ready=True, seconds=1.0, seen=True, done=True):
        weight = self.state.weight
        self.now += seconds
        new = (stable or counters(200 - 2 * weight), candidate or counters(2 * weight))
        self.totals = [total + more for total, more in zip(self.totals, new, strict=True)]
        observation = Observation(
            stable=Arm(counters=self.totals[0], ready=stable_ready), candidate=Arm(counters=self.totals[1], ready=ready)
        )
        self.state = next_state(self.state, Seen(observation if seen else None, done), self.now)
        return self.state

    def until(self, wanted, limit=400, **kwargs):
        for _ in range(limit):
            if wanted(self.tick(**kwargs)):
                return self.state
        raise AssertionError(f"never happened: {self.state.phase} {self.state.step}, {self.state.reason}")


def at_weight(weight, config=CONFIG):
    service = Service(config)
    service.until(lambda state: state.weight == weight)
    return service


def test_a_good_candidate_goes_up_the_steps_and_is_promoted_in_the_right_order():
    service = Service()
    service.until(lambda state: state.phase.over)
    lines = [(line.phase, line.weight) for line in service.state.history]
    assert lines == [
        (Phase.PENDING, 0),
        *[(Phase.ANALYSING, weight) for weight in (5, 25, 50, 100)],
        *[(Phase.PROMOTING, 100)] * 2,
        *[(Phase.PROMOTING, 0)] * 3,
        (Phase.PROMOTED, 0),
    ]
    assert [line.reason for line in service.state.history[-5:-1]] == [
        "await_stable",
        "drain",
        "remove_candidate",
        "register",
    ]
    assert all(b.at - a.at >= 10 for a, b in pairwise(service.state.history[1:6]))
    assert "error rate 0.0 %" in service.state.reason


def test_nothing_starts_before_both_arms_are_ready_and_what_came_before_does_not_count():
    service = Service()
    service.totals = [counters(10_000, 5_000), counters(300, 300)]
    service.tick(ready=False)
    service.tick(stable_ready=False)
    service.tick(seen=False)
    assert (service.state.phase, service.state.weight) == (Phase.PENDING, 0)
    assert service.tick().weight == 5
    assert service.state.evidence.candidate.requests == service.state.evidence.stable.errors == 0


@pytest.mark.parametrize(
    ("kwargs", "reason"), [({"ready": False}, "the candidate was not ready"), ({"seen": False}, "metrics")]
)
def test_a_candidate_that_never_gets_ready_is_given_up_without_traffic(kwargs, reason):
    service = Service()
    service.until(lambda state: state.phase is Phase.ROLLED_BACK, **kwargs)
    assert reason in service.state.reason
    assert {line.weight for line in service.state.history} == {0}
    assert CONFIG.ready_limit_s < service.now <= CONFIG.ready_limit_s + 2


def test_errors_take_all_traffic_away_at_the_look_that_shows_them():
    service = at_weight(25)
    began = service.now
    service.until(lambda state: state.phase is Phase.ROLLED_BACK, candidate=counters(50, 10))
    assert (service.state.weight, service.state.verdict) == (0, Verdict.ROLLBACK)
    assert service.now - began <= 4
    assert "error rate" in service.state.reason
    assert "more than 1 points higher" in service.state.reason


def test_slow_answers_do_too_and_slow_answers_of_both_do_not():
    service = at_weight(25)
    service.until(lambda state: state.phase is Phase.ROLLED_BACK, candidate=counters(50, slow=45))
    assert "p50 latency" in service.state.reason or "p99 latency" in service.state.reason
    service = at_weight(25)
    for _ in range(5):
        service.tick(stable=counters(150, slow=135), candidate=counters(50, slow=45))
    assert service.state.phase is Phase.ANALYSING


def test_a_slow_tail_is_found_where_the_median_is_the_same():
    service = at_weight(25)
    service.until(
        lambda state: state.phase is Phase.ROLLED_BACK,
        stable=counters(150, slow=1),
        candidate=counters(50, slow=4).model_copy(
            update={"latency": Histogram(bounds=BOUNDS, counts=(0, 46, 0, 0, 0, 4))}
        ),
    )
    assert "p99 latency" in service.state.reason


def test_a_candidate_that_refuses_what_stable_answers_goes_back():
    service = at_weight(25)
    service.until(lambda state: state.phase is Phase.ROLLED_BACK, candidate=counters(50, refusals=50))
    assert "of requests refused (4xx) against 0.0 % by stable" in service.state.reason
    service = at_weight(25)
    for _ in range(10):
        service.tick(stable=counters(150, refusals=75), candidate=counters(50, refusals=25))
    assert service.state.phase is Phase.ANALYSING


def test_errors_of_both_arms_are_no_reason_against_the_candidate():
    service = at_weight(25)
    for _ in range(10):
        service.tick(stable=counters(150, 60), candidate=counters(50, 20))
    assert service.state.phase is Phase.ANALYSING


def test_the_last_comparison_is_left_only_when_the_margin_is_shown():
    config = CONFIG.model_copy(update={"error_margin": 0.02, "min_requests": 1})
    service = Service(config)
    service.until(lambda state: state.weight == 50, stable=counters(30), candidate=counters(2))
    for _ in range(20):
        service.tick(stable=counters(3), candidate=counters(3))
    assert service.state.weight == 50
    assert "not shown yet" in service.state.reason
    service.until(lambda state: state.weight == 100)


def test_a_candidate_alone_is_judged_by_what_stable_was():
    service = at_weight(100)
    service.until(
        lambda state: state.phase is Phase.ROLLED_BACK, limit=8, stable=counters(0), candidate=counters(50, 10)
    )
    assert service.state.weight == 0
    service = at_weight(100)
    for _ in range(8):
        service.tick(stable=counters(0), candidate=counters(50, 1, slow=50))
    assert service.state.phase is Phase.ANALYSING


def test_without_requests_the_step_ends_inconclusive_as_configured():
    service = at_weight(5)
    service.until(lambda state: state.phase is Phase.ROLLED_BACK, stable=counters(100), candidate=counters(0))
    assert "no verdict within 300 s" in service.state.reason
    assert "answered 0 of at least 50" in service.state.reason
    service = at_weight(5, CONFIG.model_copy(update={"on_inconclusive": Outcome.PAUSE}))
    service.until(lambda state: state.phase is Phase.PAUSED, stable=counters(0), candidate=counters(0))
    assert service.state.weight == 5


def test_unreadable_metrics_hold_the_rollout():
    service = at_weight(25)
    for _ in range(30):
        service.tick(seen=False)
    assert (service.state.phase, service.state.weight) == (Phase.ANALYSING, 25)
    assert "cannot be read" in service.state.reason


def test_a_candidate_may_be_unready_for_the_grace_and_no_longer():
    service = at_weight(25)
    for _ in range(11):
        service.tick(ready=False)
    assert service.state.phase is Phase.ANALYSING
    service.until(lambda state: state.phase is Phase.ROLLED_BACK, limit=1, ready=False)
    assert "not ready for more than 10 s" in service.state.reason


def test_spells_of_being_unready_add_up_over_the_steps():
    service = at_weight(25)
    for second in range(30):
        service.tick(ready=second % 10 >= 4)
    assert (service.state.phase, service.state.weight) == (Phase.ROLLED_BACK, 0)
    assert "not ready for more than 10 s" in service.state.reason
    service = at_weight(25)
    for _ in range(8):
        service.tick(ready=False)
    service.tick()
    service.state = resume(pause(service.state, service.now), service.now)
    for _ in range(8):
        service.tick(ready=False)
    assert service.state.phase is Phase.ANALYSING


def test_being_unready_while_no_engine_looked_does_not_roll_a_ready_candidate_back():
    service = at_weight(25)
    service.tick(ready=False)
    service.tick(seconds=60)
    assert service.state.weight > 0


def test_a_candidate_that_keeps_restarting_goes_back_though_its_answers_are_good():
    service = at_weight(25)
    service.tick(candidate=counters(50, restarts=1))
    assert service.state.phase is Phase.ANALYSING
    service.tick(candidate=counters(50, restarts=1))
    assert (service.state.phase, service.state.weight) == (Phase.ROLLED_BACK, 0)
    assert "restarted 2 times, stable's 0 times" in service.state.reason


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40))
def test_restarts_are_no_reason_against_a_candidate_that_restarts_no_more_than_stable(restarts):
    service = at_weight(25)
    before = 0, 0
    for stable, more in restarts:
        before = before[0] + stable, min(before[1] + more, before[0] + stable)
        service.tick(
            stable=counters(150, restarts=before[0] - service.totals[0].restarts),
            candidate=counters(50, restarts=before[1] - service.totals[1].restarts),
        )
    assert service.state.phase is not Phase.ROLLED_BACK


def test_other_predictions_wait_for_a_person_who_may_accept_them():
    service = at_weight(25)
    service.until(lambda state: state.phase is Phase.PAUSED, candidate=counters(50, high=40))
    assert "predictions differ" in service.state.reason
    assert service.state.weight == 25
    service.state = resume(service.state, service.now, "anna")
    service.until(lambda state: state.weight == 50, candidate=counters(50, high=40))
    assert any("resumed by anna" in line.reason for line in service.state.history)
    service = at_weight(25, CONFIG.model_copy(update={"on_prediction_shift": Outcome.ROLLBACK}))
    service.until(lambda state: state.phase is Phase.ROLLED_BACK, candidate=counters(50, high=40))
    service = at_weight(25, CONFIG.model_copy(update={"on_prediction_shift": None}))
    service.until(lambda state: state.weight == 50, candidate=counters(50, high=40))


def test_a_counter_that_fell_is_counted_anew_and_its_past_is_not_counted_twice():
    service = at_weight(25)
    before = service.state.evidence.candidate.requests
    service.totals[1] = counters(7, 7)
    service.tick()
    assert service.state.evidence.candidate.requests == before
    service.tick()
    assert service.state.evidence.candidate.requests == before + 50
    assert service.state.evidence.candidate.errors == 0


def test_other_buckets_begin_the_comparison_of_latency_anew():
    service = at_weight(25)
    other = [total.model_copy(update={"latency": Histogram(bounds=(0.05,), counts=(9, 0))}) for total in service.totals]
    seen = Seen(Observation(stable=Arm(counters=other[0]), candidate=Arm(counters=other[1])))
    for _ in range(2):
        service.state = next_state(service.state, seen, service.now)
    assert service.state.evidence.stable.latency == Histogram(bounds=(0.05,), counts=(0, 0))
    assert not any(name.startswith("p50") for name in service.state.evidence.wealth)


def test_a_paused_rollout_stays_where_it_is_but_not_with_a_bad_candidate():
    service = at_weight(25)
    service.state = pause(service.state, service.now, "anna")
    for _ in range(40):
        service.tick()
    assert (service.state.phase, service.state.weight, service.state.reason) == (Phase.PAUSED, 25, "paused by anna")
    service.until(lambda state: state.phase is Phase.ROLLED_BACK, limit=5, candidate=counters(50, 10))


def test_a_person_may_promote_at_once_and_abort_at_once():
    service = at_weight(25)
    service.state = promote(service.state, service.now, "anna")
    promoting = service.state
    assert (promoting.phase, promoting.stage, promoting.weight) == (Phase.PROMOTING, Stage.SHIFT_TRAFFIC, 100)
    with pytest.raises(CommandError, match="let the promotion finish"):
        abort(service.state, service.now)
    service.until(lambda state: state.phase is Phase.PROMOTED)
    service = at_weight(25)
    service.state = abort(service.state, service.now)
    assert (service.state.phase, service.state.weight) == (Phase.ABORTED, 0)
    for command in (pause, resume, promote, abort):
        with pytest.raises(CommandError):
            command(service.state, service.now)


def test_a_candidate_without_traffic_cannot_be_promoted_paused_or_resumed_but_aborted():
    state = Service().state
    for command in (pause, resume, promote):
        with pytest.raises(CommandError):
            command(state, 1.0)
    assert abort(state, 1.0).phase is Phase.ABORTED


def test_a_promotion_that_gets_stuck_fails_with_the_traffic_where_it_is_and_can_be_tried_again():
    service = at_weight(100)
    service.until(lambda state: state.phase is Phase.PROMOTING)
    service.tick()
    service.until(lambda state: state.phase is Phase.FAILED, done=False)
    assert (service.state.weight, service.state.stage) == (100, Stage.AWAIT_STABLE)
    assert "await_stable" in service.state.reason
    service.state = promote(service.state, service.now)
    service.until(lambda state: state.phase is Phase.PROMOTED)


def test_the_state_survives_storing_and_stays_small():
    service = Service()
    service.until(lambda state: state.phase.over)
    text = service.state.dumps()
    assert State.loads(text) == service.state
    assert len(text) < 8_000
    with pytest.raises(StateError, match="format 2"):
        State.loads(text.replace('"version":1', '"version":2'))
    for broken in ("", "{}", text[:-1], text.replace('"phase":"promoted"', '"phase":"lost"')):
        with pytest.raises(StateError, match="abort it"):
            State.loads(broken)


arm = st.tuples(st.integers(0, 60), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(
    lambda drawn: counters(drawn[0], *(round(drawn[0] * share) for share in drawn[1:]))
)
looks = st.lists(
    st.tuples(arm, arm, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0.0, 1.0, 7.0, 200.0])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=120, deadline=None)
@given(looks, st.lists(st.tuples(st.integers(0, 39), st.sampled_from([pause, resume, promote, abort])), max_size=4))
def test_whatever_is_seen_the_next_state_is_legal_and_can_be_stored(seen, commands):
    service = Service()
    steps = (0, *(step.weight for step in CONFIG.steps))
    for index, (stable, candidate, ready, observed, done, seconds) in enumerate(seen):
        for at, command in commands:
            if at == index:
                try:
                    service.state = command(service.state, service.now)
                except CommandError:
                    continue
        before = service.state
        after = service.tick(stable, candidate, ready=ready, seen=observed, done=done, seconds=seconds)
        assert State.loads(after.dumps()) == after
        assert after.weight in steps
        if before.phase.over:
            assert after == before
        if after.phase in (Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED, Phase.PENDING):
            assert after.weight == 0
        if after.weight > before.weight:
            assert steps.index(after.weight) == steps.index(before.weight) + 1
        if after.phase is Phase.PROMOTING and before.phase is Phase.ANALYSING:
            assert before.weight == 100
