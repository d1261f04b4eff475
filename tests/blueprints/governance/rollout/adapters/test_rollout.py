"""Whole rollouts: engine and adapters on a real API server, pods that count, and something that acts as KServe."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from blueprints.governance.registry import RegisteredModel
from blueprints.governance.rollout import machine
from blueprints.governance.rollout.adapters.assembly import ServiceRollout
from blueprints.governance.rollout.adapters.cluster import (
    DEPLOYMENTS,
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    Cluster,
    ClusterError,
    Kind,
)
from blueprints.governance.rollout.adapters.http_route import candidate_weight
from blueprints.governance.rollout.adapters.inference_service import model_of
from blueprints.governance.rollout.adapters.lease import KubernetesLease
from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.engine import RolloutError, order

NEW = "pvc://models/credit-risk/0123456789ab"
ROOT = Path(__file__).parents[5]
ENGINE = Path(__file__).with_name("killed_engine.py")
QUICK = RolloutConfig.laptop().model_copy(
    update={"interval_s": 0.1, "settle_s": 0.1, "min_requests": 20, "ready_limit_s": 20.0, "unready_grace_s": 5.0}
)
FAST = QUICK.with_steps((20, 50), wait_s=0.1)


class Callers:
    """Requests by the route's weights; what the candidate answers may be changed."""

    def __init__(self, cluster: Cluster, stable, candidate) -> None:
        self.candidate = {"status": 200, "slower": 1.0, "share": 1.0}
        self._arms = stable, candidate
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        stable, candidate = self._arms
        while not self._stop.wait(0.02):
            weight = candidate_weight(self._cluster.require(HTTP_ROUTES, "credit-risk"), "credit-risk")
            share = max(1, weight // 5) if weight else 0
            bad = round(share * self.candidate["share"])
            for number in range(20):
                usual = 0.002 * random.lognormvariate(0, 1)
                if number >= share:
                    stable.answer(seconds=usual)
                elif number >= bad:
                    candidate.answer(seconds=usual)
                else:
                    candidate.answer(status=self.candidate["status"], seconds=usual * self.candidate["slower"])


@pytest.fixture
def callers(cluster, operator, pods, publish) -> Iterator[Callers]:
    publish("credit-risk-transformer", pods[0])
    publish("credit-risk-candidate-transformer", pods[1])
    callers = Callers(cluster, pods[0], pods[1])
    yield callers
    callers.stop()


class Registered:
    """A registry that knows the candidate."""

    def __init__(self) -> None:
        self.promoted: list[tuple[str, str]] = []

    def by_package_version(self, version):
        return RegisteredModel(name="credit-risk", number="2", package_version=version, run_id="", source="")

    def promote(self, model, *, by, reason):
        self.promoted.append((model.package_version, reason))


@pytest.fixture
def watched(cluster, monkeypatch) -> tuple[Cluster, set[tuple[str, str, str, str]]]:
    """A cluster, and API group, resource, name and verb of every call that is made to it by this object."""
    watched = Cluster(cluster._api, cluster.namespace)
    seen: set[tuple[str, str, str, str]] = set()
    call = watched._call

    def noting(method, path, *more, **options):
        parts = path.strip("/").split("/")
        group = "" if parts[0] == "api" else parts[1]
        resource, name = (*parts[parts.index("namespaces") + 2 :], "")[:2]
        verb = {"POST": "create", "PUT": "update", "GET": "get" if name else "list"}.get(method, method.lower())
        seen.add((group, resource, name, verb))
        return call(method, path, *more, **options)

    monkeypatch.setattr(watched, "_call", noting)
    return watched, seen


def role_rules() -> list[dict]:
    file = ROOT / "kustomize" / "components" / "rollout-engine" / "role.yaml"
    role = next(item for item in yaml.safe_load_all(file.read_text()) if item["kind"] == "Role")
    return role["rules"]


def permits(rule, group, resource, name, verb) -> bool:
    named = not rule.get("resourceNames") or name in rule["resourceNames"]
    return group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] and named


def is_promoted(cluster: Cluster) -> bool:
    stable = cluster.require(INFERENCE_SERVICES, "credit-risk")
    route = cluster.require(HTTP_ROUTES, "credit-risk")
    backends = [ref["name"] for rule in route["spec"]["rules"] for ref in rule["backendRefs"]]
    return (
        model_of(stable) == NEW
        and cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is None
        and backends == ["credit-risk-explainer", "credit-risk-transformer", "credit-risk-transformer"]
    )


