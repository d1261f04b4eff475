import copy
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.container import process_spec
from localcluster.inference_service import Component
from localcluster.processes.process_spec import Address, Exec, Grpc, HttpGet, TcpSocket
from localcluster.render import ManifestError, Objects
from localcluster.variables import expand

PACKAGE = Path("/packages/0123456789ab")
CONTAINER = {
    "name": "kserve-container",
    "command": ["python", "-m", "server"],
    "args": ["--http_port=8080"],
    "ports": [{"name": "http", "containerPort": 8080}, {"name": "grpc", "containerPort": 8081}],
}
HERE = Address()
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"level": "debug", "x": "1"}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"url": "cGc6Ly9kYg=="}}


def spec_of(container=None, *, uri="pvc://m", address=HERE, volumes=(), services=None, **fields):
    component = Component(
        role="transformer",
        inference_service="shop",
        namespace="",
        container={**copy.deepcopy(CONTAINER), **(container or {}), **fields},
        volumes=tuple(volumes),
        storage_uri=uri,
        replicas=1,
        grace_s=7,
    )
    return process_spec(
        component,
        Objects((CONFIG, SECRET)),
        address=address,
        storage=lambda uri: PACKAGE,
        services=services or {},
        environment={"PATH": "/usr/bin:/bin", "BLUEPRINTS_HOME": "/home"},
    )


def test_python_is_this_interpreter_and_nothing_is_inherited(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    spec = spec_of(env=[{"name": "A", "value": "1"}])
    assert spec.command == (sys.executable, "-m", "server", "--http_port=8080")
    assert spec.environment == {
        "PATH": "/usr/bin:/bin",
        "BLUEPRINTS_HOME": "/home",
        "A": "1",
        "BIND_HOST": "127.0.0.1",
    }
    assert spec.name == "shop-transformer"
    assert spec.grace_s == 7


def test_ports_and_services_become_addresses_on_this_machine():
    address = Address("127.0.0.1", {8080: 9100, 8081: 9101})
    services = {"shop-predictor": Address("127.0.0.2", {8080: 9200, 8081: 9201})}
    args = ["--http_port=8080", "--grpc_port", "8081", "--predictor_host", "shop-predictor.ns"]
    spec = spec_of(args=args, address=address, services=services)
    assert spec.command[3:] == ("--http_port=9100", "--grpc_port", "9101", "--predictor_host", "127.0.0.2:9200")
    assert spec.ports == {"http": 9100, "grpc": 9101}
    assert spec.environment["BIND_HOST"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("shop-predictor", "127.0.0.2:9200"),
        ("shop-predictor.ns.svc.cluster.local:80", "127.0.0.2:9200"),
        ("shop-predictor.ns:8081", "127.0.0.2:9201"),
        ("elsewhere.example.com:443", "elsewhere.example.com:443"),
    ],
)
def test_a_service_is_found_by_each_of_its_names(host, expected):
    services = {"shop-predictor": Address("127.0.0.2", {8080: 9200, 8081: 9201})}
    assert spec_of(args=[f"--predictor_host={host}"], services=services).command[-1] == f"--predictor_host={expected}"


def test_a_replica_on_its_own_loopback_address_keeps_its_ports():
    spec = spec_of(address=Address("127.0.3.4"), readinessProbe={"httpGet": {"port": "http", "path": "/r"}})
    assert spec.command[-1] == "--http_port=8080"
    assert spec.environment["BIND_HOST"] == "127.0.3.4"
    assert spec.readiness.action == HttpGet("127.0.3.4", 8080, "/r")


def test_the_model_folder_stands_for_mnt_models():
    args = ["--model_dir=/mnt/models", "/mnt/models/a.ubj", "/mnt/models2", "/x/mnt/models"]
    spec = spec_of(args=args, env=[{"name": "D", "value": "a:/mnt/models"}])
    assert spec.command[3:] == (f"--model_dir={PACKAGE}", f"{PACKAGE}/a.ubj", "/mnt/models2", "/x/mnt/models")
    assert spec.environment["D"] == f"a:{PACKAGE}"
    assert spec_of(args=args, uri="").command[3:] == tuple(args)


