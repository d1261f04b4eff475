"""Every kind that the API serves has a schema, at hand in no time."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from localcluster.api.resources import RESOURCES
from localcluster.render import render
from localcluster.schemas.kinds import structure

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: f"{resource.api_version} {resource.kind}")
def test_every_resource_has_a_schema_that_knows_metadata(resource):
    schema = structure(resource.api_version, resource.kind)
    item = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "a", "nam": "b"}}
    assert "metadata.nam" in schema.decode(item)[1]


def test_a_kind_that_nobody_knows_has_none():
    assert structure("example.com/v1", "Thing") is None
    assert structure("apps/v2", "Deployment") is None
    assert structure("v1", "ObjectReference") is None


def test_the_kserve_sdk_is_read_and_not_imported():
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from localcluster.schemas.kinds import structure\n"
        "imported = time.perf_counter()\n"
        "kind = structure('serving.kserve.io/v1beta1', 'InferenceService')\n"
        "kind.errors({'spec': {'predictor': {'containers': [{'name': 'a', 'image': 'b'}]}}})\n"
        "print('kserve' in sys.modules or 'jsonschema' in sys.modules, time.perf_counter() - imported)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy, seconds = ended.stdout.split()
    assert heavy == "False"
    assert float(seconds) < 2, "0.1 s on an idle machine; the rest is for a busy one"


def test_an_inference_service_is_judged_in_milliseconds():
    service = render(ROOT / "kustomize" / "overlays" / "prod").get("InferenceService", "credit-risk")
    schema = structure(service["apiVersion"], service["kind"])
    schema.errors(schema.decode(service)[0])
    times = []
    for _ in range(9):
        start = time.process_time()
        decoded, _ = schema.decode(service)
        schema.fill(decoded)
        assert schema.errors(decoded) == []
        times.append(time.process_time() - start)
    assert sorted(times)[4] < 0.01
