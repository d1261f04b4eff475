import base64
import copy
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.container import NotYetError, Surroundings, pod_process_spec
from localcluster.images import ImageError
from localcluster.mounts import localize
from localcluster.processes.process_spec import Exec, Grpc, HttpGet, TcpSocket
from localcluster.render import ManifestError
from localcluster.variables import expand, quantity

PACKAGE = Path("/packages/0123456789ab")
ADDRESS = "127.7.1.1"
CONTAINER = {
    "name": "app",
    "image": "ml-deployment-blueprints/credit-risk:0.1.0",
    "command": ["python", "-m", "server"],
    "args": ["--http_port=8080"],
    "ports": [{"name": "http", "containerPort": 8080}, {"name": "grpc", "containerPort": 8081}],
}
OBJECTS = [
    {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}, "data": {"level": "debug", "x": "1"}},
    {"kind": "ConfigMap", "metadata": {"name": "far", "namespace": "other"}, "data": {"level": "debug"}},
    {
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "shop"},
        "data": {"url": "cGc6Ly9kYg==", "bytes": base64.b64encode(b"\xff").decode()},
    },
    {"kind": "Namespace", "metadata": {"name": "other"}},
    {
        "kind": "Service",
        "metadata": {"name": "till", "namespace": "shop"},
        "spec": {"clusterIP": "127.7.128.1", "ports": [{"port": 80, "targetPort": 8080}, {"port": 9000}]},
    },
    {
        "kind": "Service",
        "metadata": {"name": "store", "namespace": "other"},
        "spec": {"clusterIP": "127.7.128.2", "ports": [{"port": 5000}]},
    },
    {
        "kind": "Service",
        "metadata": {"name": "stale", "namespace": "shop"},
        "spec": {"clusterIP": "127.8.128.1", "ports": [{"port": 80}]},
    },
    {"kind": "Service", "metadata": {"name": "new", "namespace": "shop"}, "spec": {"ports": [{"port": 80}]}},
]


def find(kind, name, namespace):
    for item in OBJECTS:
        metadata = item["metadata"]
        if (item["kind"], metadata["name"], metadata.get("namespace", "")) == (kind, name, namespace):
            return item
    return None


def spec_of(*, model=PACKAGE, folder=Path("/pods/1"), pod=None, **fields):
    container = {**copy.deepcopy(CONTAINER), **fields}
    item = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p-1", "namespace": "shop", "uid": "u", "labels": {"app.kubernetes.io/name": "till"}},
        "spec": {"containers": [container], "nodeName": "laptop", "terminationGracePeriodSeconds": 7, **(pod or {})},
        "status": {"podIP": ADDRESS, "hostIP": "127.0.0.1"},
    }
    around = Surroundings(
        address=ADDRESS,
        folder=folder,
        find=find,
        holds_service=lambda address: address.startswith("127.7.128."),
        claim=lambda name: Path("/claims/data") if name == "data" else None,
        model=model,
        environment={"PATH": "/usr/bin:/bin", "BLUEPRINTS_HOME": "/home"},
    )
    return pod_process_spec(item, around)


def test_python_is_this_interpreter_and_nothing_is_inherited(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    spec = spec_of(env=[{"name": "A", "value": "1"}])
    assert spec.command == (sys.executable, "-m", "server", "--http_port=8080")
    assert spec.environment == {
        "PATH": "/usr/bin:/bin",
        "BLUEPRINTS_HOME": "/home",
        "HOSTNAME": "p-1",
        "A": "1",
        "BIND_HOST": ADDRESS,
    }
    assert (spec.name, spec.grace_s, spec.restart) == ("shop/p-1", 7, "Always")
    assert spec.ports == {"http": 8080, "grpc": 8081}
    assert spec_of(pod={"restartPolicy": "Never"}).restart == "Never"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--predictor_host", "till"], ["--predictor_host", "127.7.128.1:8080"]),
        (["--predictor_host=till.shop"], ["--predictor_host=127.7.128.1:8080"]),
        (["--predictor_host=till:9000"], ["--predictor_host=127.7.128.1:9000"]),
        (["--predictor_host=127.0.0.1:9"], ["--predictor_host=127.0.0.1:9"]),
        (["--predictor_host=localhost:9"], ["--predictor_host=localhost:9"]),
        (["http://till"], ["http://127.7.128.1:8080"]),
        (["--url=http://store.other:5000/v2/x"], ["--url=http://127.7.128.2:5000/v2/x"]),
        (["http://store.other.svc.cluster.local:5000"], ["http://127.7.128.2:5000"]),
        (["http://example.com", "http://127.0.0.1:80", "x http://till"],) * 2,
    ],
)
def test_names_of_services_become_addresses(words, expected):
    spec = spec_of(args=words, env=[{"name": "X", "value": words[-1]}])
    assert list(spec.command[3:]) == expected
    if "predictor_host" not in words[0]:
        assert spec.environment["X"] == expected[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["--predictor_host=gone"],
        ["--predictor_host", "gone.elsewhere"],
        ["http://new"],
        ["http://stale"],
        ["--predictor_host=stale"],
        ["http://gone.elsewhere.svc:80"],
    ],
)
def test_a_service_without_an_address_is_waited_for(words):
    with pytest.raises(NotYetError, match="waits for an address of Service"):
        spec_of(args=words)


