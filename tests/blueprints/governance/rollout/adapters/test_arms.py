from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blueprints.governance.rollout.adapters.arms import ArmCounter, observation, summed
from blueprints.governance.rollout.adapters.samples import Reading
from blueprints.governance.rollout.observation import Counters, Histogram

# What may happen to one of three replicas between two looks.
EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["answers", "restarts", "goes", "comes", "is not read"])), max_size=40
)


def counted(requests: int, bounds=(1.0, 2.0)) -> Counters:
    latency = Histogram(bounds=bounds, counts=(requests, *(0,) * len(bounds)))
    return Counters(requests=requests, latency=latency)


@given(EVENTS)
def test_counters_never_fall_and_count_every_answer_that_was_seen_once(events):
    """Replicas restart, go, come back as new ones and are not read now and then."""
    arm, generation = ArmCounter(), [0, 0, 0]
    alive = {0: [5, 0.0], 1: [7, 0.0]}
    names = {0: "a-0", 1: "b-0"}
    expected, seen_requests = 0, 0
    pending: dict[int, int] = {}
    arm.add([names[one] for one in alive], {names[one]: Reading(counted(alive[one][0]), 0.0) for one in alive})
    for replica, event in events:
        unread = None
        if event == "answers" and replica in alive:
            alive[replica][0] += 3
            pending[replica] = pending.get(replica, 0) + 3
        elif event == "restarts" and replica in alive:
            pending[replica] = 0  # what nobody read is lost with the process
            alive[replica] = [0, alive[replica][1] + 1]
        elif event == "goes":
            alive.pop(replica, None)
            pending.pop(replica, None)
        elif event == "comes" and replica not in alive:
            generation[replica] += 1
            names[replica] = f"{'abc'[replica]}-{generation[replica]}"
            alive[replica] = [2, 0.0]
            pending[replica] = 2
        elif event == "is not read":
            unread = replica
        read = {names[one]: Reading(counted(state[0]), state[1]) for one, state in alive.items() if one != unread}
        arm.add([names[one] for one in alive], read)
        for one in alive:
            if one != unread:
                expected += pending.pop(one, 0)
        assert arm.counters.requests == expected
        assert arm.counters.latency.total == expected
        assert arm.counters.requests >= seen_requests
        seen_requests = arm.counters.requests


def test_a_replica_that_was_there_but_unread_at_first_does_not_bring_its_past():
    arm = ArmCounter()
    arm.add(["a", "b"], {"a": Reading(counted(10))})
    arm.add(["a", "b"], {"a": Reading(counted(11)), "b": Reading(counted(1000))})
    assert arm.counters.requests == 1


def test_arms_are_compared_on_the_bounds_that_they_share():
    seen = observation(
        counted(3, (1.0, 2.0, 4.0)), counted(2, (2.0, 4.0, 8.0)), stable_ready=True, candidate_ready=False
    )
    assert seen.stable.counters.latency.bounds == seen.candidate.counters.latency.bounds == (2.0, 4.0)
    assert (seen.stable.ready, seen.candidate.ready) == (True, False)


def test_an_arm_that_was_never_read_has_zeros_on_the_others_bounds():
    seen = observation(counted(3), Counters(), stable_ready=True, candidate_ready=False)
    assert seen.candidate.counters.latency == Histogram(bounds=(1.0, 2.0), counts=(0, 0, 0))
    assert seen.stable.counters.latency.total == 3


def test_nothing_sums_to_nothing():
    assert summed([]) == Counters()


def test_a_new_process_of_a_known_replica_is_a_restart_and_a_new_replica_is_none():
    arm = ArmCounter()
    arm.add(["a", "b"], {"a": Reading(counted(5), 1.0), "b": Reading(counted(5), 1.0)})
    arm.add(["a", "b"], {"a": Reading(counted(1), 2.0)})
    arm.add(
        ["a", "b", "c"], {"a": Reading(counted(2), 2.0), "b": Reading(counted(6), 1.0), "c": Reading(counted(1), 9.0)}
    )
    assert (arm.counters.restarts, arm.counters.requests) == (1, 4)
    arm.add(["a"], {"a": Reading(counted(3), 3.0)})
    assert arm.counters.restarts == 2
