from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.controllers.rollout_plan import Limits, SetCount, kept, recreate, rolling, scaled

amounts = st.integers(0, 6) | st.integers(0, 100).map(lambda share: f"{share}%")
replicas = st.integers(0, 12)


@st.composite
def sets(draw, most=4):
    """Old sets and the new one, with more or less of their pods available."""
    made = []
    for number in range(draw(st.integers(0, most)) + 1):
        wanted = draw(st.integers(0, 8))
        made.append(SetCount(f"s{number}", wanted, draw(st.integers(0, wanted)), wanted))
    return made


@pytest.mark.parametrize(
    ("wanted", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", Limits(3, 2)),
        (1, "25%", "25%", Limits(1, 0)),
        (3, 1, 0, Limits(1, 0)),
        (4, 0, 0, Limits(0, 1)),
        (2, 0, "10%", Limits(0, 1)),
        (2, 1, 5, Limits(1, 2)),
    ],
)
def test_shares_are_rounded_as_kubernetes_does(wanted, surge, unavailable, expected):
    assert Limits.of(wanted, surge, unavailable) == expected


@given(replicas, amounts, amounts, sets())
def test_a_step_never_goes_above_the_surge_nor_takes_pods_that_are_needed(wanted, surge, unavailable, given_sets):
    *old, new = given_sets
    limits = Limits.of(wanted, surge, unavailable)
    step = rolling(wanted, limits, new, old)
    before = sum(each.wanted for each in given_sets)
    assert sum(step.values()) <= max(before, wanted + limits.surge)
    assert min(step.values()) >= 0
    assert step[new.name] <= wanted
    # Those that are not available go first.
    still = sum(min(each.available, step[each.name]) for each in given_sets)
    available = sum(each.available for each in given_sets)
    if new.wanted <= wanted:
        assert still >= min(available, wanted - limits.unavailable)


@given(replicas, amounts, amounts, sets(), st.data())
def test_a_rolling_update_ends_whenever_pods_become_ready(wanted, surge, unavailable, now, data):
    limits = Limits.of(wanted, surge, unavailable)
    least = min(wanted - limits.unavailable, sum(each.available for each in now))
    for _ in range(200):
        *old, new = now
        step = rolling(wanted, limits, new, old)
        now = [replace(each, wanted=step[each.name], available=min(each.available, step[each.name])) for each in now]
        available = sum(each.available for each in now)
        assert available >= least or new.wanted > wanted
        least = max(least, min(available, wanted - limits.unavailable))
        if new.wanted == wanted == sum(each.wanted for each in now):
            break
        # Some pod of the new set becomes ready, in whatever order.
        unready = [number for number, each in enumerate(now) if each.available < each.wanted]
        for number in unready[-1:] + data.draw(
            st.lists(st.sampled_from(unready), max_size=2) if unready else st.just([])
        ):
            more = min(now[number].wanted, now[number].available + 1)
            now[number] = replace(now[number], available=more)
    assert [each.wanted for each in now] == [0] * (len(now) - 1) + [wanted]


def test_a_rollout_whose_new_pods_never_become_ready_keeps_the_old_ones():
    old, new = SetCount("old", 4, 4, 4), SetCount("new", 0, 0, 0)
    limits = Limits.of(4, 1, 0)
    for _ in range(10):
        step = rolling(4, limits, new, [old])
        old, new = replace(old, wanted=step["old"]), replace(new, wanted=step["new"], pods=step["new"])
    assert (old.wanted, new.wanted) == (4, 1)


@given(replicas, sets())
def test_recreating_waits_until_the_last_old_pod_has_ended(wanted, given_sets):
    *old, new = given_sets
    new = replace(new, wanted=0)
    step = recreate(wanted, new, old)
    assert all(step[each.name] == 0 for each in old)
    assert step[new.name] == (0 if any(each.pods for each in old) else wanted)


@given(replicas, sets(most=0))
def test_a_paused_deployment_still_scales(wanted, given_sets):
    assert scaled(wanted, given_sets) == {"s0": wanted}


def test_while_paused_in_a_rollout_only_the_newest_set_scales():
    middle = [SetCount("old", 3, 3, 3), SetCount("new", 2, 2, 2)]
    assert scaled(7, middle) == {"old": 3, "new": 4}
    assert scaled(1, middle) == {"old": 3, "new": 0}
    assert scaled(3, []) == {}


@given(st.dictionaries(st.text(), st.integers(0, 100)), st.integers(0, 10))
def test_the_last_revisions_are_kept(old, limit):
    stay = kept(old, limit)
    assert len(stay) == min(limit, len(old))
    assert all(old[gone] <= old[name] for name in stay for gone in old.keys() - stay)
