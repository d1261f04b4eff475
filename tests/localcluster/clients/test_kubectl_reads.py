"""The real kubectl looks: get, describe, watch, wait, logs, discovery."""

import json
import re
import time

import pytest
import yaml

from tests.localcluster.clients.kubectl_objects import (
    applied,
    config_map,
    deployment,
    lines,
    made,
    pod,
    read,
    rolled_out,
    set_status,
    until,
)


class TestGet:
    @pytest.fixture(scope="class", autouse=True)
    def pods(self, cluster):
        applied(cluster, deployment("shown"))
        running = {
            "name": "web",
            "ready": True,
            "restartCount": 2,
            "image": "",
            "imageID": "",
            "state": {"running": {}},
        }
        crashing = {**running, "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
        made(cluster, pod("runs", podIP="127.9.1.1", containerStatuses=[running]))
        made(cluster, pod("crashes", containerStatuses=[crashing]))

    def rows(self, cluster, *arguments):
        heading, *rows = (re.split(r" {2,}", line.strip()) for line in cluster.kubectl("get", *arguments).splitlines())
        return heading, {row[0]: row[1:] for row in rows}

    def test_prints_tables(self, cluster):
        heading, rows = self.rows(cluster, "pods")
        assert heading == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
        assert rows["runs"][:3] == ["1/1", "Running", "2"]
        assert rows["crashes"][:2] == ["0/1", "CrashLoopBackOff"]
        assert re.fullmatch(r"\d+s", rows["runs"][3])
        heading, rows = self.rows(cluster, "deploy")
        assert heading == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
        assert rows["shown"][:3] == ["0/2", "0", "0"]

    def test_prints_wide_tables(self, cluster):
        heading, rows = self.rows(cluster, "pods", "-o", "wide")
        assert heading[5:] == ["IP", "NODE"]
        assert rows["runs"][4] == "127.9.1.1"
        heading, rows = self.rows(cluster, "deploy/shown", "-o", "wide")
        assert heading[5:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
        assert rows["shown"][4:] == ["web", "web:1", "app=shown"]

    def test_prints_objects_in_every_form(self, cluster):
        assert yaml.safe_load(cluster.kubectl("get", "pod/runs", "-o", "yaml"))["status"]["podIP"] == "127.9.1.1"
        assert cluster.kubectl("get", "po", "runs", "crashes", "-o", "name") == "pod/runs\npod/crashes\n"
        assert cluster.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}") == "crashes runs"
        columns = "N:.metadata.name,P:.status.phase"
        assert cluster.kubectl("get", "pod/runs", "-o", f"custom-columns={columns}").split() == [
            "N",
            "P",
            "runs",
            "Running",
        ]
        assert cluster.kubectl("get", "pod/runs", "-o", "go-template={{.spec.nodeName}}") == "<no value>"

    def test_selects_by_label_and_field(self, cluster):
        assert cluster.kubectl("get", "deploy", "-l", "app=shown", "-o", "name") == "deployment.apps/shown\n"
        assert "No resources" in cluster.kubectl("get", "deploy", "-l", "app notin (shown),app=shown")
        named = cluster.kubectl("get", "pods", "--field-selector", "metadata.name=runs", "-o", "name")
        assert named == "pod/runs\n"
        heading, _ = self.rows(cluster, "deploy", "-L", "app", "--sort-by=.metadata.name")
        assert heading[-1] == "APP"

    def test_all_shows_what_runs(self, cluster):
        shown = cluster.kubectl("get", "all", "-o", "name").split()
        assert {"pod/runs", "deployment.apps/shown"} <= set(shown)
        assert not any(name.startswith("configmap") for name in shown)
        assert "NAMESPACE" in cluster.kubectl("get", "all", "-A")

    def test_watches(self, cluster):
        watch = cluster.start(
            "get", "cm", "--watch", "--output-watch-events", "--field-selector", "metadata.name=watched"
        )
        printed = lines(watch)
        try:
            # kubectl prints a heading only with a first row.
            time.sleep(0.5)
            applied(cluster, config_map("watched", a="1"))
            applied(cluster, config_map("watched", a="1", b="2"))
            cluster.kubectl("delete", "cm/watched")
            until(lambda: len(printed) == 4, printed)
        finally:
            watch.kill()
            watch.wait(10)
        assert [line.split()[:3] for line in printed] == [
            ["EVENT", "NAME", "DATA"],
            ["ADDED", "watched", "1"],
            ["MODIFIED", "watched", "2"],
            ["DELETED", "watched", "2"],
        ]

    def test_says_what_is_not_there(self, cluster):
        said = cluster.kubectl("get", "pod/missing", fails=True)
        assert said == 'Error from server (NotFound): pods "missing" not found\n'
        assert "the server doesn't have a resource type" in cluster.kubectl("get", "unicorns", fails=True)


def test_describe_tells_of_an_object_and_its_events(cluster):
    applied(cluster, deployment("described"))
    uid = read(cluster, "deploy/described")["metadata"]["uid"]
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "described.1"},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "described",
            "namespace": "default",
            "uid": uid,
        },
        "reason": "ScalingReplicaSet",
        "message": "Scaled up",
        "type": "Normal",
        "source": {"component": "test"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 1,
    }
    applied(cluster, json.dumps(event))
    described = cluster.kubectl("describe", "deploy", "described")
    assert re.search(r"Replicas: +2 desired", described)
    assert re.search(r"Image: +web:1", described)
    assert re.search(r"ScalingReplicaSet .* Scaled up", described)
    assert re.search(r"Normal +ScalingReplicaSet +Deployment/described +Scaled up", cluster.kubectl("events"))
    assert re.search(r"Normal +ScalingReplicaSet +deployment/described +Scaled up", cluster.kubectl("get", "events"))
    applied(cluster, json.dumps({**pod("described"), "status": {}}))
    for name in ("pod/described", "ns/default"):
        assert "Name:" in cluster.kubectl("describe", name)


