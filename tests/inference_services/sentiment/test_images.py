"""What the images hold is enough: their servers import, and the edge server answers, with nothing else to be found."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.inference_services.conftest import ROOT, Running
from tests.inference_services.images import command, unpack
from tests.ports import free_port

IMAGES = {
    "Dockerfile": ("locks/text-serving.txt", ("predictor", "transformer", "explainer")),
    "edge.Dockerfile": ("locks/edge.txt", ("edge",)),
}


@pytest.fixture(params=IMAGES)
def image(request, tmp_path):
    """The lock, the servers and a folder that holds what the image does."""
    folder = unpack(ROOT / "inference_services/sentiment" / request.param, tmp_path)
    return (*IMAGES[request.param], folder)


def test_every_server_imports_with_what_its_image_holds(image):
    lock, servers, folder = image
    code = f"import {', '.join(f'inference_services.sentiment.{server}' for server in servers)}\n"
    code += "import inference_services.serving.server\n" if "edge" not in servers else ""
    code += "import inference_services.sentiment, os; assert inference_services.__path__[0].startswith(os.getcwd())"
    done = subprocess.run(command(lock, code), cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("image", ["edge.Dockerfile"], indirect=True)
def test_the_edge_server_answers_with_what_its_image_holds(image, text_package, edge, tmp_path):
    lock, _, folder = image
    code = "import runpy; runpy.run_module('inference_services.sentiment.edge', run_name='__main__', alter_sys=True)"
    port = free_port()
    log = tmp_path / "edge.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(lock, code, f"--model_dir={text_package.folder}", f"--http_port={port}"),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Running(process, port, 0, log)
    try:
        server.wait("/readyz")
        for path, body in (
            ("/predict", {"text": "a good film"}),
            ("/predict", {"texts": ["awful " * 70, "warm and funny"]}),
            ("/v1/models/sentiment:predict", {"instances": ["dull"]}),
            ("/predict", {"text": "no"}),
        ):
            answer, expected = (each.client.post(path, json=body) for each in (server, edge))
            assert (answer.status_code, answer.json()) == (expected.status_code, expected.json())
        assert "model_predictions" in server.client.get("/metrics").text
        assert server.client.get("/docs").status_code == 200
    finally:
        assert server.stop() == 0


def test_the_locks_hold_what_the_other_environment_has_in_the_same_version():
    versions = {}
    for name in ("dev", "text-serving", "edge"):
        text = (ROOT / f"locks/{name}.txt").read_text()
        versions[name] = set(re.findall(r"^([a-z0-9-]+==[^ ]+)", text, re.MULTILINE))
    assert versions["edge"] <= versions["text-serving"] <= versions["dev"]


@pytest.mark.parametrize(
    ("lock", "absent"),
    [
        (
            "text-serving",
            {"torch", "transformers", "onnx", "scikit-learn", "pyarrow", "huggingface-hub", "grpcio-tools"},
        ),
        ("edge", {"kserve", "grpcio", "protobuf", "fastapi", "aiohttp", "pandas", "pyarrow"}),
    ],
)
def test_an_image_is_free_of_what_its_servers_do_not_need(lock, absent):
    text = (ROOT / f"locks/{lock}.txt").read_text()
    assert not absent & set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


def test_each_image_starts_a_server_that_it_holds(image):
    _, servers, folder = image
    name = "Dockerfile" if "predictor" in servers else "edge.Dockerfile"
    last = (ROOT / "inference_services/sentiment" / name).read_text().strip().splitlines()[-1]
    module = json.loads(last.removeprefix("CMD "))[-1]
    assert module.rpartition(".")[2] in servers
    assert (folder / Path(*module.split("."))).with_suffix(".py").is_file()
