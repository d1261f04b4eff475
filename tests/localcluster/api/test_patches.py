import contextlib
import copy
import json
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcluster.api.errors import ApiError
from localcluster.api.patches import json_patch, merge_patch, strategic_merge_patch
from localcluster.api.resources import DEPLOYMENTS, HTTP_ROUTES, INFERENCE_SERVICES, PODS, SERVICES
from localcluster.api.server_side_apply import apply
from localcluster.render import kubectl

NAMES = st.sampled_from("abc")
SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.text("xy", max_size=2)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
MAPS = st.dictionaries(NAMES, JSON, max_size=3)


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return value


def difference(before, after):
    """The merge patch that leads from one map to another."""
    patch = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            patch[key] = difference(before[key], value)
        elif key not in before or before[key] != value:
            patch[key] = value
    return patch


@pytest.mark.parametrize(
    ("current", "patch", "expected"),
    [
        # The examples of RFC 7386 that are objects.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_rfc_7386_says(current, patch, expected):
    assert merge_patch(current, patch) == expected


@settings(max_examples=50, deadline=None)
@given(MAPS, MAPS)
def test_a_merge_patch_applied_twice_is_applied_once(current, patch):
    once = merge_patch(current, patch)
    assert merge_patch(once, patch) == once


@settings(max_examples=50, deadline=None)
@given(MAPS.map(without_nulls), MAPS.map(without_nulls))
def test_the_difference_of_two_objects_leads_from_one_to_the_other(before, after):
    assert merge_patch(before, difference(before, after)) == after


@settings(max_examples=50, deadline=None)
@given(MAPS, MAPS)
def test_no_patch_changes_what_it_is_given_or_shares_it(current, patch):
    given_current, given_patch = copy.deepcopy(current), copy.deepcopy(patch)
    for patched in (merge_patch(current, patch), strategic_merge_patch(current, patch, DEPLOYMENTS)):
        _scribble(patched)
        assert (current, patch) == (given_current, given_patch)


def _scribble(value):
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in list(parts):
        _scribble(part)
    if isinstance(value, dict):
        value["scribble"] = 1
    elif isinstance(value, list):
        value.append("scribble")


def test_a_json_patch_applies_in_order():
    patched = json_patch(
        {"spec": {"rules": [1, 2]}},
        [
            {"op": "test", "path": "/spec/rules/0", "value": 1},
            {"op": "remove", "path": "/spec/rules/0"},
            {"op": "add", "path": "/spec/rules/-", "value": 3},
            {"op": "add", "path": "/metadata", "value": {"labels": {"a~b/c": "d"}}},
            {"op": "replace", "path": "/metadata/labels/a~0b~1c", "value": "e"},
        ],
    )
    assert patched == {"spec": {"rules": [2, 3]}, "metadata": {"labels": {"a~b/c": "e"}}}


@pytest.mark.parametrize(
    ("operations", "code", "said"),
    [
        ([{"op": "test", "path": "/a", "value": 2}], 422, "testing /a failed"),
        ([{"op": "remove", "path": "/missing"}], 422, "does not apply"),
        ([{"op": "replace", "path": "/a/b/c", "value": 1}], 422, "does not apply"),
        ([{"op": "add", "path": "/list/9", "value": 1}], 422, "does not apply"),
        ([{"op": "replace", "path": "", "value": []}], 422, "leaves no object"),
        ([{"op": "wish", "path": "/a"}], 400, "cannot be read"),
        ([{"op": "add", "path": "no slash", "value": 1}], 422, "does not apply"),
        ([{"op": "add", "path": "/a"}], 400, "cannot be read"),
        (["add"], 400, "cannot be read"),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operations, code, said):
    with pytest.raises(ApiError, match=said) as caught:
        json_patch({"a": 1, "list": []}, operations)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "copy", "from": "", "path": f"/copy-{index}"} for index in range(40)],
        [{"op": "remove", "path": "/a"}] * 10_001,
    ],
    ids=["copies of copies", "endless"],
)
def test_a_json_patch_has_its_bounds(operations):
    with pytest.raises(ApiError, match=r"may have|makes an object of more than") as caught:
        json_patch({"a": "x" * 100_000}, operations)
    assert caught.value.code == 413


