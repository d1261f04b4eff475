from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.governance.rollout.adapters.cluster import EVENTS, HTTP_ROUTES, Cluster, UnreachableError
from blueprints.governance.rollout.adapters.http_route import HttpRouteTraffic, candidate_weight, weighted_rules
from blueprints.governance.rollout.adapters.records import STATE
from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.ports import NO_WEIGHT, SupersededError
from blueprints.governance.rollout.state import Phase, Rollout, Stage, State, StateError

ROLLOUT = Rollout(id="r1", service="credit-risk", stable_model="pvc://m/c/old", candidate_model="pvc://m/c/new")


def state(weight: int, phase: Phase = Phase.ANALYSING, **more) -> State:
    return State.start(ROLLOUT, RolloutConfig(), 1.0).model_copy(update={"weight": weight, "phase": phase, **more})


def backends(cluster):
    rules = cluster.require(HTTP_ROUTES, "credit-risk")["spec"]["rules"]
    return [{ref["name"]: ref["weight"] for ref in rule["backendRefs"]} for rule in rules]


def test_one_write_changes_every_rule_and_the_state(cluster):
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    stored = traffic.read()
    assert (stored.state, stored.weight) == (None, 0)
    version = traffic.write(state(25), stored.version)
    assert backends(cluster) == [
        {"credit-risk-explainer": 75, "credit-risk-candidate-explainer": 25},
        {"credit-risk-transformer": 75, "credit-risk-candidate-transformer": 25},
        {"credit-risk-transformer": 75, "credit-risk-candidate-transformer": 25},
    ]
    assert traffic.read() == (state(25), 25, version)
    (event,) = cluster.list(EVENTS, {})
    assert event["reason"] == "RolloutAnalysing"
    assert event["message"].startswith("pvc://m/c/new at 25 %")


def test_a_write_on_what_has_changed_since_changes_nothing(cluster):
    first, second = HttpRouteTraffic(cluster, "credit-risk"), HttpRouteTraffic(cluster, "credit-risk")
    version = first.read().version
    second.write(state(5), second.read().version)
    with pytest.raises(SupersededError):
        first.write(state(50), version)
    with pytest.raises(SupersededError):
        HttpRouteTraffic(cluster, "credit-risk").write(state(50), version)
    assert second.read().weight == 5


def test_a_route_that_is_gone_supersedes_a_write(cluster):
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    version = traffic.read().version
    cluster.delete(HTTP_ROUTES, cluster.require(HTTP_ROUTES, "credit-risk"))
    with pytest.raises(SupersededError):
        traffic.write(state(50), version)


def test_weights_that_someone_edited_are_seen(cluster):
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    traffic.write(state(25), traffic.read().version)
    route = cluster.require(HTTP_ROUTES, "credit-risk")
    cluster.merge(HTTP_ROUTES, "credit-risk", {"spec": {"rules": weighted_rules(route, "credit-risk", 60)}})
    assert traffic.read().weight == 60
    assert traffic.read().state == state(25)


def test_rules_that_differ_have_no_weight_and_a_rule_of_the_candidate_alone_does_not_count(cluster):
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    traffic.write(state(25), traffic.read().version)
    rules = cluster.require(HTTP_ROUTES, "credit-risk")["spec"]["rules"]
    rules[1]["backendRefs"] = [{"name": "credit-risk-transformer", "port": 80}]
    cluster.merge(HTTP_ROUTES, "credit-risk", {"spec": {"rules": rules}})
    stored = traffic.read()
    assert stored.weight == NO_WEIGHT
    traffic.write(state(25), stored.version)
    assert traffic.read().weight == 25
    rules = cluster.require(HTTP_ROUTES, "credit-risk")["spec"]["rules"]
    preview = {"backendRefs": [{"name": "credit-risk-candidate-transformer", "port": 80, "weight": 1}]}
    assert candidate_weight({"spec": {"rules": [*rules, preview]}}, "credit-risk") == 25


