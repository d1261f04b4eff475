import contextlib
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcluster.api.errors import ApiError
from localcluster.api.managed_fields import encoded, fields_of, managers_of
from localcluster.api.merge_schema import merge_schema
from localcluster.api.resources import DEPLOYMENTS, HTTP_ROUTES, INFERENCE_SERVICES, SERVICES
from localcluster.api.server_side_apply import apply, interleaved, record_update

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SCHEMA = merge_schema(DEPLOYMENTS)


def deployment(*, labels=None, containers=None, **spec):
    item = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    if labels is not None:
        item["metadata"]["labels"] = labels
    if containers is not None:
        spec["template"] = {"spec": {"containers": containers}}
    return item


def applied(live, wanted, manager, *, force=False, at="now", resource=DEPLOYMENTS, subresource=""):
    return apply(live, wanted, resource, manager=manager, force=force, at=at, subresource=subresource)


def owned(item):
    """Readable leaves by manager."""
    found = {}
    for entry in item["metadata"].get("managedFields", ()):
        found[entry["manager"], entry["operation"]] = entry["fieldsV1"]
    return found


def content(item):
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}


def containers_of(item):
    return item["spec"]["template"]["spec"]["containers"]


NAMES = st.sampled_from("abc")
CONTAINER = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "image": NAMES,
        "args": st.lists(NAMES, min_size=1, max_size=2),
        "env": st.lists(
            st.fixed_dictionaries({"name": NAMES}, optional={"value": NAMES}),
            min_size=1,
            max_size=2,
            unique_by=lambda item: item["name"],
        ),
        "ports": st.lists(
            st.fixed_dictionaries({"containerPort": st.integers(1, 3)}, optional={"name": NAMES}),
            min_size=1,
            max_size=2,
            unique_by=lambda item: item["containerPort"],
        ),
        "resources": st.fixed_dictionaries({}, optional={"limits": st.dictionaries(NAMES, NAMES, max_size=2)}),
    },
)
CONFIGS = st.builds(
    lambda spec, labels, containers: deployment(labels=labels, containers=containers, **spec),
    st.fixed_dictionaries({}, optional={"replicas": st.integers(1, 3), "paused": st.booleans()}),
    st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=2),
    st.none() | st.lists(CONTAINER, min_size=1, max_size=2, unique_by=lambda item: item["name"]),
)
MANAGERS = st.sampled_from(("alice", "bob", "carol"))
HISTORIES = st.lists(st.tuples(MANAGERS, CONFIGS, st.sampled_from(("apply", "force", "update"))), max_size=5)


def lived(history):
    """An object with a history of writes; what is refused is left out."""
    live = None
    for manager, config, how in history:
        if how == "update":
            after = {**config, "metadata": {**config["metadata"]}}
            live = record_update(live, after, DEPLOYMENTS, manager=manager, at="then")
        else:
            with contextlib.suppress(ApiError):
                live = applied(live, config, manager, force=how == "force", at="then")
    return live


@settings(max_examples=30, deadline=None)
@given(HISTORIES, MANAGERS, CONFIGS)
def test_what_is_applied_is_there_and_is_owned(history, manager, config):
    made = applied(lived(history), config, manager, force=True)
    wanted, there = fields_of(config, SCHEMA), fields_of(made, SCHEMA)
    assert {path: there.values.get(path) for path in wanted.own} == {path: wanted.values[path] for path in wanted.own}
    mine = [entry.fields for who, entry in managers_of(made).items() if (who.name, who.operation) == (manager, "Apply")]
    assert mine == ([wanted.own] if wanted.own else [])


@settings(max_examples=30, deadline=None)
@given(HISTORIES, MANAGERS, CONFIGS)
def test_applying_the_same_twice_changes_nothing(history, manager, config):
    once = applied(lived(history), config, manager, force=True, at="now")
    assert applied(once, config, manager, at="later") == once


