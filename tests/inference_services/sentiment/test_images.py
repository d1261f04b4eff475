"""What the images hold is enough: their servers import, and the edge server answers, with nothing else to be found."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inference_services.conftest import ROOT, Running, free_port

IMAGES = {
    "Dockerfile": ("locks/text-serving.txt", ("predictor", "transformer", "explainer")),
    "edge.Dockerfile": ("locks/edge.txt", ("edge",)),
}
# Lets Python find the standard library, what lies in the working directory, and what the lock names.
ONLY_THE_LOCK = """
import importlib.metadata, re, sys
lock, *sys.argv = sys.argv[1:]
canonical = lambda name: re.sub("[-_.]+", "-", name).lower()
locked = set(re.findall(r"^([a-z0-9-]+)==", open(lock).read(), re.M))
packages = importlib.metadata.packages_distributions()
class Locked:
    def find_spec(self, name, path=None, target=None):
        owners = packages.get(name)
        if owners and not locked & set(map(canonical, owners)):
            raise ModuleNotFoundError(f"No module named {name!r} in {lock}", name=name)
sys.meta_path.insert(0, Locked())
sys.path[:] = ["", *(path for path in sys.path if path and path != %(root)r)]
"""


@pytest.fixture(params=IMAGES)
def image(request, tmp_path):
    """The lock, the servers and a folder that holds what the image does."""
    dockerfile = ROOT / "inference_services/sentiment" / request.param
    for line in re.sub(r"\\\n", " ", dockerfile.read_text()).splitlines():
        if not line.startswith("COPY ") or "--from=" in line:
            continue
        *sources, target = shlex.split(line)[1:]
        if target.startswith("/"):
            continue
        for path in (path for source in sources for path in ROOT.glob(source.rstrip("/"))):
            (tmp_path / target).mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, tmp_path / target, dirs_exist_ok=True)
            else:
                shutil.copy(path, tmp_path / target)
    return (*IMAGES[request.param], tmp_path)


def command(lock: str, code: str, *arguments: str) -> list[str]:
    prelude = ONLY_THE_LOCK % {"root": str(ROOT)}
    return [sys.executable, "-c", prelude + code, str(ROOT / lock), "server", *arguments]


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