@pytest.mark.usefixtures("callers")
def test_an_equal_candidate_is_promoted_and_the_champion_moves(watched):
    cluster, calls = watched
    registry = Registered()
    rollout = ServiceRollout.of(cluster, "credit-risk", registry=registry)
    rollout.release.prepare(NEW)  # as an earlier rollout would have left it
    rollout.start(NEW, FAST, by="alice")
    weights = []
    state = rollout.work(lambda now: weights.append(now.weight))
    assert state.phase == "promoted", state.reason
    assert [weight for weight, _ in itertools.groupby(weights)] == [20, 50, 100, 0]
    assert {call for call in calls if not any(permits(rule, *call) for rule in role_rules())} == set()
    assert is_promoted(cluster)
    ((version, reason),) = registry.promoted
    assert version == "0123456789ab"
    assert "error rate 0.0 %" in reason
    (ended,) = rollout.traffic.history()
    assert (ended.phase, ended.started_by, ended.candidate_model) == ("promoted", "alice", NEW)
    assert KubernetesLease(cluster, "credit-risk").holder() == ""


@pytest.mark.parametrize("fault", [{"status": 500, "share": 0.3}, {"slower": 8.0}])
def test_a_candidate_that_fails_or_is_slow_goes_back_and_stays_for_inspection(cluster, callers, fault):
    callers.candidate |= fault
    registry = Registered()
    rollout = ServiceRollout.of(cluster, "credit-risk", registry=registry)
    rollout.start(NEW, FAST, by="alice")
    state = rollout.work()
    assert state.phase == "rolled_back", state.reason
    assert candidate_weight(cluster.require(HTTP_ROUTES, "credit-risk"), "credit-risk") == 0
    assert cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is not None
    assert model_of(cluster.require(INFERENCE_SERVICES, "credit-risk")) == "pvc://models/credit-risk/champion"
    assert registry.promoted == []
    events = {event["reason"]: event for event in cluster.list(Kind("v1", "Event", "events"), {})}
    assert events["RolloutRolledBack"]["type"] == "Warning"
    assert state.reason in events["RolloutRolledBack"]["message"]