@settings(max_examples=30, deadline=None)
@given(HISTORIES)
def test_every_leaf_has_an_owner_and_every_owned_field_is_there(history):
    live = lived(history)
    if live is None:
        return
    there = fields_of(live, SCHEMA)
    everybodys = frozenset().union(*(entry.fields for entry in managers_of(live).values()))
    assert everybodys <= there.values.keys()
    leaves = there.own - {path[:-1] for path in there.values}
    # An item that its owner gave up and another still uses keeps its key; what an update emptied was there before.
    assert all(is_key(path) or is_empty(live, path) for path in leaves - everybodys)


def is_key(path):
    """Whether a field tells an item of a list apart from the others."""
    return len(path) > 1 and path[-2][0] == "k" and path[-1][2:] in json.loads(path[-2][2:])


def is_empty(item, path):
    for element in path:
        kind, _, text = element.partition(":")
        if kind == "f":
            item = item[text]
        else:
            item = next(each for each in item if json.loads(text).items() <= {"protocol": "TCP", **each}.items())
    return item in ({}, [])


@settings(max_examples=30, deadline=None)
@given(HISTORIES, MANAGERS, CONFIGS)
def test_what_its_only_owner_drops_goes_away_and_nothing_else_does(history, manager, config):
    live = lived(history)
    made = applied(live, config, manager, force=True)
    emptied = applied(made, {**deployment(), "spec": {}}, manager, force=True)
    before, after = fields_of(made, SCHEMA), fields_of(emptied, SCHEMA)
    others = frozenset().union(*(entry.fields for who, entry in managers_of(emptied).items()))
    kept = {path[:depth] for path in others for depth in range(1, len(path) + 1)}
    for path in fields_of(config, SCHEMA).own - kept:
        # The key of an item that others still use stays.
        assert path not in after.values or (is_key(path) and path[:-1] in kept)
    assert {path: after.values.get(path) for path in others} == {path: before.values[path] for path in others}


@settings(max_examples=30, deadline=None)
@given(CONFIGS, CONFIGS)
def test_managers_of_disjoint_fields_never_conflict(mine, yours):
    left, right = fields_of(mine, SCHEMA), fields_of(yours, SCHEMA)
    shared = left.own & right.own
    if any(left.values[path] != right.values[path] for path in shared):
        return
    made = applied(applied(None, mine, "alice"), yours, "bob")
    # And either may repeat itself.
    assert applied(applied(made, mine, "alice"), yours, "bob") == made
    # Without the one, what the other wanted is left; who applied last had a say in the order of items.
    alone = fields_of(applied(made, deployment(), "bob"), SCHEMA)
    assert alone.values == fields_of(applied(None, mine, "alice"), SCHEMA).values


@settings(max_examples=30, deadline=None)
@given(CONFIGS, CONFIGS)
def test_a_field_of_another_is_refused_and_taken_only_by_force(mine, yours):
    live = applied(None, mine, "alice")
    left, right = fields_of(mine, SCHEMA), fields_of(yours, SCHEMA)
    contested = {path for path in left.own & right.own if left.values[path] != right.values[path]}
    if not contested:
        applied(live, yours, "bob")
        return
    with pytest.raises(ApiError) as caught:
        applied(live, yours, "bob")
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    assert len(caught.value.causes) == len(contested)
    taken = {who.name: entry.fields for who, entry in managers_of(applied(live, yours, "bob", force=True)).items()}
    assert contested <= taken["bob"]
    assert not contested & taken.get("alice", frozenset())


@settings(max_examples=30, deadline=None)
@given(HISTORIES, MANAGERS, CONFIGS)
def test_nothing_that_is_given_is_changed_or_shared(history, manager, config):
    live = lived(history)
    before = copy.deepcopy((live, config))
    made = applied(live, config, manager, force=True)
    made["metadata"]["labels"] = "scribble"
    made["spec"]["scribble"] = {}
    if "template" in made["spec"]:
        made["spec"]["template"]["spec"]["containers"].append({})
    assert (live, config) == before


@settings(max_examples=30, deadline=None)
@given(CONFIGS)
def test_fields_survive_their_encoding(config):
    live = applied(None, config, "alice")
    assert [entry.fields for entry in managers_of(live).values()] == [
        fields for fields in [fields_of(config, SCHEMA).own] if fields
    ]
    json.dumps(encoded(fields_of(config, SCHEMA).own))


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | NAMES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("name", "env", "ports", "containerPort", "a")), inner, max_size=3)
    ),
)


