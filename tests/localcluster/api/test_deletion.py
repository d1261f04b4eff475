"""How objects end: finalizers, owners, namespaces, and the grace of pods."""

import time

import pytest

from localcluster.api import retention

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
NAMESPACES = "/api/v1/namespaces"
MERGE = "merge-patch+json"


def owned_by(*owners, block=False):
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "blockOwnerDeletion": block}
        | {key: owner["metadata"][key] for key in ("name", "uid")}
        for owner in owners
    ]


def eventually(condition, timeout_s=5):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(api, path):
    return lambda: api("GET", path).status_code == 404


def pod(api, name, **spec):
    spec = {"containers": [{"name": "c", "image": "i:1"}], **spec}
    return api.ok("POST", PODS, {"metadata": {"name": name}, "spec": spec})


def test_a_delete_answers_what_went(api):
    made = api.config_map("plain")
    answer = api.ok("DELETE", f"{MAPS}/plain")
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "plain", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert api("DELETE", f"{MAPS}/plain").status_code == 404


def test_preconditions_hold(api):
    made = api.config_map("guarded")["metadata"]
    for wrong in ({"uid": "another"}, {"resourceVersion": "1"}):
        assert api("DELETE", f"{MAPS}/guarded", {"preconditions": wrong}).status_code == 409
    right = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    assert api.ok("DELETE", f"{MAPS}/guarded", {"preconditions": right})["status"] == "Success"


@pytest.mark.parametrize(
    "options",
    [
        [],
        "x",
        {"propagationPolicy": "Sideways"},
        {"propagationPolicy": ["Background"]},
        {"gracePeriodSeconds": "1"},
        {"preconditions": 3},
        {"preconditions": {"uid": 3}},
    ],
)
def test_options_that_make_no_sense_delete_nothing(api, options):
    api("POST", MAPS, {"metadata": {"name": "survivor"}})
    assert api("DELETE", f"{MAPS}/survivor", options).status_code == 400
    assert api("GET", f"{MAPS}/survivor").status_code == 200


def test_an_object_stays_until_its_last_finalizer_goes(api):
    api.config_map("held", finalizers=["example.org/a", "example.org/b"])
    marked = api.ok("DELETE", f"{MAPS}/held")
    again = api.ok("DELETE", f"{MAPS}/held")
    assert (marked["kind"], marked["metadata"]["deletionGracePeriodSeconds"]) == ("ConfigMap", 0)
    assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]

    def finalizers(*names):
        return api("PATCH", f"{MAPS}/held", {"metadata": {"finalizers": list(names)}}, patch=MERGE)

    assert finalizers("example.org/a", "example.org/b", "example.org/new").status_code == 422
    assert finalizers("example.org/b").json()["metadata"]["finalizers"] == ["example.org/b"]
    assert api("GET", f"{MAPS}/held").status_code == 200
    assert finalizers().status_code == 200
    assert api("GET", f"{MAPS}/held").status_code == 404


def test_what_an_object_owns_goes_after_it(api):
    owner = api.config_map("owner")
    child = api.config_map("child", ownerReferences=owned_by(owner))
    api.config_map("grandchild", ownerReferences=owned_by(child))
    other = api.config_map("other-owner")
    api.config_map("shared", ownerReferences=owned_by(owner, other))
    assert api.ok("DELETE", f"{MAPS}/owner")["status"] == "Success"
    eventually(gone(api, f"{MAPS}/child"))
    eventually(gone(api, f"{MAPS}/grandchild"))
    eventually(lambda: len(api.ok("GET", f"{MAPS}/shared")["metadata"]["ownerReferences"]) == 1)
    api.ok("DELETE", f"{MAPS}/other-owner")
    eventually(gone(api, f"{MAPS}/shared"))


def test_what_comes_after_its_owner_is_gone_goes_too(api):
    owner = api.config_map("early-owner")
    api.ok("DELETE", f"{MAPS}/early-owner")
    api("POST", MAPS, {"metadata": {"name": "late", "ownerReferences": owned_by(owner)}})
    eventually(gone(api, f"{MAPS}/late"))


def test_foreground_deletion_waits_for_what_is_owned(api):
    owner = api.config_map("front")
    api.config_map("slow-child", ownerReferences=owned_by(owner, block=True), finalizers=["example.org/x"])
    api.config_map("quick-child", ownerReferences=owned_by(owner, block=True))
    marked = api.ok("DELETE", f"{MAPS}/front", {"propagationPolicy": "Foreground"})
    assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]
    eventually(gone(api, f"{MAPS}/quick-child"))
    assert api.ok("GET", f"{MAPS}/slow-child")["metadata"]["deletionTimestamp"]
    assert api("GET", f"{MAPS}/front").status_code == 200
    api.ok("PATCH", f"{MAPS}/slow-child", {"metadata": {"finalizers": None}}, patch=MERGE)
    eventually(gone(api, f"{MAPS}/front"))


def test_foreground_deletion_of_a_circle_ends(api):
    first = api.config_map("circle-1")
    second = api.config_map("circle-2", ownerReferences=owned_by(first, block=True))
    owners = {"metadata": {"ownerReferences": owned_by(second, block=True)}}
    api.ok("PATCH", f"{MAPS}/circle-1", owners, patch=MERGE)
    api.ok("DELETE", f"{MAPS}/circle-1", {"propagationPolicy": "Foreground"})
    eventually(gone(api, f"{MAPS}/circle-1"))
    eventually(gone(api, f"{MAPS}/circle-2"))


