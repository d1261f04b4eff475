"""REST operations that every server has: Open Inference Protocol v2, model status, health, metrics, documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from inference_services.serving.errors import unavailable
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.tensors import TensorReader, TensorSpec, to_json

NAME = "ml-deployment-blueprints"
VERSION = "0.1.0"
"""What the servers call themselves."""

_STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
_MODEL_STATUS = {
    "type": "object",
    "required": ["name", "ready"],
    "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}},
}
_MODEL_LIST = {
    "type": "object",
    "required": ["models"],
    "properties": {"models": {"type": "array", "items": {"type": "string"}}},
}
_NOT_READY = {503: "Not ready"}


def standard_operations(
    model: ServedModel,
    reader: TensorReader,
    registry: CollectorRegistry,
    seconds: Histogram,
    is_ready: Callable[[], Awaitable[bool]],
    *,
    max_rows: int,
) -> list[Operation]:
    """Health, metrics, model status and, where the model has tensors, v2 inference.

    Args:
        model: The model.
        reader: Checks v2 requests.
        registry: What `/metrics` shows.
        seconds: Times v2 inference.
        is_ready: Whether the server is ready.
        max_rows: Largest batch, for the documentation.
    """
    server = {"name": NAME, "version": VERSION, "extensions": []}
    status = {"name": model.name, "ready": True}

    async def check_ready() -> None:
        if not await is_ready():
            raise unavailable(f"{model.name} is not ready")

    async def alive(_: Call) -> Reply:
        return json_reply({"status": "alive"})

    async def ready(_: Call) -> Reply:
        await check_ready()
        return json_reply({"status": "ready", "model_version": model.version})

    async def live_v2(_: Call) -> Reply:
        return json_reply({"live": True})

    async def ready_v2(_: Call) -> Reply:
        await check_ready()
        return json_reply({"ready": True})

    async def server_metadata(_: Call) -> Reply:
        return json_reply(server)

    async def models(_: Call) -> Reply:
        return json_reply({"models": [model.name]})

    async def model_ready(_: Call) -> Reply:
        await check_ready()
        return json_reply(status)

    async def metrics(_: Call) -> Reply:
        text = await asyncio.to_thread(generate_latest, registry)
        return Reply(text, media_type=CONTENT_TYPE_LATEST.encode())

    def get(path: str, handler: Any, summary: str, tag: str, response: Any, **more: Any) -> Operation:
        responses = _NOT_READY if handler in (ready, ready_v2, model_ready) else {}
        return Operation("GET", path, handler, summary, tag, response, responses=responses, work=False, **more)

    boolean = {"type": "boolean"}
    operations = [
        get("/", alive, "Live: the process answers", "health", _STATUS),
        get("/healthz", alive, "Live: the process answers", "health", _STATUS),
        get("/readyz", ready, "Ready: the model is loaded and verified", "health", _STATUS),
        get("/metrics", metrics, "Prometheus metrics", "health", {"type": "string"}, media_types=("text/plain",)),
        get("/v1/models", models, "Names of the models", "v1", _MODEL_LIST),
        get(
            f"/v1/models/{model.name}",
            model_ready,
            "Whether the model is ready",
            "v1",
            _MODEL_STATUS,
        ),
        get("/v2", server_metadata, "Name and version of the server", "v2", {"type": "object"}),
        get("/v2/health/live", live_v2, "Live", "v2", {"type": "object", "properties": {"live": boolean}}),
        get(
            "/v2/health/ready",
            ready_v2,
            "Ready",
            "v2",
            {"type": "object", "properties": {"ready": boolean}},
        ),
        get("/v2/models", models, "Names of the models", "v2", _MODEL_LIST),
    ]
    if not model.inputs:
        return operations

    description = {
        "name": model.name,
        "versions": [model.version],
        "platform": model.platform,
        "inputs": [spec.metadata() for spec in model.inputs],
        "outputs": [spec.metadata() for spec in model.outputs],
    }

    async def model_metadata(_: Call) -> Reply:
        return json_reply(description)

    async def infer(call: Call) -> Reply:
        request = reader.from_json(call.json(), call.request_id, call.deadline)
        with seconds.time():
            outputs = await model.infer(request)
        return json_reply(
            {
                "model_name": model.name,
                "model_version": model.version,
                "id": request.id or call.request_id,
                "outputs": to_json(outputs),
            }
        )

    for prefix in (f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/{model.version}"):
        operations += [
            Operation(
                "POST",
                f"{prefix}/infer",
                infer,
                "Infer",
                "v2",
                _response_schema(model.outputs),
                request=_request_schema(model.inputs, model.outputs, max_rows),
                responses=model.infer_responses,
            ),
            get(prefix, model_metadata, "Named, typed inputs and outputs", "v2", {"type": "object"}),
            get(f"{prefix}/ready", model_ready, "Whether the model is ready", "v2", _MODEL_STATUS),
        ]
    return operations


def _request_schema(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], max_rows: int) -> dict[str, Any]:
    """JSON Schema of a v2 request; lengths that must agree are beyond it and are checked in code."""
    return {
        "type": "object",
        "required": ["inputs"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "maxLength": 128},
            "parameters": {"type": "object"},
            "inputs": {
                "type": "array",
                "minItems": sum(spec.required for spec in inputs),
                "maxItems": len(inputs),
                "description": f"One tensor a column, in any order, at most {max_rows} rows.",
                "items": {"oneOf": [_tensor_schema(spec) for spec in inputs]},
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": False,
                    "properties": {"name": {"enum": [spec.name for spec in outputs]}, "parameters": {"type": "object"}},
                },
            },
        },
    }


def _tensor_schema(spec: TensorSpec) -> dict[str, Any]:
    size = {"type": "integer", "minimum": 1}
    return {
        "type": "object",
        "title": spec.name,
        "required": ["name", "shape", "datatype", "data"],
        "additionalProperties": False,
        "properties": {
            "name": {"const": spec.name},
            "shape": {"type": "array", "items": size, "minItems": len(spec.shape), "maxItems": len(spec.shape) + 1},
            "datatype": {"enum": [spec.datatype, *spec.also]},
            "data": {"type": "array", "minItems": 1},
            "parameters": {"type": "object"},
        },
    }


def _response_schema(outputs: Sequence[TensorSpec]) -> dict[str, Any]:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"enum": [spec.name for spec in outputs]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "data": {"type": "array", "items": {"type": ["number", "string", "boolean", "null"]}},
        },
    }
    return {
        "type": "object",
        "required": ["model_name", "model_version", "id", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": tensor},
        },
    }