def test_the_model_folder_stands_for_mnt_models():
    args = ["--model_dir=/mnt/models", "/mnt/models/a.ubj", "/mnt/models2", "/x/mnt/models"]
    spec = spec_of(args=args, env=[{"name": "D", "value": "a:/mnt/models"}])
    assert spec.command[3:] == (f"--model_dir={PACKAGE}", f"{PACKAGE}/a.ubj", "/mnt/models2", "/x/mnt/models")
    assert spec.environment["D"] == f"a:{PACKAGE}"
    assert spec_of(args=args, model=None).command[3:] == tuple(args)


@given(st.text(alphabet="/mntodels-=.x ", max_size=30))
def test_only_whole_mount_paths_are_replaced(text):
    replaced = localize(text, {"/mnt/models": PACKAGE, "/mnt": Path("/else")})
    assert replaced.replace(str(PACKAGE), "/mnt/models").replace("/else", "/mnt") == text
    assert localize(text, {}) == text


def test_of_two_mounts_the_inner_one_wins():
    mounted = {"/data": Path("/a"), "/data/in": Path("/b")}
    assert localize("/data/in/x /data/inner /data", mounted) == "/b/x /a/inner /a"


def test_variables_come_from_configmaps_and_secrets_and_later_ones_win():
    spec = spec_of(
        envFrom=[{"configMapRef": {"name": "c"}, "prefix": "C_"}],
        env=[
            {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "level"}}},
            {"name": "FULL", "value": "$(LEVEL) $$(LEVEL) $(GONE)"},
            {"name": "C_x", "value": "2"},
            {"name": "NOT", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": True}}},
        ],
        args=["--level=$(LEVEL)"],
    )
    assert spec.environment["FULL"] == "debug $(LEVEL) $(GONE)"
    assert spec.environment["C_x"] == "2"
    assert spec.environment["C_level"] == "debug"
    assert "NOT" not in spec.environment
    assert spec.command[-1] == "--level=debug"


@given(st.text(), st.dictionaries(st.sampled_from(["A", "B_1"]), st.text(max_size=5)))
def test_expansion_leaves_text_without_dollars_alone_and_doubled_ones_are_literal(text, environment):
    plain = text.replace("$", "")
    assert expand(plain, environment) == plain
    assert expand(text.replace("$", "$$"), environment) == text


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "p-1"),
        ({"fieldRef": {"fieldPath": "metadata.namespace"}}, "shop"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app.kubernetes.io/name']"}}, "till"),
        ({"fieldRef": {"fieldPath": "metadata.annotations['gone']"}}, ""),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, ADDRESS),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "laptop"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "2"),
        ({"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}, "250"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "512"),
    ],
)
def test_a_variable_may_be_a_field_of_its_pod(source, value):
    resources = {"requests": {"cpu": "250m"}, "limits": {"cpu": "1500m", "memory": "512Mi"}}
    assert spec_of(env=[{"name": "X", "valueFrom": source}], resources=resources).environment["X"] == value


def test_without_a_limit_a_container_has_what_the_machine_has():
    source = {"resourceFieldRef": {"resource": "limits.cpu"}}
    assert spec_of(env=[{"name": "X", "valueFrom": source}]).environment["X"] == str(os.cpu_count())


@pytest.mark.parametrize(
    ("text", "number"), [("250m", 0.25), ("2", 2), (1.5, 1.5), ("1Gi", 1 << 30), ("1e3", 1000), ("3k", 3000)]
)
def test_quantities_are_numbers(text, number):
    assert quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1.2.3", "--1", "Gi"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ManifestError, match="no quantity"):
        quantity(text)


