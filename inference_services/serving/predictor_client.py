"""How a transformer asks its predictor: persistent connections, a time-out, errors passed on.

A prediction changes nothing, so a request whose connection broke - its server was killed, or ended just then - is sent
again, once, within the same time-out. An answer of any kind is an answer: it is not asked for again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import aiohttp
import grpc
import numpy as np
import orjson
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray

from inference_services.serving.deadlines import HEADER
from inference_services.serving.errors import Problem, RequestError, overloaded, unavailable
from inference_services.serving.options import Options
from inference_services.serving.tensors import DTYPES

# gRPC's own retries, in its own words; the throttle keeps them from adding to an overload.
_GRPC_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.02s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 4,
                # A server that ends cancels calls which arrive while it says so.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1},
}


class PredictorClient(Protocol):
    """A predictor of one model and one version of it, over v2."""

    async def infer(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], request_id: str, deadline: float = math.inf
    ) -> dict[str, NDArray[Any]]:
        """The predictor's outputs.

        Args:
            inputs: By name, INT64 or FP64 of shape (n,); missing values as NaN.
            outputs: Names of the outputs to ask for.
            request_id: Passed on.
            deadline: When nobody waits for the answer any more, in the event loop's time; passed on.

        Raises:
            RequestError: The predictor refused the request, is full, down, late, or of another version.
            TimeoutError: The deadline is over.
        """

    async def ready(self) -> bool:
        """Whether it answers, ready, and with this version."""

    async def close(self) -> None:
        """Closes the connections."""


class RestPredictor:
    """Open Inference Protocol over REST.

    Args:
        options: Host and time-out.
        model: Name of the model.
        version: Version that must answer.
    """

    def __init__(self, options: Options, model: str, version: str) -> None:
        self._url = f"http://{options.predictor_host}/v2/models/{model}/versions/{version}"
        self._host = options.predictor_host
        self._timeout = options.predictor_timeout
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=2),
            connector=aiohttp.TCPConnector(limit=options.max_concurrency, keepalive_timeout=60),
            auto_decompress=False,
        )

    async def infer(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], request_id: str, deadline: float = math.inf
    ) -> dict[str, NDArray[Any]]:
        """See `PredictorClient`."""
        body = orjson.dumps(
            {
                "id": request_id,
                "inputs": [
                    {"name": name, "shape": values.shape, "datatype": _datatype(values), "data": values}
                    for name, values in inputs.items()
                ],
                "outputs": [{"name": name} for name in outputs],
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        timeout = _remaining(self._timeout, deadline)
        headers = {"content-type": "application/json", "x-request-id": request_id, HEADER: f"{timeout:.6f}"}
        try:
            async with asyncio.timeout(timeout):
                try:
                    answer = await self._post(body, headers)
                except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                    answer = await self._post(body, headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            _remaining(self._timeout, deadline)
            raise _down(self._host, type(error).__name__) from error
        status, content, retry_after = answer
        if status != 200:
            raise self._refusal(status, content, retry_after)
        try:
            return {
                output["name"]: np.array(output["data"], DTYPES[output["datatype"]]).reshape(output["shape"])
                for output in orjson.loads(content)["outputs"]
            }
        except (ValueError, KeyError, TypeError) as error:
            raise _down(self._host, "it answered with something else than v2 tensors") from error

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes, str]:
        async with self._session.post(f"{self._url}/infer", data=body, headers=headers) as response:
            return response.status, await response.read(), response.headers.get("retry-after", "")

    async def ready(self) -> bool:
        """See `PredictorClient`."""
        try:
            async with self._session.get(f"{self._url}/ready", timeout=aiohttp.ClientTimeout(total=2)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def close(self) -> None:
        """See `PredictorClient`."""
        await self._session.close()

    def _refusal(self, status: int, content: bytes, retry_after: str) -> RequestError:
        try:
            problems = [Problem(tuple(p["loc"]), p["msg"], p["type"]) for p in orjson.loads(content)["detail"]]
        except (ValueError, KeyError, TypeError):
            return _down(self._host, f"HTTP {status}")
        if status in (413, 422):
            return RequestError(status, problems)
        reason = "; ".join(map(str, problems))
        if status == 429:
            return _full(self._host, reason, float(retry_after) if retry_after.isdecimal() else 1)
        return _down(self._host, reason)


class GrpcPredictor:
    """Open Inference Protocol over gRPC.

    Args:
        options: Host and time-out.
        model: Name of the model.
        version: Version that must answer.
    """

    def __init__(self, options: Options, model: str, version: str) -> None:
        self._model, self._version = model, version
        self._host, self._timeout = options.predictor_host, options.predictor_timeout
        settings = [
            ("grpc.max_receive_message_length", 64 << 20),
            ("grpc.service_config", orjson.dumps(_GRPC_RETRIES).decode()),
        ]
        self._channel = grpc.aio.insecure_channel(self._host, options=settings)
        self._stub = GRPCInferenceServiceStub(self._channel)

    async def infer(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], request_id: str, deadline: float = math.inf
    ) -> dict[str, NDArray[Any]]:
        """See `PredictorClient`."""
        request = pb.ModelInferRequest(model_name=self._model, model_version=self._version, id=request_id)
        for name, values in inputs.items():
            request.inputs.add(name=name, datatype=_datatype(values), shape=values.shape)
            request.raw_input_contents.append(values.tobytes())
        for name in outputs:
            request.outputs.add(name=name)
        metadata = (("x-request-id", request_id),)
        timeout = _remaining(self._timeout, deadline)
        try:
            response = await self._stub.ModelInfer(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise RequestError(422, [Problem(("body",), error.details() or "", "value_error")]) from error
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise _full(self._host, error.details() or "") from error
            _remaining(self._timeout, deadline)
            raise _down(self._host, error.details() or error.code().name) from error
        return {
            tensor.name: np.frombuffer(content, DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor, content in zip(response.outputs, response.raw_output_contents, strict=True)
        }

    async def ready(self) -> bool:
        """See `PredictorClient`."""
        request = pb.ModelReadyRequest(name=self._model, version=self._version)
        try:
            return bool((await self._stub.ModelReady(request, timeout=2)).ready)
        except (TimeoutError, grpc.aio.AioRpcError):
            return False

    async def close(self) -> None:
        """See `PredictorClient`."""
        await self._channel.close()


def connect(options: Options, model: str, version: str) -> PredictorClient:
    """A client for the predictor that the command line names; needs a running event loop."""
    kind = GrpcPredictor if options.predictor_protocol == "grpc-v2" else RestPredictor
    return kind(options, model, version)


def _datatype(values: NDArray[Any]) -> str:
    return "INT64" if values.dtype.kind == "i" else "FP64"


def _remaining(timeout: float, deadline: float) -> float:
    """Seconds that the predictor has.

    Raises:
        TimeoutError: The deadline is over.
    """
    remaining = min(timeout, deadline - asyncio.get_running_loop().time())
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _down(host: str, reason: str) -> RequestError:
    return unavailable(f"the predictor at {host} does not answer: {reason}")


def _full(host: str, reason: str, retry_after: float = 1) -> RequestError:
    return overloaded(f"the predictor at {host} is full: {reason}", retry_after)