@given(st.text(alphabet="/mntodels-=.x ", max_size=30))
def test_only_mnt_models_is_replaced(text):
    replaced = spec_of(args=[text]).command[-1]
    assert replaced.replace(str(PACKAGE), "/mnt/models") == text


def test_variables_come_from_configmaps_and_secrets_and_later_ones_win():
    spec = spec_of(
        envFrom=[{"configMapRef": {"name": "c"}, "prefix": "C_"}, {"secretRef": {"name": "s"}}],
        env=[
            {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "level"}}},
            {"name": "URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "url"}}},
            {"name": "FULL", "value": "$(URL)/$(LEVEL) $$(URL) $(GONE)"},
            {"name": "C_x", "value": "2"},
            {"name": "NOT", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": True}}},
        ],
        args=["--url=$(URL)"],
    )
    assert spec.environment["FULL"] == "pg://db/debug $(URL) $(GONE)"
    assert spec.environment["url"] == "pg://db"
    assert spec.environment["C_x"] == "2"
    assert "NOT" not in spec.environment
    assert spec.command[-1] == "--url=pg://db"


@given(st.text(), st.dictionaries(st.sampled_from(["A", "B_1"]), st.text(max_size=5)))
def test_expansion_leaves_text_without_dollars_alone_and_doubled_ones_are_literal(text, environment):
    plain = text.replace("$", "")
    assert expand(plain, environment) == plain
    assert expand(text.replace("$", "$$"), environment) == text


def test_every_kind_of_probe_is_read_with_kubernetes_defaults():
    address = Address("127.0.0.1", {8080: 1, 8081: 2})
    spec = spec_of(
        address=address,
        startupProbe={"exec": {"command": ["true"]}, "failureThreshold": 60, "periodSeconds": 1},
        readinessProbe={"tcpSocket": {"port": 8080}},
        livenessProbe={"grpc": {"port": 8081, "service": "s"}, "timeoutSeconds": 3},
    )
    assert (spec.startup.action, spec.startup.failure_threshold) == (Exec(("true",)), 60)
    assert spec.readiness.action == TcpSocket("127.0.0.1", 1)
    assert (spec.readiness.period_s, spec.readiness.timeout_s) == (10, 1)
    assert (spec.liveness.action, spec.liveness.timeout_s) == (Grpc("127.0.0.1", 2, "s"), 3)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"command": []}, "entry point is unknown"),
        ({"command": ["no-such-program"]}, "'no-such-program' is not installed"),
        ({"lifecycle": {}}, "lifecycle"),
        ({"workingDir": "/app"}, "workingDir"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, r"nvidia\.com/gpu"),
        ({"volumeMounts": [{"name": "v", "mountPath": "/data"}]}, "volume v at /data"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}, "A: valueFrom.fieldRef"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "z", "key": "k"}}}]}, 'secret "z" not found'),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, "no key 'k'"),
        ({"args": ["--http_port"]}, "--http_port has no value"),
        ({"args": ["--http_port=web"]}, "'web' is no port"),
        ({"readinessProbe": {"httpGet": {"port": "web"}}}, "no port is named 'web'"),
        ({"readinessProbe": {"periodSeconds": 1}}, "names no httpGet"),
    ],
)
def test_what_a_process_cannot_have_is_refused(fields, reason):
    with pytest.raises(ManifestError, match=reason):
        spec_of(**fields)


def test_a_scratch_volume_is_the_machines_own():
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]
    assert spec_of(volumeMounts=mounts, volumes=[{"name": "tmp", "emptyDir": {}}]).command
    with pytest.raises(ManifestError, match="volume tmp"):
        spec_of(volumeMounts=mounts, volumes=[{"name": "tmp", "hostPath": {"path": "/"}}])
