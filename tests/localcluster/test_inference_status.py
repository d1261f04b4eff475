import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.inference_status import (
    Condition,
    Failure,
    Observed,
    Part,
    component_condition,
    ingress_condition,
    pod_failure,
    status_of,
    with_times,
)

NOW, BEFORE = "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"


def deployed(*, generation=1, observed=1, revision="3", **conditions):
    """A Deployment with conditions written as `Available=("True", "Reason")`."""
    told = [
        {"type": kind, "status": status, "reason": reason, "message": f"{kind} {reason}."}
        for kind, (status, reason) in conditions.items()
    ]
    return {
        "metadata": {
            "name": "shop-predictor",
            "generation": generation,
            "annotations": {"deployment.kubernetes.io/revision": revision},
        },
        "status": {"observedGeneration": observed, "conditions": told},
    }


UP = {"Available": ("True", "MinimumReplicasAvailable"), "Progressing": ("True", "NewReplicaSetAvailable")}


def pod(name="p", *, ready=False, state=None, last=None, created="2026", **condition):
    told = {"type": "Ready", "status": "True" if ready else "False", **condition}
    container = {"name": "kserve-container", "state": state or {"running": {}}, "lastState": last or {}}
    return {
        "metadata": {"name": name, "creationTimestamp": created},
        "status": {"conditions": [told], "containerStatuses": [container]},
    }


def route(name="shop", *, services=("shop-predictor",), hostnames=("shop.localhost",), kind="HTTPRoute", **conditions):
    parents = [
        {"conditions": [{"type": key, "status": status, "message": "why"} for key, status in conditions.items()]}
    ]
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "hostnames": list(hostnames),
            "parentRefs": [{"name": "gate", "namespace": "kserve"}],
            "rules": [{"backendRefs": [{"name": service, "port": 80}]} for service in services],
        },
        "status": {"parents": parents if conditions else []},
    }


ACCEPTED = {"Accepted": "True", "ResolvedRefs": "True"}


def service(*roles, status=None):
    metadata = {"name": "shop", "namespace": "shop", "generation": 7}
    return {"metadata": metadata, "spec": {role: {} for role in roles or ("predictor",)}, "status": status or {}}


def observed(*, parts=None, roles=("predictor",), port=8080, status=None, **more):
    gateway = {"spec": {"listeners": [{"name": "http", "protocol": "HTTP", "port": port}]}}
    return Observed(
        service=service(*roles, status=status),
        parts=[Part(role, deployed(**UP)) for role in roles] if parts is None else parts,
        gateways={("kserve", "gate"): gateway},
        **more,
    )


def shown(status):
    return {condition["type"]: condition["status"] for condition in status["conditions"]}


@pytest.mark.parametrize(
    ("deployment", "status", "reason"),
    [
        (None, "Unknown", "DeploymentMissing"),
        (deployed(generation=2, **UP), "Unknown", "DeploymentChanged"),
        (deployed(), "False", ""),
        (deployed(**UP), "True", ""),
        (deployed(Available=("False", "Too few")), "False", "Too few"),
        (deployed(**UP | {"Progressing": ("True", "ReplicaSetUpdated")}), "Unknown", "ReplicaSetUpdated"),
        (deployed(**UP | {"Progressing": ("False", "ProgressDeadlineExceeded")}), "False", "ProgressDeadlineExceeded"),
        (deployed(**UP | {"Available": ("False", "Too few")}), "False", "Too few"),
        (deployed(**UP, ReplicaFailure=("True", "FailedCreate")), "False", "FailedCreate"),
    ],
)
def test_a_component_is_as_ready_as_kserve_reads_it_from_its_deployment(deployment, status, reason):
    condition = component_condition(Part("predictor", deployment))
    assert (condition.type, condition.status, condition.reason) == ("PredictorReady", status, reason)


def test_a_component_that_is_not_ready_says_which_pod_and_why():
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting"}}
    ended = {"terminated": {"exitCode": 3, "message": "model package refused"}}
    pods = [pod("well", ready=True), pod("ill", state=waiting, last=ended)]
    condition = component_condition(Part("predictor", deployed(Available=("False", "Few")), pods=pods))
    assert condition.message == "Available Few; pod ill: CrashLoopBackOff: back-off restarting: model package refused"