def test_a_long_list_is_merged_in_a_moment():
    many = deployment([{"name": f"web-{index}", "image": "web:1"} for index in range(4_000)])
    patch = pod_patch(containers=[{"name": f"web-{index}", "image": "web:2"} for index in range(4_000)])
    began = time.process_time()
    patched = strategic_merge_patch(many, patch, DEPLOYMENTS)
    made = apply(patched, many, DEPLOYMENTS, manager="alice", force=True, at="now")
    assert time.process_time() - began < 10
    assert {each["image"] for each in made["spec"]["template"]["spec"]["containers"]} == {"web:1"}


def deployment(containers=(), volumes=(), **spec):
    pod = {"containers": list(containers), "volumes": list(volumes)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "finalizers": ["a", "b"]},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": pod}, **spec},
    }


def pod_patch(**pod):
    return {"spec": {"template": {"spec": pod}}}


WEB = {
    "name": "web",
    "image": "web:1",
    "command": ["run", "web"],
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "ports": [{"containerPort": 80, "name": "http"}],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
}
LOG = {"name": "log", "image": "log:1"}
DATA = {"name": "data", "emptyDir": {}}

CASES = {
    "an item is merged by its key": pod_patch(containers=[{"name": "log", "image": "log:2"}]),
    "an unknown key is a new item": pod_patch(containers=[{"name": "new", "image": "new:1"}]),
    "an item is deleted": pod_patch(containers=[{"name": "log", "$patch": "delete"}]),
    "a nested item is deleted": pod_patch(containers=[{"name": "web", "env": [{"name": "A", "$patch": "delete"}]}]),
    "a list is replaced": pod_patch(containers=[{"name": "new", "image": "new:1"}, {"$patch": "replace"}]),
    "a list without a key is replaced": pod_patch(containers=[{"name": "web", "command": ["walk"]}]),
    "ports have their own key": pod_patch(containers=[{"name": "web", "ports": [{"containerPort": 81}]}]),
    "mounts are told apart by their path": pod_patch(
        containers=[{"name": "web", "volumeMounts": [{"mountPath": "/data", "name": "other"}]}]
    ),
    "the order is set": pod_patch(
        **{"$setElementOrder/containers": [{"name": "log"}, {"name": "web"}]},
        containers=[{"name": "log"}, {"name": "web", "image": "web:2"}],
    ),
    "the order is set with a new item": pod_patch(
        **{"$setElementOrder/containers": [{"name": "new"}, {"name": "web"}]},
        containers=[{"name": "new", "image": "new:1"}],
    ),
    "only the order is set": pod_patch(**{"$setElementOrder/containers": [{"name": "log"}, {"name": "web"}]}),
    "other keys go": pod_patch(volumes=[{"name": "data", "$retainKeys": ["name", "configMap"], "configMap": {}}]),
    "a strategy is exchanged": {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
    "a map is replaced": {"spec": {"selector": {"$patch": "replace", "matchLabels": {"tier": "web"}}}},
    "a map is deleted": {"spec": {"strategy": {"$patch": "delete"}}},
    "null deletes": {"spec": {"strategy": None, "replicas": None}},
    "a primitive list merges": {"metadata": {"finalizers": ["c", "a"]}},
    "values leave a primitive list": {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
    "a primitive list is ordered": {
        "metadata": {"$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"], "labels": {"x": "y"}}
    },
}


@pytest.mark.parametrize("patch", CASES.values(), ids=CASES.keys())
def test_a_strategic_merge_patch_does_what_kubectls_own_does(patch, tmp_path):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    current = deployment([WEB, LOG], [DATA], strategy=strategy, replicas=2)
    assert strategic_merge_patch(current, patch, DEPLOYMENTS) == patched_by_kubectl(current, patch, tmp_path)


CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "image": NAMES,
            "args": st.lists(NAMES, min_size=1, max_size=2),
            "env": st.lists(
                st.fixed_dictionaries({"name": NAMES, "value": NAMES}),
                min_size=1,
                max_size=3,
                unique_by=lambda item: item["name"],
            ),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item["name"],
)


