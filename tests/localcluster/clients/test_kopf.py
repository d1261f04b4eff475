"""A real operator, a process of its own, on kopf."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

OPERATOR = Path(__file__).with_name("operator_under_test.py")
_WAIT_S = 25


@pytest.fixture
def operator(cluster):
    """The operator's log; the operator ends with the test."""
    log = cluster.folder / "operator.log"
    command = [sys.executable, "-m", "kopf", "run", str(OPERATOR), "--standalone", "--namespace=default"]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=cluster.environment)
    yield log
    process.terminate()
    try:
        assert process.wait(10) == 0, log.read_text()
    finally:
        process.kill()


def service(replicas):
    model = {"modelFormat": {"name": "xgboost"}, "storageUri": "file:///model"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "operated", "annotations": {"serving.kserve.io/deploymentMode": "Standard"}},
        "spec": {"predictor": {"minReplicas": replicas, "model": model}},
    }


def test_an_operator_works_as_on_any_cluster(cluster, operator):
    def read():
        return json.loads(cluster.kubectl("get", "isvc/operated", "-o", "json"))

    def until(condition, what):
        deadline = time.monotonic() + _WAIT_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {_WAIT_S} s\n{operator.read_text()[-4000:]}"
            time.sleep(0.1)

    def reasons():
        shown = "jsonpath={.items[?(@.involvedObject.name=='operated')].reason}"
        return cluster.kubectl("get", "events", "-o", shown).split()

    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(service(1)))
    until(lambda: read().get("status", {}).get("url") == "http://created.localhost", "status")
    assert read()["metadata"]["finalizers"]
    until(lambda: int(read()["metadata"]["annotations"].get("example.com/ticks", "0")) >= 2, "timer")
    until(lambda: {"Seen", "Minded"} <= set(reasons()), "events of a handler and of a daemon")

    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(service(2)))
    until(lambda: read()["status"]["url"] == "http://scaled-to-2.localhost", "update")

    # The finalizer holds it until the handler ran and the daemon has ended.
    cluster.kubectl("delete", "isvc/operated", f"--timeout={_WAIT_S}s")
    assert "Gone" in reasons()
    assert "Traceback" not in operator.read_text(), operator.read_text()
