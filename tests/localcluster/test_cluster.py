"""The whole laptop cluster by its command line: the overlay that ships, decisions, a killed process, a restart."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from blueprints.workspace import Workspace
from localcluster import daemon
from localcluster.ports import PortTakenError
from localcluster.render import kubectl
from tests.lexicon_model import lexicon_package
from tests.segment_model import fill_store, segment_package

PROJECT = Path(__file__).parents[2]
NAMESPACE = "blueprints-local"
SECRET = "a-secret-of-the-callers-shell"
APPLICATION = {
    "credit_limit": 50_000,
    "age_of_account": 12,
    "late_payments": 6,
    "education": "high school",
    "housing": "rent",
    "utilisation": 1.2,
}


class Laptop:
    """A workspace and the commands that a user would type in it."""

    def __init__(self, root):
        self.workspace = Workspace(root)
        self.environment = {**os.environ, "BLUEPRINTS_HOME": str(root), "AWS_SECRET_ACCESS_KEY": SECRET}

    def run(self, *arguments, code=0, timeout=120):
        command = [sys.executable, "-m", "cli.main", *arguments]
        settings = {"cwd": PROJECT, "env": self.environment, "capture_output": True, "text": True, "timeout": timeout}
        done = subprocess.run(command, check=False, **settings)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))

    def kubectl(self, *arguments, timeout=60):
        command = [str(kubectl()), f"--kubeconfig={self.workspace.cluster / 'kubeconfig'}", *arguments]
        return subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True, timeout=timeout).stdout

    def ask(self, path, body, service="credit-risk"):
        port = daemon.status(workspace=self.workspace).gateway_port
        headers = {"host": f"{service}.localhost:{port}"}
        return httpx.post(f"http://127.0.0.1:{port}{path}", json=body, headers=headers, timeout=10)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory, credit_package):
    laptop = Laptop(tmp_path_factory.mktemp("laptop"))
    champion = laptop.workspace.volumes / "models" / "credit-risk" / "champion"
    champion.parent.mkdir(parents=True)
    shutil.copytree(credit_package.folder, champion)
    laptop.run("cluster", "up", "--port=0")
    yield laptop
    daemon.stop(workspace=laptop.workspace)


@pytest.fixture(scope="module")
def service(laptop):
    """All blueprints as `kubectl apply -k` and nothing else makes them; only credit risk has a model."""
    laptop.kubectl("apply", "-k", "kustomize/overlays/local")
    wait = ("wait", "isvc/credit-risk", f"--namespace={NAMESPACE}", "--for=condition=Ready", "--timeout=90s")
    laptop.kubectl(*wait, timeout=100)
    return laptop


def pid_of(laptop, part):
    pods = laptop.json("status", "credit-risk")["pods"]
    (pod,) = [pod for pod in pods if pod["name"].startswith(f"credit-risk-{part}-")]
    return pod["pid"]


def test_the_overlay_that_ships_decides_and_explains_behind_one_host(service, credit_package):
    decision = service.ask("/predict", APPLICATION)
    assert decision.status_code == 200, decision.text
    assert decision.json()["model_version"] == credit_package.version
    explained = service.ask("/v1/models/credit-risk:explain", {"instances": [APPLICATION]})
    assert explained.status_code == 200, explained.text
    assert explained.json()["explanations"][0]["reasons"]
    assert (service.workspace.root / "decisions.db").is_file()


def test_a_blueprint_without_a_model_waits_and_says_how_to_get_one(service):
    (shown,) = service.json("status", "sentiment")["services"]
    assert shown["ready"] != "True"
    assert shown["restarts"] == 0
    assert shown["message"].count("train a model first: blueprints run sentiment") == len(shown["parts"]) == 2
    conditions = service.kubectl("get", "isvc", "sentiment", f"--namespace={NAMESPACE}", "-o=jsonpath={.status}")
    assert "blueprints run sentiment" in conditions


def test_grpc_passes_the_gateway_by_the_same_host(service, credit_package):
    port = daemon.status(workspace=service.workspace).gateway_port
    options = [("grpc.default_authority", f"credit-risk.localhost:{port}")]
    request = pb.ModelInferRequest(model_name="credit-risk")
    for column in credit_package.signature.inputs:
        value = APPLICATION[column.name]
        tensor = request.inputs.add(name=column.name, shape=[1])
        if column.kind == "category":
            tensor.datatype = "BYTES"
            tensor.contents.bytes_contents.append(value.encode())
        elif column.kind == "integer":
            tensor.datatype = "INT64"
            tensor.contents.int64_contents.append(value)
        else:
            tensor.datatype = "FP64"
            tensor.contents.fp64_contents.append(value)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    assert answer.model_version == credit_package.version
    assert "probability_of_default" in {output.name for output in answer.outputs}


def test_two_blueprints_answer_side_by_side(service, tmp_path):
    package = lexicon_package(tmp_path / "package")
    shutil.copytree(package.folder, service.workspace.volumes / "models" / "sentiment" / package.version)
    (deployed,) = service.json("deploy", "sentiment", f"--package={package.version}")
    assert (deployed["ready"], deployed["parts"]) == ("True", {"predictor": [1, 1], "explainer": [1, 1]})
    told = service.ask("/predict", {"text": "a warm and funny film"}, "sentiment").json()
    assert (told["label"], told["model_version"]) == ("positive", package.version)
    explained = service.ask("/v1/models/sentiment:explain", {"instances": ["a dull film"]}, "sentiment")
    assert explained.status_code == 200, explained.text
    request = pb.ModelInferRequest(model_name="sentiment")
    tensor = request.inputs.add(name="text", shape=[2], datatype="BYTES")
    tensor.contents.bytes_contents.extend([b"a great film", b"an awful story"])
    port = daemon.status(workspace=service.workspace).gateway_port
    options = [("grpc.default_authority", f"sentiment.localhost:{port}")]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    assert list(answer.outputs[0].contents.bytes_contents) == [b"positive", b"negative"]
    assert service.ask("/predict", APPLICATION).status_code == 200
    assert service.ask("/predict", APPLICATION, "sentiment").status_code == 422


@pytest.mark.slow  # starts Feast to fill the store, then three servers
def test_customers_are_answered_from_the_features_of_the_workspace(service, tmp_path):
    customers = fill_store(service.workspace.root / "feature_store", f"duckdb:///{tmp_path}/warehouse.duckdb")
    package = segment_package(tmp_path / "package", customers)
    shutil.copytree(package.folder, service.workspace.volumes / "models" / "segmentation" / package.version)
    (deployed,) = service.json("deploy", "segmentation", f"--package={package.version}")
    assert deployed["ready"] == "True"
    told = service.ask("/predict", {"customer_id": 3}, "segmentation").json()
    assert (told["customer_id"], told["model_version"]) == (3, package.version)
    assert service.ask("/predict", {"customer_id": 300}, "segmentation").status_code == 404
    explained = service.ask("/v1/models/segmentation:explain", {"instances": [{"customer_id": 3}]}, "segmentation")
    assert explained.json()["explanations"][0]["segment"] == told["segment"]


def test_deleting_one_blueprint_leaves_the_others(service):
    def names():
        return [one["name"] for one in service.json("cluster", "status")["services"]]

    service.run("delete", "sentiment")
    assert names() == ["credit-risk", "segmentation"]
    service.run("delete", "segmentation")
    assert names() == ["credit-risk"]
    assert service.ask("/predict", APPLICATION).status_code == 200


def test_health_and_metrics_are_not_routed(service):
    port = daemon.status(workspace=service.workspace).gateway_port
    for path in ("/metrics", "/healthz", "/readyz"):
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"host": f"credit-risk.localhost:{port}"})
        assert answer.status_code == 404


def test_status_tells_what_runs_and_which_package(service, credit_package):
    view = service.json("status", "credit-risk")
    (shown,) = view["services"]
    assert shown["ready"] == "True"
    assert shown["share"] == 1.0
    assert shown["parts"] == {part: [1, 1] for part in ("predictor", "transformer", "explainer")}
    assert shown["url"].startswith("http://credit-risk.localhost:")
    assert all(psutil.pid_exists(pod["pid"]) and pod["memory_mb"] > 50 for pod in view["pods"])
    assert "credit-risk" in service.run("cluster", "status")
    service.run("status", "nothing-of-the-kind", code=3)


def test_logs_show_the_request(service):
    service.ask("/predict", APPLICATION)
    assert '"path":"/predict"' in service.run("logs", "credit-risk", "--part=transformer", "--tail=5")


def test_storage_credentials_of_the_caller_reach_no_pod(service):
    cluster, predictor = daemon.status(workspace=service.workspace).pid, pid_of(service, "predictor")
    assert SECRET in Path(f"/proc/{cluster}/environ").read_text()
    assert SECRET not in Path(f"/proc/{predictor}/environ").read_text()


def test_a_killed_predictor_comes_back(service):
    predictor = pid_of(service, "predictor")
    os.kill(predictor, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while pid_of(service, "predictor") in {predictor, None}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    wait = ("wait", "isvc/credit-risk", f"--namespace={NAMESPACE}", "--for=condition=Ready", "--timeout=60s")
    service.kubectl(*wait, timeout=70)
    assert service.ask("/predict", APPLICATION).status_code == 200
    (shown,) = service.json("status", "credit-risk")["services"]
    assert shown["restarts"] == 1


def test_what_a_cluster_refuses_is_refused(service, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
        f"metadata: {{name: wrong, namespace: {NAMESPACE}}}\nspec: {{predictor: {{minReplicaz: 1}}}}\n"
    )
    with pytest.raises(subprocess.CalledProcessError) as refused:
        service.kubectl("apply", "-f", str(wrong))
    assert "minReplicaz" in refused.value.stderr


def test_a_restart_keeps_objects_and_brings_the_service_back(service):
    before = service.kubectl("get", "isvc", "credit-risk", f"--namespace={NAMESPACE}", "-o=jsonpath={.metadata.uid}")
    old = service.json("cluster", "up")
    assert daemon.stop(workspace=service.workspace)
    assert not daemon.alive(old["pid"], old["started"])
    assert "not up" in service.run("cluster", "status", code=3)
    new = service.json("cluster", "up")
    assert (new["server"], new["gateway"]) == (old["server"], old["gateway"])
    assert new["pid"] != old["pid"]
    after = service.kubectl("get", "isvc", "credit-risk", f"--namespace={NAMESPACE}", "-o=jsonpath={.metadata.uid}")
    assert after == before
    deadline = time.monotonic() + 60
    while service.ask("/predict", APPLICATION).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_killed_cluster_leaves_no_process_behind(service):
    state = service.json("cluster", "up")
    family = psutil.Process(state["pid"]).children(recursive=True)
    assert any("transformer" in " ".join(process.cmdline()) for process in family)
    os.kill(state["pid"], signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    service.run("cluster", "up")


def test_deploy_and_delete_manage_one_blueprint(service):
    service.run("deploy", "credit-risk")
    assert service.ask("/predict", APPLICATION).status_code == 200
    assert "no blueprint 'other'" in service.run("deploy", "other", code=2)
    service.run("delete", "credit-risk")
    deadline = time.monotonic() + 60
    while service.json("cluster", "status")["pods"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert service.json("cluster", "status")["services"] == []


def test_a_cluster_that_is_still_starting_is_found_and_stopped(tmp_path):
    workspace = Workspace(tmp_path)
    up = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "cluster", "up", "--port=0"],
        cwd=PROJECT,
        env={**os.environ, "BLUEPRINTS_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while (state := daemon.read_state(workspace)) is None:
        assert up.poll() is None
        time.sleep(0.01)
    up.kill()
    up.wait()
    assert daemon.stop(workspace=workspace)
    assert not daemon.alive(state.pid, state.started)
    assert daemon.read_state(workspace) is None


def test_a_cluster_whose_objects_are_deleted_ends_and_says_so(tmp_path):
    workspace = Workspace(tmp_path)
    state = daemon.start(port=0, workspace=workspace)
    shutil.rmtree(workspace.cluster / "objects")
    deadline = time.monotonic() + 30
    while daemon.alive(state.pid, state.started):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "was deleted while the cluster ran" in (workspace.cluster / "cluster.log").read_text()
    assert daemon.status(workspace=workspace) is None


def test_a_process_is_known_whatever_the_clock_says():
    own = daemon.identity(os.getpid())
    assert own == daemon.identity(os.getpid())
    assert daemon.alive(os.getpid(), own)
    assert not daemon.alive(1, own)
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    identity = daemon.identity(ended.pid)
    ended.wait()
    assert not daemon.alive(ended.pid, identity)


def test_a_taken_port_is_named_with_what_to_do(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"{port}.*--port"):
            daemon.start(port=port, workspace=Workspace(tmp_path))
    assert daemon.status(workspace=Workspace(tmp_path)) is None


def test_two_clusters_run_side_by_side(laptop, tmp_path):
    other = Workspace(tmp_path)
    state = daemon.start(port=0, workspace=other)
    try:
        mine = daemon.status(workspace=laptop.workspace)
        assert state.octet != mine.octet
        assert state.server != mine.server
    finally:
        assert daemon.stop(workspace=other)
    assert daemon.status(workspace=laptop.workspace) is not None


def test_what_others_must_not_read_is_private(laptop):
    for name in ("kubeconfig", "kept.json"):
        assert (laptop.workspace.cluster / name).stat().st_mode & 0o077 == 0
    assert laptop.workspace.cluster.stat().st_mode & 0o077 == 0
