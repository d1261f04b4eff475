"""What the image holds is enough: its servers answer with nothing else to be found."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.inference_services.conftest import ROOT, Running
from tests.inference_services.images import command, unpack
from tests.ports import free_port

LOCK = "locks/segmentation.txt"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A folder that holds what the image does."""
    return unpack(ROOT / "inference_services/segmentation/Dockerfile", tmp_path_factory.mktemp("image"))


def serve(image, role, package, folder, *flags, **environment):
    module = f"inference_services.segmentation.{role}"
    code = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    port, log = free_port(), folder / f"{role}.log"
    arguments = (f"--model_dir={package.folder}", f"--http_port={port}", "--enable_grpc=false", *flags)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(LOCK, code, *arguments),
            cwd=image,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
    return Running(process, port, 0, log)


@pytest.mark.slow  # three servers, one after the other
def test_its_servers_answer_with_what_it_holds(image, segment_package, segment_servers, customers, tmp_path):
    store = {"FEATURE_STORE_DATA": str(customers.folder)}
    predictor = serve(image, "predictor", segment_package, tmp_path)
    host = f"--predictor_host=127.0.0.1:{predictor.http_port}"
    transformer = serve(image, "transformer", segment_package, tmp_path, host, **store)
    explainer = serve(image, "explainer", segment_package, tmp_path, **store)
    one = {"instances": [{"customer_id": 1}]}
    try:
        for server, role, path, body in (
            (transformer, "transformer", "/predict", {"customer_id": 1}),
            (explainer, "explainer", "/v1/models/segmentation:explain", one),
        ):
            server.wait("/readyz")
            answer, expected = (each.client.post(path, json=body) for each in (server, segment_servers[role]))
            assert answer.status_code == 200
            assert answer.json() == expected.json()
            assert server.client.get("/docs").status_code == 200
    finally:
        for server in (transformer, explainer, predictor):
            server.stop()


@pytest.mark.parametrize(
    ("kind", "variables"),
    [
        ("redis", {"FEATURE_STORE_REDIS": "127.0.0.1:9,password=hush"}),
        (
            "postgres",
            {
                "FEATURE_STORE_POSTGRES_HOST": "127.0.0.1",
                "FEATURE_STORE_POSTGRES_DATABASE": "features",
                "FEATURE_STORE_POSTGRES_USER": "reader",
                "FEATURE_STORE_POSTGRES_PASSWORD": "hush",
                "FEATURE_STORE_POSTGRES_SSLMODE": "require",
            },
        ),
    ],
)
def test_it_holds_what_every_kind_of_store_needs(image, segment_package, tmp_path, kind, variables):
    config = f"manifests/feature_store/feature_store.{kind}.yaml"
    server = serve(image, "explainer", segment_package, tmp_path, FEATURE_STORE_CONFIG=config, **variables)
    try:
        server.wait("/healthz")
        answer = server.client.post("/v1/models/segmentation:explain", json={"instances": [1]})
        assert answer.status_code == 503
        assert f"online store {kind.replace('redis', 'Redis').replace('postgres', 'PostgreSQL')}" in answer.text
        assert "hush" not in answer.text + server.log.read_text()
    finally:
        server.stop()


def test_the_lock_holds_what_the_other_environment_has_in_the_same_version():
    versions = {
        name: set(re.findall(r"^([a-z0-9-]+==[^ ]+)", (ROOT / f"locks/{name}.txt").read_text(), re.MULTILINE))
        for name in ("dev", "segmentation")
    }
    assert versions["segmentation"] <= versions["dev"]


def test_it_is_free_of_what_its_servers_do_not_need():
    absent = {"torch", "feast", "duckdb", "numba", "llvmlite", "mlflow", "kfp", "pyarrow", "matplotlib", "xgboost-cpu"}
    absent |= {"huggingface-hub", "grpcio-tools", "prettytable"}
    assert not absent & set(re.findall(r"^([a-z0-9-]+)==", (ROOT / LOCK).read_text(), re.MULTILINE))