def test_every_kind_of_probe_is_read_with_kubernetes_defaults():
    spec = spec_of(
        startupProbe={"exec": {"command": ["python", "-c", "/mnt/models"]}, "failureThreshold": 60, "periodSeconds": 1},
        readinessProbe={"tcpSocket": {"port": "http"}},
        livenessProbe={"grpc": {"port": 8081, "service": "s"}, "timeoutSeconds": 3},
    )
    assert spec.startup.action == Exec((sys.executable, "-c", str(PACKAGE)))
    assert spec.startup.failure_threshold == 60
    assert spec.readiness.action == TcpSocket(ADDRESS, 8080)
    assert (spec.readiness.period_s, spec.readiness.timeout_s) == (10, 1)
    assert (spec.liveness.action, spec.liveness.timeout_s) == (Grpc(ADDRESS, 8081, "s"), 3)
    get = {"httpGet": {"path": "/readyz", "port": 8080, "scheme": "HTTPS"}}
    assert spec_of(readinessProbe=get).readiness.action == HttpGet(ADDRESS, 8080, "/readyz", "https")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"command": []}, "entry point is unknown"),
        ({"command": ["no-such-program"]}, "'no-such-program' is not installed"),
        ({"lifecycle": {}}, "lifecycle"),
        ({"workingDir": "/app"}, "workingDir"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, r"nvidia\.com/gpu"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}, "A: valueFrom.fieldRef: x"),
        ({"env": [{"name": "A", "valueFrom": {"fileKeyRef": {}}}]}, "A: valueFrom.fileKeyRef"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "z", "key": "k"}}}]}, 'secret "z" not found'),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, "no key 'k'"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "bytes"}}}]}, "is bytes"),
        ({"env": [{"name": "A", "value": "x\0y"}]}, "no process can have the variable 'A'"),
        ({"env": [{"name": "A=B", "value": "x"}]}, "no process can have the variable 'A=B'"),
        ({"envFrom": [{"configMapRef": {"name": "c"}, "prefix": "="}]}, "no process can have the variable '=level'"),
        ({"envFrom": [{"configMapRef": {"name": "far"}}]}, 'configmap "far" not found; apply it'),
        ({"args": ["--predictor_host"]}, "--predictor_host has no value"),
        ({"readinessProbe": {"httpGet": {"port": "web"}}}, "no port is named 'web'"),
        ({"readinessProbe": {"periodSeconds": 1}}, "names no httpGet"),
        ({"pod": {"initContainers": [{"name": "i"}]}}, "init containers"),
        ({"pod": {"hostNetwork": True, "hostPID": False}}, r"spec\.hostNetwork has no counterpart"),
        ({"pod": {"readinessGates": [{"conditionType": "x"}]}}, r"spec\.readinessGates"),
        ({"volumeMounts": [{"name": "v", "mountPath": "/data"}]}, "the pod has no such volume"),
    ],
)
def test_what_a_process_cannot_have_is_refused(fields, reason):
    with pytest.raises(ManifestError, match=reason):
        spec_of(**fields)


def test_an_image_that_is_not_known_is_refused():
    with pytest.raises(ImageError, match="nginx"):
        spec_of(image="nginx")


def mounting(volume, path="/data", **mount):
    return {
        "volumeMounts": [{"name": "v", "mountPath": path, **mount}],
        "pod": {"volumes": [{"name": "v", **volume}]},
        "args": ["--at=/data"],
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (mounting({"hostPath": {"path": "/"}}), "hostPath has no counterpart"),
        (mounting({"configMap": {"name": "gone"}}), 'configmap "gone" not found'),
        (mounting({"configMap": {"name": "c", "items": [{"key": "gone", "path": "x"}]}}), "no key 'gone'"),
        (mounting({"configMap": {"name": "c", "items": [{"key": "x", "path": "../x"}]}}), "stay within the volume"),
        (mounting({"emptyDir": {}}, subPath="../x"), "subPath must stay within"),
        (mounting({"emptyDir": {}}, subPathExpr="$(A)"), "subPathExpr"),
        (mounting({"persistentVolumeClaim": {"claimName": "gone"}}), "no folder stands for volume claim 'gone'"),
    ],
)
def test_volumes_that_cannot_be_had_are_refused(fields, reason, tmp_path):
    with pytest.raises(ManifestError, match=f"volume v at /data: .*{reason}"):
        spec_of(folder=tmp_path, **fields)


def test_a_volume_is_a_folder_and_a_sub_path_a_part_of_it(tmp_path):
    assert spec_of(folder=tmp_path, **mounting({"emptyDir": {}})).command[-1] == f"--at={tmp_path}/volumes/v"
    assert (tmp_path / "volumes" / "v").is_dir()
    spec = spec_of(folder=tmp_path, **mounting({"configMap": {"name": "c"}}, subPath="level"))
    assert Path(spec.command[-1].partition("=")[2]).read_text() == "debug"
    spec = spec_of(folder=tmp_path, **mounting({"persistentVolumeClaim": {"claimName": "data"}}))
    assert spec.command[-1] == "--at=/claims/data"
    optional = mounting({"configMap": {"name": "gone", "optional": True}})
    assert spec_of(folder=tmp_path, **optional).command


def test_a_scratch_volume_is_the_machines_own(tmp_path):
    fields = mounting({"emptyDir": {}}, path="/tmp") | {"args": ["/tmp/x"]}
    assert spec_of(folder=tmp_path, **fields).command[-1] == "/tmp/x"
    assert list(tmp_path.iterdir()) == []