def test_wait_sees_conditions_and_values(cluster):
    applied(cluster, deployment("waited"))
    said = cluster.kubectl("wait", "--for=condition=Available", "deploy/waited", "--timeout=200ms", fails=True)
    assert "timed out" in said
    condition = cluster.start("wait", "--for=condition=Available", "deploy/waited", "--timeout=20s")
    value = cluster.start("wait", "--for=jsonpath={.status.readyReplicas}=2", "deploy/waited", "--timeout=20s")
    rolled_out(cluster, "waited", 2)
    for waiting in (condition, value):
        assert waiting.communicate(timeout=20)[0] == "deployment.apps/waited condition met\n"


def test_logs_are_shown_and_followed(cluster):
    made(cluster, pod("logged"))
    assert "ContainerCreating" in cluster.kubectl("logs", "logged", fails=True)
    log = cluster.log_file("logged")
    log.write_text("one\ntwo\n")
    assert cluster.kubectl("logs", "logged") == "one\ntwo\n"
    assert cluster.kubectl("logs", "pod/logged", "--tail=1") == "two\n"
    following = cluster.start("logs", "-f", "logged")
    printed = lines(following)
    until(lambda: printed == ["one", "two"], printed)
    with log.open("a") as file:
        file.write("three\n")
    until(lambda: printed == ["one", "two", "three"], printed)
    # A pod that has ended ends its log.
    set_status(cluster, "pod/logged", {"phase": "Succeeded"})
    assert following.wait(10) == 0


class TestDiscovery:
    def test_lists_what_there_is(self, cluster):
        listed = {line.split()[0]: line.split() for line in cluster.kubectl("api-resources").splitlines()}
        assert listed["inferenceservices"] == [
            "inferenceservices",
            "isvc",
            "serving.kserve.io/v1beta1",
            "true",
            "InferenceService",
        ]
        assert listed["namespaces"][3] == "false"
        versions = cluster.kubectl("api-versions").split()
        assert {"v1", "apps/v1", "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"} <= set(versions)
        assert "Server Version: v1.37" in cluster.kubectl("version")

    def test_explains_kinds(self, cluster):
        explained = cluster.kubectl("explain", "deploy.spec.strategy.rollingUpdate.maxSurge")
        assert "FIELD: maxSurge <IntOrString>" in explained
        assert "maximum number of pods" in explained
        assert "FIELD: minReplicas <integer>" in cluster.kubectl("explain", "isvc.spec.predictor.minReplicas")
        assert "FIELD: weight <integer>" in cluster.kubectl("explain", "httproute.spec.rules.backendRefs.weight")
        assert "does not exist" in cluster.kubectl("explain", "isvc.spec.predictor.minReplicass", fails=True)


def test_without_the_token_nothing_is_answered(cluster, tmp_path):
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "a-wrong-token"
    wrong = tmp_path / "kubeconfig"
    wrong.write_text(json.dumps(config))
    assert "Unauthorized" in cluster.kubectl("get", "pods", fails=True, KUBECONFIG=str(wrong))