@settings(max_examples=100, deadline=None)
@given(SHAPES, SHAPES, SHAPES)
def test_anything_can_be_applied_and_is_checked_later(first, second, fields):
    live = applied(None, deployment(containers=first, labels=fields), "alice")
    live["metadata"]["managedFields"][0]["fieldsV1"] = {"f:spec": fields}
    with contextlib.suppress(ApiError):
        made = applied(live, deployment(containers=second), "bob", force=True)
        record_update(made, live, DEPLOYMENTS, manager="carol", at="now")


def test_fields_are_written_as_kubernetes_writes_them():
    live = applied(
        None,
        deployment(
            labels={"app": "web"},
            replicas=2,
            containers=[{"name": "web", "args": ["-v"], "ports": [{"containerPort": 80}]}],
        ),
        "alice",
        at="2026-01-01T00:00:00Z",
    )
    port = 'k:{"containerPort":80,"protocol":"TCP"}'
    container = {".": {}, "f:name": {}, "f:args": {}, "f:ports": {port: {".": {}, "f:containerPort": {}}}}
    assert live["metadata"]["managedFields"] == [
        {
            "manager": "alice",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': container}}},
                },
            },
        }
    ]


def test_a_conflict_says_what_kubectl_users_know():
    live = applied(None, deployment(replicas=2), "alice")
    with pytest.raises(ApiError) as caught:
        applied(live, deployment(replicas=3), "bob")
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "alice": .spec.replicas'
    (cause,) = caught.value.causes
    assert (cause.reason, cause.message, cause.field) == (
        "FieldManagerConflict",
        'conflict with "alice"',
        ".spec.replicas",
    )


def test_conflicts_are_told_by_manager():
    live = applied(None, deployment(containers=[{"name": "web", "image": "web:1"}]), "alice")
    scaled = {**live, "spec": {**live["spec"], "replicas": 5}}
    live = record_update(live, scaled, DEPLOYMENTS, manager="kubectl-scale", at="now", subresource="scale")
    with pytest.raises(ApiError) as caught:
        applied(live, deployment(replicas=3, containers=[{"name": "web", "image": "web:2"}]), "bob")
    assert caught.value.message == (
        "Apply failed with 2 conflicts: "
        'conflicts with "alice":\n- .spec.template.spec.containers[name="web"].image\n'
        'conflicts with "kubectl-scale" with subresource "scale" using apps/v1:\n- .spec.replicas'
    )


def test_two_managers_share_a_list_item_by_item():
    live = applied(None, deployment(containers=[{"name": "web", "image": "web:1"}]), "alice")
    live = applied(live, deployment(containers=[{"name": "log", "image": "log:1"}]), "bob")
    assert [each["name"] for each in containers_of(live)] == ["web", "log"]
    live = applied(live, deployment(), "bob")
    assert containers_of(live) == [{"name": "web", "image": "web:1"}]


def test_an_item_that_another_uses_keeps_its_key():
    live = applied(None, deployment(containers=[{"name": "web", "image": "web:1", "tty": True}]), "alice")
    after = copy.deepcopy(live)
    containers_of(after)[0]["image"] = "web:2"
    live = record_update(live, after, DEPLOYMENTS, manager="kubectl-set", at="now")
    live = applied(live, deployment(), "alice")
    assert containers_of(live) == [{"name": "web", "image": "web:2"}]


def test_a_list_without_keys_has_one_owner():
    live = applied(None, deployment(containers=[{"name": "web", "args": ["a"]}]), "alice")
    with pytest.raises(
        ApiError, match=r'conflict with "alice": \.spec\.template\.spec\.containers\[name="web"\]\.args'
    ):
        applied(live, deployment(containers=[{"name": "web", "args": ["a", "b"]}]), "bob")