def test_a_state_that_cannot_be_read_is_discarded_and_stable_has_all_traffic(cluster):
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    traffic.write(state(25), traffic.read().version)
    cluster.merge(HTTP_ROUTES, "credit-risk", {"metadata": {"annotations": {STATE: '{"version":9}'}}})
    traffic.discard()
    assert traffic.read()[:2] == (None, 0)
    assert backends(cluster)[0] == {"credit-risk-explainer": 100, "credit-risk-candidate-explainer": 0}


def test_the_candidates_backends_go_before_the_candidate_does(cluster):
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    promoting = {"phase": Phase.PROMOTING}
    traffic.write(state(0, stage=Stage.DRAIN, **promoting), traffic.read().version)
    assert [list(rule.values()) for rule in backends(cluster)] == [[100, 0], [100, 0], [100, 0]]
    for later in (state(0, stage=Stage.REMOVE_CANDIDATE, **promoting), state(0, Phase.PROMOTED)):
        traffic.write(later, traffic.read().version)
        transformer = {"credit-risk-transformer": 100}
        assert backends(cluster) == [{"credit-risk-explainer": 100}, transformer, transformer]


def test_a_rolled_back_candidate_keeps_its_backends_without_traffic(cluster):
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    traffic.write(state(0, Phase.ROLLED_BACK, reason="errors"), traffic.read().version)
    assert backends(cluster)[0]["credit-risk-candidate-explainer"] == 0
    (ended,) = traffic.history()
    assert (ended.id, ended.phase, ended.reason) == ("r1", "rolled_back", "errors")


def test_history_keeps_each_rollout_once_and_the_last_twenty(cluster):
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    for number in range(23):
        over = state(0, Phase.ABORTED, rollout=ROLLOUT.model_copy(update={"id": f"r{number}"}))
        for _ in range(2):
            traffic.write(over, traffic.read().version)
    assert [one.id for one in traffic.history()] == [f"r{number}" for number in range(3, 23)]


def test_a_state_that_cannot_be_read_is_said_so(cluster):
    cluster.merge(HTTP_ROUTES, "credit-risk", {"metadata": {"annotations": {STATE: "{}"}}})
    with pytest.raises(StateError, match="abort"):
        HttpRouteTraffic(cluster, "credit-risk").read()


def test_a_cluster_that_does_not_answer_is_unavailable_and_not_a_failure(tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "users: [{name: c, user: {token: t}}]\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n"
    )
    with pytest.raises(UnreachableError):
        HttpRouteTraffic(Cluster.connect("n", kubeconfig=kubeconfig), "credit-risk").read()


@given(weights=st.lists(st.integers(0, 100), min_size=1, max_size=6), mirror=st.booleans())
def test_whatever_was_written_before_all_rules_have_the_last_weight(weights, mirror):
    others = [{"name": "shadow", "port": 80}] if mirror else []
    names = ("transformer", "explainer")
    rules = [{"backendRefs": [{"name": f"s-{role}", "port": 80, "weight": 1}, *others]} for role in names]
    route = {"spec": {"rules": [*rules, {"filters": []}]}}
    for weight in weights:
        route = {"spec": {"rules": weighted_rules(route, "s", weight)}}
        assert candidate_weight(route, "s") == weight
    for rule, role in zip(route["spec"]["rules"], names, strict=False):
        refs = {ref["name"]: ref for ref in rule["backendRefs"]}
        assert refs[f"s-{role}"]["weight"] + refs[f"s-candidate-{role}"]["weight"] == 100
        assert len(rule["backendRefs"]) == 2 + len(others)
        assert all(ref in rule["backendRefs"] for ref in others)
    assert weighted_rules(route, "s", 0, with_candidate=False) == [
        {"backendRefs": [{"name": f"s-{role}", "port": 80, "weight": 100}, *others]} for role in names
    ] + [{"filters": []}]