@pytest.mark.usefixtures("callers")
# Each of some twenty engines waits a second for the lease of the one that was killed before it.
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_engine_killed_at_every_transition_is_carried_on_to_the_right_end(cluster, kubeconfig, moment):
    rollout = ServiceRollout.of(cluster, "credit-risk", registry=None)
    rollout.start(NEW, FAST, by="alice")
    done = subprocess.run(
        [sys.executable, str(ENGINE), str(kubeconfig), moment],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_promoted(cluster)
    transitions = list(dict.fromkeys(done.stdout.split()))
    assert transitions[:3] == ["analysing/None/0", "analysing/None/1", "promoting/shift_traffic/1"]
    assert transitions[-1] == "promoted/None/1"
    assert len(transitions) >= 7


@pytest.mark.usefixtures("callers")
def test_orders_reach_an_engine_that_works_elsewhere(cluster, eventually):
    rollout = ServiceRollout.of(cluster, "credit-risk", registry=None)
    other = ServiceRollout.of(cluster, "credit-risk", registry=None)
    rollout.start(NEW, QUICK.with_steps((50,), wait_s=60), by="alice")
    ended = []
    thread = threading.Thread(target=lambda: ended.append(rollout.work()))
    thread.start()
    eventually(lambda: other.traffic.read().weight == 50)
    with pytest.raises(RolloutError, match="under way"):
        other.start("pvc://models/credit-risk/ffffffffffff", QUICK, by="bob")
    assert other.start(NEW, QUICK, by="bob").rollout.started_by == "alice"
    order(other.traffic, lambda state: machine.pause(state, time.time(), "bob"))
    assert other.traffic.read().state.phase == "paused"
    order(other.traffic, lambda state: machine.resume(state, time.time(), "bob"))
    order(other.traffic, lambda state: machine.promote(state, time.time(), "bob"))
    thread.join(20)
    assert [state.phase for state in ended] == ["promoted"]
    assert is_promoted(cluster)


@pytest.mark.usefixtures("callers")
def test_sigterm_gives_the_lease_back_and_leaves_the_rollout(cluster, kubeconfig, eventually):
    rollout = ServiceRollout.of(cluster, "credit-risk", registry=None)
    rollout.start(NEW, QUICK.with_steps((50,), wait_s=60), by="alice")
    script = (
        "import sys; from pathlib import Path\n"
        "from blueprints.governance.rollout.adapters.assembly import ServiceRollout\n"
        "from blueprints.governance.rollout.adapters.cluster import Cluster\n"
        "cluster = Cluster.connect('blueprints-local', kubeconfig=Path(sys.argv[1]))\n"
        "ServiceRollout.of(cluster, 'credit-risk', registry=None).work()\n"
    )
    engine = subprocess.Popen([sys.executable, "-c", script, str(kubeconfig)], cwd=ROOT)
    lease = KubernetesLease(cluster, "credit-risk")
    eventually(lambda: rollout.traffic.read().weight == 50, 30)
    assert str(engine.pid) in lease.holder()
    engine.send_signal(signal.SIGTERM)
    assert engine.wait(10) == 128 + signal.SIGTERM
    assert lease.holder() == ""
    assert rollout.traffic.read().weight == 50
    order(rollout.traffic, lambda state: machine.abort(state, time.time(), "alice"))
    assert rollout.traffic.read().weight == 0


def test_who_starts_second_does_not_touch_the_first_ones_candidate(cluster, monkeypatch):
    first, second = (ServiceRollout.of(cluster, "credit-risk", registry=None) for _ in range(2))
    read = second.traffic.read

    def overtaken():
        stored = read()
        monkeypatch.setattr(second.traffic, "read", read)
        first.start(NEW, QUICK, by="alice")
        return stored

    monkeypatch.setattr(second.traffic, "read", overtaken)
    with pytest.raises(RolloutError, match="under way"):
        second.start("pvc://models/credit-risk/ffffffffffff", QUICK, by="bob")
    assert model_of(cluster.require(INFERENCE_SERVICES, "credit-risk-candidate")) == NEW


@pytest.mark.usefixtures("callers")
@pytest.mark.parametrize("again", ["start", "resume"])
def test_a_start_that_was_killed_before_it_made_the_candidate_is_made_up_for(cluster, monkeypatch, again):
    def killed(_):
        raise KeyboardInterrupt

    rollout = ServiceRollout.of(cluster, "credit-risk", registry=None)
    with monkeypatch.context() as patched:
        patched.setattr(rollout.release, "prepare", killed)
        with pytest.raises(KeyboardInterrupt):
            rollout.start(NEW, FAST, by="alice")
    assert rollout.traffic.read().state.phase == "pending"
    assert cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is None
    if again == "start":
        rollout.start(NEW, FAST, by="alice")
        assert cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is not None
    else:
        assert rollout.work().phase == "promoted"


def test_a_candidate_that_the_cluster_refuses_leaves_no_rollout_under_way(cluster, monkeypatch):
    def refused(_):
        raise ClusterError("quota")

    rollout = ServiceRollout.of(cluster, "credit-risk", registry=None)
    monkeypatch.setattr(rollout.release, "prepare", refused)
    with pytest.raises(ClusterError, match="quota"):
        rollout.start(NEW, QUICK, by="alice")
    assert rollout.traffic.read().state.phase == "aborted"


def test_a_rollout_does_not_begin_before_the_candidates_own_deployments_are_there(
    cluster, callers, operator, eventually
):
    operator.broken.add("credit-risk-candidate")
    rollout = ServiceRollout.of(cluster, "credit-risk", registry=None)
    config = QUICK.model_copy(update={"ready_limit_s": 1.0}).with_steps((50,), wait_s=1)
    rollout.start(NEW, config, by="alice")
    state = rollout.work()
    assert state.phase == "rolled_back"
    assert "not ready" in state.reason
    assert all(line.weight == 0 for line in state.history)
    eventually(lambda: cluster.get(DEPLOYMENTS, "credit-risk-candidate-predictor") is not None)


def test_what_stable_serves_already_is_no_candidate(cluster):
    rollout = ServiceRollout.of(cluster, "credit-risk", registry=None)
    with pytest.raises(RolloutError, match="serves pvc://models/credit-risk/champion already"):
        rollout.start("pvc://models/credit-risk/champion", FAST, by="alice")
    assert cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is None