def test_ports_without_a_protocol_are_tcp():
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    one = {**service, "spec": {"ports": [{"port": 53, "name": "tcp"}]}}
    both = [{"port": 53, "protocol": "TCP", "targetPort": 53}, {"port": 53, "protocol": "UDP"}]
    live = applied(None, one, "alice", resource=SERVICES)
    live = applied(live, {**service, "spec": {"ports": both}}, "bob", resource=SERVICES)
    assert live["spec"]["ports"] == [
        {"port": 53, "name": "tcp", "protocol": "TCP", "targetPort": 53},
        {"port": 53, "protocol": "UDP"},
    ]


def test_finalizers_are_a_set():
    def with_finalizers(*finalizers):
        return {**deployment(), "metadata": {"name": "web", "finalizers": list(finalizers)}}

    live = applied(applied(None, with_finalizers("a", "b"), "alice"), with_finalizers("b", "c"), "bob")
    assert live["metadata"]["finalizers"] == ["a", "b", "c"]
    assert applied(live, with_finalizers("a"), "alice")["metadata"]["finalizers"] == ["a", "b", "c"]
    assert applied(live, with_finalizers("c"), "bob")["metadata"]["finalizers"] == ["a", "b", "c"]
    live = applied(applied(live, with_finalizers("a"), "alice"), with_finalizers("c"), "bob")
    assert live["metadata"]["finalizers"] == ["a", "c"]


def test_two_items_of_one_key_cannot_be_applied():
    with pytest.raises(ApiError, match="must differ in name") as caught:
        applied(applied(None, deployment(containers=[{"name": "web"}]), "a"), TWINS, "alice")
    assert caught.value.code == 400


TWINS = deployment(containers=[{"name": "web"}, {"name": "web"}])


def test_rules_of_a_route_are_replaced_as_a_whole():
    def route(*weights):
        backends = [{"name": f"web-{index}", "weight": weight} for index, weight in enumerate(weights)]
        metadata = {"name": "web"}
        return {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": metadata,
            "spec": {"rules": [{"backendRefs": backends}]},
        }

    live = applied(None, route(100), "alice", resource=HTTP_ROUTES)
    with pytest.raises(ApiError, match=r'conflict with "alice": \.spec\.rules$'):
        applied(live, route(90, 10), "rollout", resource=HTTP_ROUTES)
    live = applied(live, route(90, 10), "rollout", resource=HTTP_ROUTES, force=True)
    assert live["spec"] == route(90, 10)["spec"]


def test_a_model_container_of_an_inference_service_merges_by_name():
    def service(*env):
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "web"},
            "spec": {"predictor": {"model": {"env": [{"name": name, "value": "1"} for name in env]}}},
        }

    live = applied(None, service("A"), "alice", resource=INFERENCE_SERVICES)
    live = applied(live, service("B"), "bob", resource=INFERENCE_SERVICES)
    assert [each["name"] for each in live["spec"]["predictor"]["model"]["env"]] == ["A", "B"]


def test_the_status_is_applied_only_to_the_subresource():
    wanted = {**deployment(replicas=1), "status": {"replicas": 1}}
    live = applied(None, wanted, "alice")
    assert "status" not in live
    live = applied(live, {**wanted, "spec": {"replicas": 7}}, "controller", subresource="status")
    assert live["spec"] == {"replicas": 1}
    assert live["status"] == {"replicas": 1}
    assert live["metadata"]["managedFields"][1]["subresource"] == "status"


def test_nulls_and_what_the_server_fills_in_are_not_applied():
    metadata = {"name": "web", "creationTimestamp": None, "uid": "mine", "generation": 9}
    live = {**deployment(replicas=1), "metadata": {"name": "web", "uid": "1", "resourceVersion": "4", "generation": 1}}
    made = applied(live, {**deployment(paused=None), "metadata": metadata}, "alice")
    assert content(made) == live


def test_an_old_version_cannot_be_applied():
    live = {**deployment(), "metadata": {"name": "web", "resourceVersion": "4"}}
    old = {**deployment(replicas=1), "metadata": {"name": "web", "resourceVersion": "3"}}
    with pytest.raises(ApiError, match="the object has been modified") as caught:
        applied(live, old, "alice")
    assert caught.value.code == 409
    assert applied(live, {**old, "metadata": live["metadata"]}, "alice")["spec"]["replicas"] == 1


