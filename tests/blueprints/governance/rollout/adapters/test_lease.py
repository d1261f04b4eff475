from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from blueprints.governance.rollout.adapters.lease import KubernetesLease


def test_one_holds_it_until_it_gives_it_back(cluster):
    lease = KubernetesLease(cluster, "credit-risk")
    assert lease.holder() == ""
    assert lease.acquire("a")
    assert not lease.acquire("b")
    assert lease.acquire("a")
    lease.release("b")
    assert lease.holder() == "a"
    lease.release("a")
    assert lease.holder() == ""
    assert lease.acquire("b")


def test_one_that_is_not_renewed_expires(cluster, eventually):
    lease = KubernetesLease(cluster, "credit-risk", duration_s=1)
    assert lease.acquire("killed")
    assert not lease.acquire("next")
    eventually(lambda: lease.acquire("next"))
    assert not lease.acquire("killed")


def test_of_many_at_once_one_gets_it(cluster):
    lease = KubernetesLease(cluster, "credit-risk")
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lease.acquire, [f"engine-{number}" for number in range(8)])) == 1


@pytest.mark.parametrize(
    ("written", "holder"),
    [
        ("2999-01-01T00:00:00Z", "other"),
        ("2999-01-01T00:00:00.5+02:00", "other"),
        ("2999-01-01T00:00:00", "other"),
        ("2020-01-01T00:00:00Z", ""),
        ("yesterday", ""),
    ],
)
def test_a_time_that_another_client_wrote_is_read_and_one_that_nobody_can_read_has_expired(written, holder):
    lease = {"spec": {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": written}}
    there = SimpleNamespace(get=lambda *_: lease)
    assert KubernetesLease(there, "credit-risk").holder() == holder