def test_the_newest_failing_pod_counts_and_one_that_is_only_not_ready_comes_last():
    crash = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    old, new = pod("old", state=crash, created="2025"), pod("new", state=crash, created="2026")
    assert pod_failure([old, new]).location == "new"
    waiting = pod("waits", created="2027", reason="Probe", message="answers 503")
    assert pod_failure([old, waiting]).location == "old"
    assert pod_failure([waiting]) == Failure("RuntimeUnhealthy", "Probe: answers 503", "waits")
    assert pod_failure([pod(ready=True)]) is None
    assert pod_failure([pod(ready=True, state={"waiting": {"reason": "ContainerCreating"}})]) is None


@pytest.mark.parametrize(
    ("routes", "status", "said"),
    [
        ([], "True", "NoRoute"),
        ([route()], "Unknown", "waits for the gateway to take HTTPRoute shop"),
        ([route(**ACCEPTED)], "True", ""),
        (
            [route(**ACCEPTED), route("b", Accepted="True", ResolvedRefs="False")],
            "False",
            "HTTPRoute b: ResolvedRefs: why",
        ),
        ([route(Accepted="False")], "False", "Accepted: why"),
        ([route(kind="GRPCRoute", Accepted="False")], "False", "GRPCRoute shop"),
    ],
)
def test_ingress_is_ready_when_the_gateway_has_taken_every_route(routes, status, said):
    condition = ingress_condition(routes)
    assert condition.status == status
    assert said in f"{condition.reason} {condition.message}"


def test_routes_of_other_services_do_not_count():
    status = status_of(observed(routes=[route(services=["other-predictor"], Accepted="False")]), NOW)
    assert shown(status) == {"PredictorReady": "True", "IngressReady": "True", "Ready": "True"}
    assert status["observedGeneration"] == 7


def test_a_service_behind_a_gateway_is_ready_once_the_gateway_has_followed():
    told = status_of(observed(routes=[route(**ACCEPTED)], gateway_behind=True), NOW)
    assert (shown(told)["IngressReady"], shown(told)["Ready"]) == ("Unknown", "Unknown")
    assert shown(status_of(observed(gateway_behind=True), NOW))["Ready"] == "True"


def test_ready_is_the_worst_of_all_and_says_which():
    parts = [Part("predictor", deployed(**UP)), Part("transformer", deployed(Available=("False", "Few")))]
    status = status_of(observed(parts=parts, roles=("predictor", "transformer"), routes=[route()]), NOW)
    assert shown(status)["IngressReady"] == "Unknown"
    ready = status["conditions"][-1]
    assert (ready["type"], ready["status"]) == ("Ready", "False")
    assert ready["message"].startswith("TransformerReady: ")


def test_the_url_is_an_accepted_routes_host_with_the_gateways_port():
    inside = "http://shop-predictor.shop.svc.cluster.local"
    assert status_of(observed(routes=[route(**ACCEPTED)]), NOW)["url"] == "http://shop.localhost:8080"
    assert status_of(observed(routes=[route(**ACCEPTED)], port=80), NOW)["url"] == "http://shop.localhost"
    assert status_of(observed(routes=[route(Accepted="False")]), NOW)["url"] == inside
    assert status_of(observed(routes=[route(hostnames=["*.localhost"], **ACCEPTED)]), NOW)["url"] == inside
    assert status_of(observed(), NOW)["address"] == {"url": inside}


def test_a_route_to_where_requests_enter_comes_before_one_to_the_explainer():
    routes = [
        route("a", services=["shop-explainer"], hostnames=["explain.localhost"], **ACCEPTED),
        route("b", services=["shop-transformer"], hostnames=["shop.localhost"], **ACCEPTED),
    ]
    status = status_of(observed(roles=("predictor", "transformer", "explainer"), routes=routes), NOW)
    assert status["url"] == "http://shop.localhost:8080"


