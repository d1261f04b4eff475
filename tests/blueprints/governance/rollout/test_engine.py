"""The engine: killed before or after any call of a port it resumes to the right end, and two of them do not fight."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.engine import Engine, RolloutError, order, start
from blueprints.governance.rollout.machine import abort, pause
from blueprints.governance.rollout.observation import Arm, Counters, Histogram, Observation
from blueprints.governance.rollout.ports import MetricsUnavailableError, Stored, SupersededError, UnavailableError
from blueprints.governance.rollout.state import Phase, Rollout, Stage, State

CONFIG = RolloutConfig.laptop().with_steps((5, 25, 50, 100), wait_s=2)
ROLLOUT = Rollout(id="r1", service="credit-risk", stable_model="s3://old", candidate_model="s3://new")
LEASE_S = 5.0


class Killed(BaseException):
    """The process is gone at this point; nothing that the engine catches."""


class World:
    """A cluster with two services under 400 requests a second, behind every port of the engine.

    `before` and `after` are called with the port's name around each call, so that a test can kill the engine there, or
    let another one work.
    """

    def __init__(self, bad_from=None):
        self.time = 1000.0
        self.version = 1
        self.text = None
        self.weight = 0
        self.bad_from = bad_from
        self.counters = [Counters(latency=_latency(0))] * 2
        self.stable_model, self.candidate_model = ROLLOUT.stable_model, ROLLOUT.candidate_model
        self.moved_at = None
        self.alias = self.stable_model
        self.log = []
        self.writes = []
        self.holder, self.expires = "", 0.0
        self.lease_holds = True
        self.before = self.after = lambda port: None
        start(self, ROLLOUT, CONFIG, self.now())

    def _port(self, name, call):
        self.before(name)
        result = call()
        self.after(name)
        return result

    def read(self):
        return self._port("read", lambda: Stored(self.text and State.loads(self.text), self.weight, str(self.version)))

    def write(self, state, version):
        def call():
            if version != str(self.version):
                raise SupersededError
            self.text, self.weight, self.version = state.dumps(), state.weight, self.version + 1
            self.writes.append(state)
            return str(self.version)

        return self._port("write", call)

    def observe(self):
        return self._port(
            "observe",
            lambda: Observation(stable=Arm(counters=self.counters[0]), candidate=Arm(counters=self.counters[1])),
        )

    def move_model(self, rollout):
        def call():
            assert rollout.candidate_model in (self.candidate_model, self.stable_model)
            assert self.weight == 100  # nobody meets stable while its parts change
            if self.stable_model != rollout.candidate_model:
                self.stable_model, self.moved_at = rollout.candidate_model, self.time

        self._port("move_model", call)

    def stable_ready(self, rollout):
        return self._port(
            "stable_ready", lambda: self.stable_model == rollout.candidate_model and self.time > self.moved_at + 0.5
        )

    def remove_candidate(self, rollout):
        def call():
            assert self.weight == 0
            assert self.stable_model == rollout.candidate_model
            self.candidate_model = None

        self._port("remove_candidate", call)

    def register(self, rollout, reason):
        def call():
            assert self.candidate_model is None
            if self.alias != rollout.candidate_model:
                self.alias = rollout.candidate_model
                self.log.append(reason)

        self._port("register", call)

    def acquire(self, holder):
        def call():
            if self.lease_holds and self.holder not in ("", holder) and self.time < self.expires:
                return False
            self.holder, self.expires = holder, self.time + LEASE_S
            return True

        return self._port("acquire", call)

    def release(self, holder):
        if self.holder == holder:
            self.holder = ""

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds
        to_candidate = round(400 * seconds * self.weight / 100)
        bad = self.bad_from is not None and self.weight >= self.bad_from
        for index, (requests, share) in enumerate(
            ((round(400 * seconds) - to_candidate, 0), (to_candidate, 0.2 * bad))
        ):
            self.counters[index] += Counters(
                requests=requests, errors=round(requests * share), latency=_latency(requests)
            )

    @property
    def state(self):
        return State.loads(self.text)

    def engine(self, holder="one"):
        return Engine(self, self, self, self, self, holder)

    def assert_promoted(self):
        assert self.state.phase is Phase.PROMOTED
        assert (self.weight, self.stable_model, self.candidate_model) == (0, ROLLOUT.candidate_model, None)
        assert self.alias == ROLLOUT.candidate_model
        assert len(self.log) == 1
        assert "error rate 0.0 %" in self.log[0]
        assert [stage for stage in _changes(state.stage for state in self.writes) if stage] == list(Stage)[1:]
        assert _changes(state.weight for state in self.writes) == [0, 5, 25, 50, 100, 0]

    def assert_rolled_back(self):
        assert self.state.phase is Phase.ROLLED_BACK
        assert (self.weight, self.stable_model) == (0, ROLLOUT.stable_model)
        assert (self.candidate_model, self.alias, self.log) == (ROLLOUT.candidate_model, ROLLOUT.stable_model, [])
        assert "more than 1 points higher" in self.state.reason
        assert _changes(state.weight for state in self.writes) == [0, 5, 25, 0]


def _latency(requests):
    return Histogram(bounds=(0.01, 0.1), counts=(requests, 0, 0))


def _changes(values):
    values = list(values)
    return values[:1] + [after for before, after in pairwise(values) if after != before]


def _calls(world):
    """All calls of ports of an undisturbed run."""
    calls = []
    world.before = calls.append
    world.engine().run()
    return calls


def _run_with_kills(world, kills):
    """Runs engines one after another; each is killed at the next of the given (call, before or after) points."""
    count = 0

    def point(where):
        def check(_):
            nonlocal count
            count += where == "before"
            if (count, where) in kills:
                kills.discard((count, where))
                raise Killed

        return check

    world.before, world.after = point("before"), point("after")
    for life in range(1000):
        try:
            world.engine(f"engine {life}").run()
        except Killed:
            # As killed processes do, it does not say goodbye: a successor waits for the lease to expire.
            world.holder, world.expires = "the killed one", world.time + LEASE_S
            continue
        return
    raise AssertionError("never ended")


@pytest.mark.parametrize("bad_from", [None, 25])
def test_killed_before_or_after_any_call_of_a_port_it_resumes_to_the_right_end(bad_from):
    calls = _calls(World(bad_from))
    assert {"read", "write", "observe", "acquire"} <= set(calls)
    assert bad_from or {"move_model", "stable_ready", "remove_candidate", "register"} <= set(calls)
    for call in range(1, len(calls) + 1):
        for where in ("before", "after"):
            world = World(bad_from)
            _run_with_kills(world, {(call, where)})
            (world.assert_promoted if bad_from is None else world.assert_rolled_back)()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([None, 25]),
    st.sets(st.tuples(st.integers(1, 150), st.sampled_from(["before", "after"])), max_size=12),
)
def test_killed_many_times_it_resumes_to_the_right_end(bad_from, kills):
    world = World(bad_from)
    _run_with_kills(world, kills)
    (world.assert_promoted if bad_from is None else world.assert_rolled_back)()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([None, 25]), st.booleans(), st.lists(st.integers(0, 3), max_size=150))
def test_two_engines_end_as_one_does_even_where_the_lease_fails(bad_from, lease_holds, others):
    """While the first engine is in a call, the second one works for some looks: it was stalled, or slow."""
    world = World(bad_from)
    world.lease_holds = lease_holds
    second = world.engine("two")
    working = False

    def other_works(_):
        nonlocal working
        if working or not others:
            return
        working = True
        try:
            for _ in range(others.pop()):
                second.look()
                world.sleep(0.3)
        finally:
            working = False

    world.before = other_works
    world.engine("one").run()
    (world.assert_promoted if bad_from is None else world.assert_rolled_back)()


def test_a_second_engine_writes_nothing_while_the_first_has_the_lease():
    world = World()
    world.engine("one").look()
    written = world.version
    assert world.engine("two").look().phase is Phase.ANALYSING
    world.sleep(1)
    world.engine("two").look()
    assert world.version == written
    world.sleep(LEASE_S)
    world.engine("two").look()
    assert world.version == written + 1


def test_a_weight_that_someone_changed_is_put_right():
    world = World()
    engine = world.engine()
    engine.look()
    world.weight = 80
    engine.look()
    assert world.weight == 5


def test_a_look_that_was_overtaken_writes_nothing_and_the_engine_looks_again():
    world = World()
    engine = world.engine()

    def overtake(port):
        if port == "observe":
            world.version += 1

    world.after = overtake
    with pytest.raises(SupersededError):
        engine.look()
    assert len(world.writes) == 1
    overtaken = 5

    def overtake_a_little(port):
        nonlocal overtaken
        if port == "observe" and overtaken:
            overtaken -= 1
            world.version += 1

    world.after = overtake_a_little
    engine.run()
    world.assert_promoted()


@pytest.mark.parametrize("port", ["read", "write", "observe", "acquire", "move_model", "stable_ready", "register"])
def test_a_port_that_does_not_answer_for_a_while_only_takes_time(port):
    world = World()
    failures = 4

    def fail(name):
        nonlocal failures
        if name == port and failures:
            failures -= 1
            raise (MetricsUnavailableError if port == "observe" else UnavailableError)("connection refused")

    world.before = fail
    world.engine().run()
    assert failures == 0
    world.assert_promoted()


def test_the_weight_is_zero_at_the_very_look_that_shows_the_candidate_to_be_bad():
    world = World(bad_from=25)
    world.engine().run()
    bad = [state for state in world.writes if state.weight == 25]
    assert world.writes[-1].phase is Phase.ROLLED_BACK
    assert world.writes[-1].entered_at - bad[0].entered_at <= 4


def test_a_rollout_under_way_is_not_replaced_and_one_that_is_over_is():
    world = World()
    with pytest.raises(RolloutError, match="r1 of credit-risk is under way"):
        start(world, ROLLOUT, CONFIG, world.now())
    world.engine().run()
    world.weight = 0
    assert start(world, ROLLOUT, CONFIG, world.now()).phase is Phase.PENDING


def test_a_failed_promotion_keeps_its_traffic_until_a_person_has_put_it_right():
    world = World()
    world.stable_ready = lambda _: False
    world.engine().run()
    assert (world.state.phase, world.weight) == (Phase.FAILED, 100)
    with pytest.raises(RolloutError, match="rollout promote credit-risk"):
        start(world, ROLLOUT, CONFIG, world.now())
    assert world.weight == 100
    world.weight = 0
    assert start(world, ROLLOUT, CONFIG, world.now()).phase is Phase.PENDING


def test_an_order_reaches_a_working_engine_and_outlives_its_writes():
    world = World()
    engine = world.engine()
    for _ in range(3):
        engine.look()
        world.sleep(1)
    reads = 0

    def engine_is_faster(port):
        nonlocal reads
        if port == "write" and not reads:
            reads = 1
            engine.look()
            world.sleep(1)
            engine.look()

    world.before = engine_is_faster
    order(world, lambda state: pause(state, world.now(), "anna"))
    weight = world.weight
    assert world.state.phase is Phase.PAUSED
    for _ in range(10):
        engine.look()
        world.sleep(1)
    assert (world.state.phase, world.weight) == (Phase.PAUSED, weight)
    order(world, lambda state: abort(state, world.now(), "anna"))
    assert engine.run().phase is Phase.ABORTED
    assert (world.weight, world.holder) == (0, "")


def test_without_a_rollout_it_says_so():
    world = World()
    world.text = None
    with pytest.raises(RolloutError, match="start one first"):
        world.engine().run()
    with pytest.raises(RolloutError, match="start one first"):
        order(world, lambda state: state)