def test_orphans_stay(api):
    owner = api.config_map("parent")
    api.config_map("orphan", ownerReferences=owned_by(owner))
    api.ok("DELETE", f"{MAPS}/parent", {"propagationPolicy": "Orphan"})
    time.sleep(0.1)
    assert "ownerReferences" not in api.ok("GET", f"{MAPS}/orphan")["metadata"]


def test_a_pod_with_a_process_stays_until_the_process_has_ended(api):
    pod(api, "busy", terminationGracePeriodSeconds=7)
    api.ok("PATCH", f"{PODS}/busy", {"spec": {"nodeName": "laptop"}}, patch=MERGE)
    marked = api.ok("DELETE", f"{PODS}/busy")["metadata"]
    assert (marked["deletionGracePeriodSeconds"], "deletionTimestamp" in marked) == (7, True)
    longer = api.ok("DELETE", f"{PODS}/busy", {"gracePeriodSeconds": 60})["metadata"]
    shorter = api.ok("DELETE", f"{PODS}/busy", {"gracePeriodSeconds": 2})["metadata"]
    assert (longer["deletionGracePeriodSeconds"], shorter["deletionGracePeriodSeconds"]) == (7, 2)
    assert api.ok("DELETE", f"{PODS}/busy", {"gracePeriodSeconds": 0})["status"] == "Success"
    assert api("GET", f"{PODS}/busy").status_code == 404


def test_a_pod_without_a_process_goes_at_once(api):
    pod(api, "never-started")
    assert api.ok("DELETE", f"{PODS}/never-started")["status"] == "Success"
    pod(api, "finished")
    api.ok("PATCH", f"{PODS}/finished", {"spec": {"nodeName": "laptop"}}, patch=MERGE)
    api.ok("PATCH", f"{PODS}/finished/status", {"status": {"phase": "Succeeded"}}, patch=MERGE)
    assert api.ok("DELETE", f"{PODS}/finished")["status"] == "Success"


def test_a_namespace_takes_everything_in_it_along(api):
    api.ok("POST", NAMESPACES, {"metadata": {"name": "doomed"}})
    api.config_map("simple", namespace="doomed")
    api.config_map("held", namespace="doomed", finalizers=["example.org/x"])
    marked = api.ok("DELETE", f"{NAMESPACES}/doomed")
    assert (marked["status"]["phase"], "deletionTimestamp" in marked["metadata"]) == ("Terminating", True)
    eventually(gone(api, f"{NAMESPACES}/doomed/configmaps/simple"))
    refused = api("POST", f"{NAMESPACES}/doomed/configmaps", {"metadata": {"name": "new"}})
    assert (refused.status_code, refused.json()["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    assert api("GET", f"{NAMESPACES}/doomed").status_code == 200
    held = f"{NAMESPACES}/doomed/configmaps/held"
    api.ok("PATCH", held, {"metadata": {"finalizers": None}}, patch=MERGE)
    eventually(gone(api, f"{NAMESPACES}/doomed"))
    api.ok("POST", NAMESPACES, {"metadata": {"name": "doomed"}})
    assert api.ok("GET", f"{NAMESPACES}/doomed/configmaps")["items"] == []


def test_the_permanent_namespaces_are_there_and_stay(api):
    for name in ("default", "kube-system", "kube-public"):
        assert api.ok("GET", f"{NAMESPACES}/{name}")["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
        assert api("DELETE", f"{NAMESPACES}/{name}").status_code == 403
    assert api("DELETE", NAMESPACES).status_code == 405


def test_what_was_left_at_a_crash_is_collected_at_the_next_start(serve, tmp_path):
    from localcluster.api.persistence import Database
    from localcluster.api.store import Key, Store

    with serve(tmp_path) as api:
        owner = api.config_map("owner")
        api.config_map("child", ownerReferences=owned_by(owner))
    database = Database(tmp_path)
    Store(database).remove(Key("configmaps", "default", "owner"))
    database.close()
    with serve(tmp_path) as api:
        eventually(gone(api, f"{MAPS}/child"))


def test_events_are_bounded_in_number_and_age(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "MOST", 5)
    monkeypatch.setattr(retention, "TTL_S", 1.5)
    monkeypatch.setattr(retention, "_PERIOD_S", 0.1)
    path = "/api/v1/namespaces/default/events"
    with serve(tmp_path) as api:
        for number in range(9):
            regarding = {"kind": "Pod", "name": "p", "namespace": "default"}
            body = {"metadata": {"name": f"e{number}"}, "involvedObject": regarding, "reason": f"R{number}"}
            api.ok("POST", path, body)
        eventually(lambda: len(api.ok("GET", path)["items"]) == 5)
        assert [item["metadata"]["name"] for item in api.ok("GET", path)["items"]] == [f"e{n}" for n in range(4, 9)]
        chosen = api.ok("GET", path, fieldSelector="involvedObject.name=p,reason=R7")["items"]
        assert [item["reason"] for item in chosen] == ["R7"]
        eventually(lambda: api.ok("GET", path)["items"] == [])
