"""gRPC: the Open Inference Protocol's service with the same checks, limits, metrics and reasons as REST."""

# ruff: noqa: ARG002, N802 - names and arguments are the protocol's
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc
from prometheus_client import Histogram

from inference_services.serving.admission import Places
from inference_services.serving.deadlines import HEADER, allowed_seconds
from inference_services.serving.errors import RequestError, refuse, too_late
from inference_services.serving.grpc_tensors import from_grpc, to_grpc
from inference_services.serving.metrics import RequestMetrics
from inference_services.serving.model import ServedModel
from inference_services.serving.options import Options
from inference_services.serving.protocol import NAME, VERSION
from inference_services.serving.request_log import RequestLog, described
from inference_services.serving.rest import new_request_id
from inference_services.serving.tensors import TensorReader

_log = logging.getLogger("serving")
_Response = TypeVar("_Response")

_CODES = {
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.INTERNAL_SERVER_ERROR: grpc.StatusCode.INTERNAL,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves one model. Loading and unloading models from outside is not offered.

    Args:
        model: The model.
        reader: Checks its requests.
        options: The server's limits.
        metrics: Where calls are counted.
        log: Where calls are written.
        places: The places that inference needs, REST's and gRPC's.
        predict_seconds: Times inference.
    """

    def __init__(
        self,
        model: ServedModel,
        reader: TensorReader,
        options: Options,
        metrics: RequestMetrics,
        log: RequestLog,
        places: Places,
        predict_seconds: Histogram,
    ) -> None:
        self._model = model
        self._reader = reader
        self._options = options
        self._places = places
        self._log = log
        methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
        self._methods = {name: (metrics.grpc(name), described("call", method=name)) for name in methods}
        self._seconds = predict_seconds

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelInferResponse:
        """Infers."""

        async def infer(request_id: str, deadline: float) -> pb.ModelInferResponse:
            self._check_model(request.model_name, request.model_version)
            if request.ByteSize() > self._options.max_body * 2:
                message = f"is larger than {self._options.max_body * 2} bytes: send fewer rows at a time"
                raise refuse(("body",), message, "too_large", status=413)
            if not self._places.take():
                raise self._places.full
            try:
                call = from_grpc(self._reader, request, request_id, deadline)
                with self._seconds.time():
                    outputs = await self._model.infer(call)
            finally:
                self._places.leave()
            response = pb.ModelInferResponse(
                model_name=self._model.name, model_version=self._model.version, id=call.id or request_id
            )
            to_grpc(response, outputs, raw=call.raw)
            return response

        return await self._handle("ModelInfer", context, infer)

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """Named, typed inputs and outputs."""

        async def describe(_: str, __: float) -> pb.ModelMetadataResponse:
            self._check_model(request.name, request.version)
            return pb.ModelMetadataResponse(
                name=self._model.name,
                versions=[self._model.version],
                platform=self._model.platform,
                inputs=[spec.metadata() for spec in self._model.inputs],
                outputs=[spec.metadata() for spec in self._model.outputs],
            )

        return await self._handle("ModelMetadata", context, describe)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelReadyResponse:
        """Whether the model is ready."""

        async def ready(_: str, __: float) -> pb.ModelReadyResponse:
            self._check_model(request.name, request.version)
            return pb.ModelReadyResponse(ready=await self._model.healthy())

        return await self._handle("ModelReady", context, ready)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerReadyResponse:
        """Whether the server is ready."""

        async def ready(_: str, __: float) -> pb.ServerReadyResponse:
            return pb.ServerReadyResponse(ready=await self._model.healthy())

        return await self._handle("ServerReady", context, ready)

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerLiveResponse:
        """Whether the process answers."""

        async def live(_: str, __: float) -> pb.ServerLiveResponse:
            return pb.ServerLiveResponse(live=True)

        return await self._handle("ServerLive", context, live)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerMetadataResponse:
        """Name and version of the server."""

        async def describe(_: str, __: float) -> pb.ServerMetadataResponse:
            return pb.ServerMetadataResponse(name=NAME, version=VERSION)

        return await self._handle("ServerMetadata", context, describe)

    def _check_model(self, name: str, version: str) -> None:
        if name != self._model.name:
            message = f"no model is named {name[:80]!r}: this server has {self._model.name!r}"
            raise refuse(("path", "model_name"), message, "model_not_found", status=404)
        if version and version != self._model.version:
            message = f"no version {version[:80]!r}: this server has {self._model.version!r}"
            raise refuse(("path", "model_version"), message, "version_not_found", status=404)

    async def _handle(
        self, method: str, context: grpc.aio.ServicerContext, answer: Callable[[str, float], Awaitable[_Response]]
    ) -> _Response:
        started = time.perf_counter()
        given = {key: v.encode() if isinstance(v, str) else v for key, v in context.invocation_metadata() or ()}
        request_id = new_request_id(given.get("x-request-id"))
        seconds = self._options.request_timeout
        context.set_trailing_metadata((("x-request-id", request_id),))
        code, message = grpc.StatusCode.OK, ""
        try:
            remaining = context.time_remaining()
            seconds = allowed_seconds(given.get(HEADER), seconds if remaining is None else min(seconds, remaining))
            deadline = asyncio.get_running_loop().time() + seconds
            async with asyncio.timeout_at(deadline):
                return await answer(request_id, deadline)
        except RequestError as error:
            code, message = _CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT), str(error)
        except TimeoutError:
            code, message = grpc.StatusCode.DEADLINE_EXCEEDED, str(too_late(seconds))
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:  # noqa: BLE001 - the caller gets a plain message, the log the trace
            _log.exception("call failed", extra={"fields": {"request_id": request_id, "method": method}})
            code, message = grpc.StatusCode.INTERNAL, "the server failed; the log has the request id"
        finally:
            taken = time.perf_counter() - started
            answers, description = self._methods[method]
            answers.observe(code.name, taken)
            self._log.add(description, request_id, b'"%b"' % code.name.encode(), taken)
        await context.abort(code, message)
        raise AssertionError  # abort always raises
