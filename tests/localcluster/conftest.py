import base64
import os
import sys
import textwrap
from pathlib import Path

import pytest

from localcluster.processes.process_spec import Address, HttpGet, Probe, ProcessSpec
from tests.ports import free_ports

TINY_SERVER = Path(__file__).with_name("tiny_server.py")


@pytest.fixture
def tiny():
    """Makes the specification of a tiny server that is probed as a manifest would have it."""

    def make(name="tiny", *flags, readiness="/readyz", liveness=None, startup=None, grace_s=5.0):
        port = free_ports(1)[0]

        def probe(path, **settings):
            return None if path is None else Probe(HttpGet("127.0.0.1", port, path), **settings)

        return ProcessSpec(
            name=name,
            command=(sys.executable, str(TINY_SERVER), f"--http_port={port}", *flags),
            environment={"PATH": os.environ["PATH"]},
            address=Address("127.0.0.1"),
            ports={"http": port},
            startup=probe(startup, period_s=1, failure_threshold=2),
            readiness=probe(readiness, period_s=0.1, failure_threshold=2),
            liveness=probe(liveness, period_s=0.1, failure_threshold=2),
            grace_s=grace_s,
        )

    return make


@pytest.fixture
def overlay(tmp_path):
    """Writes an overlay with a service of three tiny servers; returns a function that overwrites parts of it."""
    folder = tmp_path / "overlay"
    folder.mkdir()
    probes = "readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 1}"
    command = f'["python", "{TINY_SERVER}"]'
    secret = base64.b64encode(b"sqlite:///decisions.db").decode()
    text = f"""
    apiVersion: serving.kserve.io/v1alpha1
    kind: ServingRuntime
    metadata: {{name: tiny, namespace: shop}}
    spec:
      supportedModelFormats: [{{name: tiny, autoSelect: true}}]
      protocolVersions: [v1, v2]
      containers:
        - name: kserve-container
          image: tiny:1
          command: {command}
          args: ["--model_name={{{{.Labels.model}}}}", --model_dir=/mnt/models, --http_port=8080, --grpc_port=8081]
          ports: [{{name: http, containerPort: 8080}}, {{name: grpc, containerPort: 8081}}]
          {probes}
    ---
    apiVersion: v1
    kind: Secret
    metadata: {{name: decisions, namespace: shop}}
    data: {{url: {secret}}}
    ---
    apiVersion: serving.kserve.io/v1beta1
    kind: InferenceService
    metadata:
      name: shop
      namespace: shop
      labels: {{model: till}}
      annotations: {{serving.kserve.io/deploymentMode: Standard}}
    spec:
      predictor:
        terminationGracePeriodSeconds: 5
        model: {{modelFormat: {{name: tiny}}, storageUri: pvc://models/shop}}
      transformer: &custom
        terminationGracePeriodSeconds: 5
        containers:
          - name: kserve-container
            image: tiny:1
            command: {command}
            args: [--model_dir=/mnt/models]
            env:
              - {{name: STORAGE_URI, value: "pvc://models/shop"}}
              - {{name: DECISIONS_URL, valueFrom: {{secretKeyRef: {{name: decisions, key: url}}}}}}
            ports: [{{name: http, containerPort: 8080}}]
            {probes}
      explainer: *custom
    """
    (folder / "service.yaml").write_text(textwrap.dedent(text))
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [service.yaml]\n"
    )
    return folder
