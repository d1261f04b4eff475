"""The kit without kserve and gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import httpx

from tests.inference_services.conftest import ROOT
from tests.ports import free_port

SERVER = """
import sys
for missing in ("kserve", "grpc", "google.protobuf", "fastapi", "uvicorn", "aiohttp", "pandas", "kubernetes"):
    sys.modules[missing] = None
import numpy as np
from blueprints.schema import Column
from inference_services.serving import edge_server
from inference_services.serving.metrics import PredictionHistogram
from inference_services.serving.model import Operation, ServedModel, json_reply
from inference_services.serving.tensors import Output, TensorSpec

class Doubler(ServedModel):
    role, platform, version = "predictor", "numpy", "1"
    inputs = [TensorSpec("x", "FP64")]
    outputs = [TensorSpec("y", "FP64")]
    predictions = PredictionHistogram([Column(name="y", kind="number", minimum=0, maximum=10)], "1")
    async def infer(self, call):
        values = np.array(call.inputs["x"], float) * 2
        self.predictions.observe("y", values)
        return [Output(self.outputs[0], values)]
    def operations(self):
        return []

edge_server.build_or_exit = lambda build, options: Doubler("doubler")
edge_server.serve(None)
"""


def test_it_answers_without_kserve_and_grpc(tmp_path):
    port = free_port()
    command = [sys.executable, "-c", SERVER, f"--http_port={port}"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(400):
                try:
                    assert client.get("/readyz").status_code == 200
                    break
                except httpx.ConnectError:
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.05)
            tensor = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1, 2]}
            answer = client.post("/v2/models/doubler/infer", json={"inputs": [tensor]})
            assert answer.json()["outputs"][0]["data"] == [2.0, 4.0]
            samples = client.get("/metrics").text
            assert 'request_predict_seconds_count{model_name="doubler"} 1.0' in samples
            assert 'model_predictions_count{model_version="1",output="y"} 2.0' in samples
            assert client.get("/docs").status_code == 200
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert json.loads(log.read_text().splitlines()[-1])["status"] == 200