def test_components_tell_where_they_answer_and_their_revision():
    front = {
        "metadata": {"name": "shop-predictor", "namespace": "shop"},
        "spec": {
            "clusterIP": "127.9.128.1",
            "ports": [
                {"name": "http", "port": 80, "targetPort": 8080},
                {"name": "grpc", "port": 8081, "targetPort": 8081, "appProtocol": "kubernetes.io/h2c"},
            ],
        },
    }
    status = status_of(observed(parts=[Part("predictor", deployed(**UP), front)]), NOW)
    assert status["components"]["predictor"] == {
        "url": "http://shop-predictor.shop.svc.cluster.local",
        "restUrl": "http://127.9.128.1:8080",
        "grpcUrl": "grpc://127.9.128.1:8081",
        "latestCreatedRevision": "shop-predictor-00003",
        "latestReadyRevision": "shop-predictor-00003",
    }


CRASHED = pod(
    state={"waiting": {"reason": "CrashLoopBackOff"}}, last={"terminated": {"exitCode": 1, "message": "refused"}}
)


@pytest.mark.parametrize(
    ("part", "failure", "transition", "states", "reason"),
    [
        (Part("predictor"), None, "InProgress", ("Pending", "Pending"), None),
        (Part("predictor", pods=[pod()]), None, "InProgress", ("Loading", "Loading"), None),
        (Part("predictor", deployed(**UP), pods=[pod(ready=True)]), None, "UpToDate", ("Loaded", "Loaded"), None),
        (
            Part("predictor", pods=[CRASHED]),
            None,
            "BlockedByFailedLoad",
            ("FailedToLoad", "FailedToLoad"),
            "ModelLoadFailed",
        ),
        (
            Part("predictor", pods=[CRASHED, pod("old", ready=True)]),
            None,
            "BlockedByFailedLoad",
            ("Loaded", "FailedToLoad"),
            "ModelLoadFailed",
        ),
        (
            Part("predictor"),
            Failure("NoSupportingRuntime", "no runtime"),
            "InvalidSpec",
            ("FailedToLoad", "FailedToLoad"),
            "NoSupportingRuntime",
        ),
    ],
)
def test_the_model_status_follows_the_predictors_pods(part, failure, transition, states, reason):
    status = status_of(observed(parts=[part], failure=failure), NOW)["modelStatus"]
    assert status["transitionStatus"] == transition
    assert (status["states"]["activeModelState"], status["states"]["targetModelState"]) == states
    assert status.get("lastFailureInfo", {}).get("reason") == reason


def test_a_failure_tells_pod_message_and_exit_code():
    status = status_of(observed(parts=[Part("predictor", pods=[CRASHED])]), NOW)["modelStatus"]
    assert status["lastFailureInfo"] == {
        "reason": "ModelLoadFailed",
        "location": "p",
        "message": "CrashLoopBackOff: refused",
        "exitCode": 1,
    }
    assert status["copies"] == {"totalCopies": 0, "failedCopies": 1}


def test_a_stopped_service_says_so_and_has_no_url():
    status = status_of(observed(stopped=True), NOW)
    assert shown(status) == {"PredictorReady": "False", "IngressReady": "False", "Stopped": "True", "Ready": "False"}
    assert "url" not in status


conditions = st.lists(
    st.builds(Condition, st.sampled_from(["A", "B", "C"]), st.sampled_from(["True", "False", "Unknown"]), st.text()),
    unique_by=lambda condition: condition.type,
)


@given(conditions, conditions)
def test_a_conditions_time_changes_exactly_when_its_status_does(before, now):
    old = with_times(before, [], BEFORE)
    statuses = {condition["type"]: condition["status"] for condition in old}
    for condition in with_times(now, old, NOW):
        same = statuses.get(condition["type"]) == condition["status"]
        assert condition["lastTransitionTime"] == (BEFORE if same else NOW)


@given(conditions)
def test_a_status_that_says_the_same_again_is_the_same(now):
    once = with_times(now, [], BEFORE)
    assert with_times(now, once, NOW) == once