def test_managed_fields_cannot_be_applied():
    live = applied(None, deployment(replicas=1), "alice")
    with pytest.raises(ApiError, match="managedFields must be nil"):
        applied(live, live, "bob")


def test_an_object_without_managers_belongs_to_the_time_before():
    with pytest.raises(ApiError, match='conflict with "before-first-apply" using apps/v1'):
        applied(deployment(replicas=1), deployment(replicas=2), "alice")


def test_an_update_gives_the_written_fields_and_only_these():
    live = applied(None, deployment(replicas=1, paused=False), "alice", at="then")
    after = {**live, "spec": {**live["spec"], "replicas": 2}}
    live = record_update(live, after, DEPLOYMENTS, manager="bob", at="now")
    assert owned(live) == {
        ("alice", "Apply"): {"f:spec": {"f:paused": {}}},
        ("bob", "Update"): {"f:spec": {"f:replicas": {}}},
    }
    assert [entry["time"] for entry in live["metadata"]["managedFields"]] == ["then", "now"]


def test_an_update_that_writes_nothing_leaves_no_trace():
    live = applied(None, deployment(replicas=1), "alice")
    assert record_update(live, content(live), DEPLOYMENTS, manager="bob", at="later") == live


def test_what_an_update_removes_belongs_to_nobody():
    live = applied(None, deployment(replicas=1, paused=True), "alice")
    live = record_update(live, {**live, "spec": {"replicas": 1}}, DEPLOYMENTS, manager="bob", at="now")
    assert owned(live) == {("alice", "Apply"): {"f:spec": {"f:replicas": {}}}}


def test_client_side_apply_goes_over_to_server_side_apply():
    first = deployment(replicas=1, paused=True, labels={"app": "web"})
    by_client = copy.deepcopy(first)
    by_client["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(first)}
    live = record_update(None, by_client, DEPLOYMENTS, manager="kubectl-client-side-apply", at="then")
    second = deployment(replicas=3, labels={"app": "web"})
    # Anybody else is told of the conflict.
    with pytest.raises(ApiError, match="kubectl-client-side-apply"):
        applied(live, second, "alice")
    live = applied(live, second, "kubectl")
    assert live["spec"] == {"replicas": 3, "paused": True}
    assert json.loads(live["metadata"]["annotations"][LAST_APPLIED]) == second
    # kubectl then turns the client-side manager into its own by a JSON patch of managedFields, and applies again.
    entries = live["metadata"]["managedFields"]
    client = next(entry for entry in entries if entry["manager"] == "kubectl-client-side-apply")
    mine = next(entry for entry in entries if entry["manager"] == "kubectl")
    mine["fieldsV1"] = {"f:spec": {**mine["fieldsV1"]["f:spec"], **client["fieldsV1"]["f:spec"]}}
    migrated = {**live, "metadata": {**live["metadata"], "managedFields": [mine]}}
    live = record_update(live, migrated, DEPLOYMENTS, manager="kubectl", at="now")
    assert list(owned(live)) == [("kubectl", "Apply")]
    assert applied(live, second, "kubectl")["spec"] == {"replicas": 3}


def test_kubectl_is_told_of_what_others_changed_after_its_client_side_apply():
    first = deployment(replicas=1)
    by_client = copy.deepcopy(first)
    by_client["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(first)}
    live = record_update(None, by_client, DEPLOYMENTS, manager="kubectl-client-side-apply", at="then")
    live = record_update(live, {**live, "spec": {"replicas": 5}}, DEPLOYMENTS, manager="kubectl-scale", at="then")
    with pytest.raises(ApiError, match="kubectl-scale"):
        applied(live, deployment(replicas=3), "kubectl")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("abcdef"), unique=True))
def test_two_orders_merge_without_loss_and_the_wanted_one_holds(live, wanted):
    merged = interleaved(live, wanted)
    assert sorted(merged) == sorted({*live, *wanted})
    assert [name for name in merged if name in wanted] == wanted
    rest = [name for name in live if name not in wanted]
    assert [name for name in merged if name not in wanted] == rest
