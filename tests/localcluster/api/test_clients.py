"""Real kubectl and the `kubernetes` client against the server alone, without controllers."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localcluster.api import kubeconfig

KUBECTL = Path(sys.executable).with_name("kubectl")
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "web:1"}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1"}
"""


@pytest.fixture(scope="module")
def config(api, tmp_path_factory):
    path = tmp_path_factory.mktemp("client") / "kubeconfig"
    token = api.http.headers["Authorization"].removeprefix("Bearer ")
    kubeconfig.write(path, server=api.server.secure_url, token=token, certificate=api.server.certificate)
    return path


@pytest.fixture(scope="module")
def kubectl(config, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(config)}

    def run(*arguments, stdin="", fails=False):
        command = [str(KUBECTL), *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=environment, timeout=30, check=False
        )
        said = done.stdout if not fails else done.stderr + done.stdout
        assert bool(done.returncode) is fails, done.stderr + done.stdout
        return said

    return run


def test_kubectl_creates_changes_and_deletes(kubectl):
    assert "deployment.apps/web created" in kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    changed = DEPLOYMENT.replace("web:1", "web:2")
    assert "deployment.apps/web configured" in kubectl("apply", "-f", "-", stdin=changed)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}") == "web:2"
    assert "scaled" in kubectl("scale", "deploy/web", "--replicas=4")
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "4"
    assert "labeled" in kubectl("label", "deploy/web", "team=a")
    assert "restarted" in kubectl("rollout", "restart", "deploy/web")
    assert "web" in kubectl("get", "all", "-l", "team=a")
    assert "+  a: x" in kubectl("diff", "-f", "-", stdin=DEPLOYMENT.replace('a: "1"', "a: x"), fails=True)
    assert "Name:" in kubectl("describe", "configmap", "settings")
    assert 'deployment.apps "web" deleted' in kubectl("delete", "-f", "-", stdin=DEPLOYMENT)
    assert kubectl("get", "deploy,cm", "-o", "name") == ""


def test_kubectl_makes_and_ends_a_namespace(kubectl):
    kubectl("create", "-f", "-", stdin="{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    kubectl("-n", "shop", "apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("wait", "--for=jsonpath={.status.phase}=Active", "ns/shop", "--timeout=5s")
    assert "deleted" in kubectl("delete", "ns", "shop")
    assert "NotFound" in kubectl("get", "ns", "shop", fails=True)


def test_kubectl_create_that_speaks_protobuf_is_told_what_to_do(kubectl):
    said = kubectl("create", "namespace", "direct", fails=True)
    assert "--dry-run=client -o yaml | kubectl apply -f -" in said
    made = kubectl("create", "namespace", "direct", "--dry-run=client", "-o", "yaml")
    assert "created" in kubectl("apply", "-f", "-", stdin=made)


def test_kubectl_watches(api, kubectl, config):
    api.config_map("watched", {"a": "1"})
    command = [str(KUBECTL), "get", "cm", "watched", "--watch", "-o", "jsonpath={.data.a}{'\\n'}"]
    environment = {**os.environ, "KUBECONFIG": str(config)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "1\n"
        path = "/api/v1/namespaces/default/configmaps/watched"
        api.ok("PATCH", path, {"data": {"a": "2"}}, patch="merge-patch+json")
        assert process.stdout.readline() == "2\n"
        process.terminate()


def test_kubectl_without_the_token_is_refused(kubectl, config, tmp_path):
    text = config.read_text().replace('"token": "', '"token": "not ')
    wrong = tmp_path / "wrong"
    wrong.write_text(text)
    assert "Unauthorized" in kubectl("--kubeconfig", str(wrong), "get", "ns", fails=True) + kubectl(
        "--kubeconfig", str(wrong), "get", "--raw", "/version", fails=True
    )


def test_the_kubernetes_client_lists_writes_and_watches(api, config):
    from kubernetes import client, config as configuration, watch

    with configuration.new_client_from_config(str(config)) as connection:
        core, custom = client.CoreV1Api(connection), client.CustomObjectsApi(connection)
        core.create_namespaced_config_map(
            "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="py"), data={"a": "1"})
        )
        listed = core.list_namespaced_config_map("default")
        core.patch_namespaced_config_map("py", "default", {"data": {"a": "2"}})
        events = watch.Watch().stream(
            core.list_namespaced_config_map,
            "default",
            resource_version=listed.metadata.resource_version,
            timeout_seconds=5,
        )
        event = next(events)
        assert (event["type"], event["object"].data) == ("MODIFIED", {"a": "2"})
        events.close()
        predictor = {"model": {"modelFormat": {"name": "xgboost"}, "storageUri": "pvc://models/a"}}
        place = ("serving.kserve.io", "v1beta1", "default", "inferenceservices")
        body = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "py"},
            "spec": {"predictor": predictor},
        }
        custom.create_namespaced_custom_object(*place, body)
        custom.patch_namespaced_custom_object(*place, "py", {"metadata": {"labels": {"a": "b"}}})
        assert custom.get_namespaced_custom_object(*place, "py")["metadata"]["labels"] == {"a": "b"}
        custom.delete_namespaced_custom_object(*place, "py")
        with pytest.raises(client.ApiException, match="not found"):
            custom.get_namespaced_custom_object(*place, "py")


def test_an_idle_server_with_watchers_uses_no_time(api, config):
    from contextlib import ExitStack

    with ExitStack() as watches:
        for kind in ("pods", "services", "configmaps", "secrets"):
            watches.enter_context(api.watch(f"/api/v1/{kind}", resourceVersion="0"))
        start = time.process_time()
        time.sleep(1)
        assert time.process_time() - start < 0.05
