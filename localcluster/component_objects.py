"""The objects that KServe's controller makes of a component in Standard mode: a Deployment and a Service.

Pure functions. Names, labels, selector and ports are KServe's own (`reconcilers/deployment`, `reconcilers/service`), so
that what names them here - routes, budgets, policies - holds on a cluster too.
"""

from __future__ import annotations

import copy
from typing import Any

from localcluster.inference_service import HTTP_PORT, Component
from localcluster.render import Object

SERVICE_PORT = 80
INFERENCE_SERVICE_LABEL = "serving.kserve.io/inferenceservice"


def selector(component: Component) -> dict[str, str]:
    """The labels by which a component's pods are found."""
    return {"app": f"isvc.{component.service}"}


def deployment(component: Component, owner: Object) -> Object:
    """The Deployment of a component.

    Args:
        component: The component.
        owner: The reference to its InferenceService.
    """
    metadata = _metadata(component)
    spec: Object = {
        "replicas": component.replicas,
        "selector": {"matchLabels": selector(component)},
        "template": {
            "metadata": {key: metadata[key] for key in ("labels", "annotations") if key in metadata},
            "spec": _pod(component),
        },
    }
    if component.strategy:
        spec["strategy"] = component.strategy
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "ownerReferences": [owner]},
        "spec": spec,
    }


def service(component: Component, owner: Object) -> Object:
    """The Service of a component: port 80 for its container's first port, the others under their own numbers.

    Args:
        component: The component.
        owner: The reference to its InferenceService.
    """
    ports = component.container.get("ports") or [{"name": component.service, "containerPort": HTTP_PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**_metadata(component), "ownerReferences": [owner]},
        "spec": {
            "selector": selector(component),
            "ports": [
                _service_port(port, port["containerPort"] if number else SERVICE_PORT)
                for number, port in enumerate(ports)
            ],
        },
    }


def _metadata(component: Component) -> Object:
    return {
        "name": component.service,
        "namespace": component.namespace,
        "labels": {
            **component.labels,
            INFERENCE_SERVICE_LABEL: component.inference_service,
            "component": component.role,
            **selector(component),
        },
        **({"annotations": dict(component.annotations)} if component.annotations else {}),
    }


def _pod(component: Component) -> Object:
    container = copy.deepcopy(component.container)
    ports = container.get("ports") or [{"containerPort": HTTP_PORT}]
    container.setdefault("readinessProbe", {"tcpSocket": {"port": ports[0]["containerPort"]}})
    return {
        **component.pod,
        "containers": [container],
        **({"volumes": list(component.volumes)} if component.volumes else {}),
    }


def _service_port(port: Object, number: int) -> Object:
    name = port.get("name", "")
    made: dict[str, Any] = {
        "port": number,
        "targetPort": port["containerPort"],
        "protocol": port.get("protocol", "TCP"),
    }
    if name:
        made["name"] = name
    if "grpc" in name or "h2c" in name:
        # So that a gateway speaks HTTP/2 to it.
        made["appProtocol"] = "kubernetes.io/h2c"
    return made