@settings(max_examples=15, deadline=None)
@given(CONTAINERS, CONTAINERS, st.booleans(), st.randoms(use_true_random=False))
def test_containers_merge_and_are_ordered_as_by_kubectl(tmp_path_factory, before, patched, ordered, random):
    patch = pod_patch(containers=patched)
    if ordered:
        names = [item["name"] for item in patched] + [
            item["name"] for item in before if item["name"] not in {each["name"] for each in patched}
        ]
        kept = names[: random.randint(len(patched), len(names))]
        patch["spec"]["template"]["spec"]["$setElementOrder/containers"] = [{"name": name} for name in kept]
    current = deployment(before)
    expected = patched_by_kubectl(current, patch, tmp_path_factory.mktemp("patch"))
    assert strategic_merge_patch(current, patch, DEPLOYMENTS) == expected


def patched_by_kubectl(current, patch, folder):
    """What the implementation that API servers use makes of a patch."""
    path = folder / "current.json"
    path.write_text(json.dumps(current))
    command = [kubectl(), "patch", "--local", "-f", path, "--type=strategic", "-p", json.dumps(patch), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


@settings(max_examples=50, deadline=None)
@given(CONTAINERS, CONTAINERS)
def test_a_strategic_merge_patch_applied_twice_is_applied_once(before, patched):
    once = strategic_merge_patch(deployment(before), pod_patch(containers=patched), DEPLOYMENTS)
    assert strategic_merge_patch(once, pod_patch(containers=patched), DEPLOYMENTS) == once


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(("containers", "$patch", "$setElementOrder/containers", "$retainKeys", "volumes", "x")),
        JSON | st.lists(st.dictionaries(st.sampled_from(("name", "$patch", "env")), JSON, max_size=2), max_size=2),
        max_size=3,
    )
)
def test_any_patch_is_followed_or_refused(pod):
    with contextlib.suppress(ApiError):
        json.dumps(strategic_merge_patch(deployment([WEB, LOG], [DATA]), pod_patch(**pod), DEPLOYMENTS))


def test_ports_of_a_service_merge_by_number():
    service = {"spec": {"ports": [{"port": 80, "name": "http", "targetPort": 8080}]}}
    patched = strategic_merge_patch(service, {"spec": {"ports": [{"port": 80, "appProtocol": "h2c"}]}}, SERVICES)
    assert patched["spec"]["ports"] == [{"port": 80, "name": "http", "targetPort": 8080, "appProtocol": "h2c"}]


def test_conditions_of_a_status_merge_by_type():
    pod = {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Initialized", "status": "True"}]}}
    patched = strategic_merge_patch(pod, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, PODS)
    assert [each["status"] for each in patched["status"]["conditions"]] == ["True", "True"]


@pytest.mark.parametrize("resource", [INFERENCE_SERVICES, HTTP_ROUTES], ids=lambda resource: resource.kind)
def test_a_custom_resource_takes_no_strategic_merge_patch(resource):
    with pytest.raises(ApiError, match="unknown format") as caught:
        strategic_merge_patch({}, {}, resource)
    assert (caught.value.code, caught.value.reason) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (pod_patch(containers=[{"image": "web:2"}]), "does not contain declared merge key: name"),
        (pod_patch(containers=["web"]), "must be maps"),
        ({"spec": {"$patch": "forget"}}, "unknown patch directive"),
        ({"metadata": {"$setElementOrder/finalizers": "a"}}, "must be a list"),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}, "must be a list"),
    ],
)
def test_a_strategic_merge_patch_that_cannot_be_followed_is_refused(patch, said):
    with pytest.raises(ApiError, match=said) as caught:
        strategic_merge_patch(deployment([WEB]), patch, DEPLOYMENTS)
    assert caught.value.code == 400
