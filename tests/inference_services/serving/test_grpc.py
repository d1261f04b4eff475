"""gRPC: deadlines, overload and callers that go away, as over REST."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc
from prometheus_client import CollectorRegistry, Histogram

from inference_services.serving.admission import Places
from inference_services.serving.errors import overloaded, unavailable
from inference_services.serving.grpc_service import InferenceService
from inference_services.serving.metrics import RequestMetrics
from inference_services.serving.model import ServedModel
from inference_services.serving.options import Options
from inference_services.serving.request_log import RequestLog
from inference_services.serving.tensors import Output, TensorReader, TensorSpec
from tests.inference_services.serving.application import eventually


class Slow(ServedModel):
    """Answers with what it was asked, after that many seconds; refuses below 0."""

    role, platform, version = "predictor", "test", "1"
    inputs = (TensorSpec("seconds", "FP64"),)
    outputs = (TensorSpec("remaining", "FP64"),)

    def __init__(self) -> None:
        super().__init__("slow")
        self.running = self.cancelled = 0

    def operations(self):
        return []

    async def infer(self, call):
        seconds = call.inputs["seconds"][0]
        if seconds < 0:
            raise (overloaded("full", 3) if seconds == -1 else unavailable("down"))
        self.running += 1
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        remaining = call.deadline - asyncio.get_running_loop().time()
        return [Output(self.outputs[0], np.array([remaining]))]


@contextlib.asynccontextmanager
async def serving(model, max_concurrency=10):
    registry = CollectorRegistry()
    options = Options(request_timeout=20)
    seconds = Histogram("seconds", "", registry=registry)
    reader = TensorReader(model.inputs, model.outputs, max_rows=10)
    with tempfile.TemporaryFile() as lines:
        log = RequestLog(lines.fileno())
        server = grpc.aio.server()
        metrics = RequestMetrics(registry)
        places = Places(max_concurrency, metrics.in_flight)
        service = InferenceService(model, reader, options, metrics, log, places, seconds)
        pb_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield pb_grpc.GRPCInferenceServiceStub(channel), registry, places
        await server.stop(0)
        log.close()


def request(seconds):
    asked = pb.ModelInferRequest(model_name="slow")
    asked.inputs.add(name="seconds", datatype="FP64", shape=[1]).contents.fp64_contents.append(seconds)
    return asked


@pytest.mark.parametrize(
    ("timeout", "header", "remaining"), [(None, None, 20), (7, None, 7), (None, "5", 5), (3, "5", 3), (60, "60", 20)]
)
def test_the_deadline_is_the_earliest_of_all(timeout, header, remaining):
    async def scenario():
        async with serving(Slow()) as (stub, _, _):
            metadata = (("x-request-timeout", header),) if header else ()
            answer = await stub.ModelInfer(request(0), timeout=timeout, metadata=metadata)
            assert answer.outputs[0].contents.fp64_contents[0] == pytest.approx(remaining, abs=1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("seconds", "header", "code"),
    [
        (30, "0.05", grpc.StatusCode.DEADLINE_EXCEEDED),
        (0, "soon", grpc.StatusCode.INVALID_ARGUMENT),
        (-1, "5", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (-2, "5", grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_each_refusal_has_its_code(seconds, header, code):
    async def scenario():
        async with serving(Slow()) as (stub, registry, _):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ModelInfer(request(seconds), metadata=(("x-request-timeout", header),))
            assert refused.value.code() is code
            labels = {"method": "ModelInfer", "code": code.name}
            assert registry.get_sample_value("grpc_server_handled_total", labels) == 1

    asyncio.run(scenario())


def test_a_call_whose_caller_has_gone_is_dropped():
    async def scenario():
        model = Slow()
        async with serving(model) as (stub, registry, _):
            call = stub.ModelInfer(request(30))
            connected = asyncio.ensure_future(call.wait_for_connection())
            await eventually(lambda: model.running == 1)
            connected.cancel()
            call.cancel()
            await eventually(lambda: model.cancelled == 1)
            labels = {"method": "ModelInfer", "code": "CANCELLED"}
            await eventually(lambda: registry.get_sample_value("grpc_server_handled_total", labels) == 1)
            assert registry.get_sample_value("requests_in_flight") == 0

    asyncio.run(scenario())


def test_a_full_server_refuses_inference_visibly_and_still_says_that_it_lives():
    async def scenario():
        model = Slow()
        async with serving(model, max_concurrency=2) as (stub, registry, places):
            assert places.take()  # as a request over REST does
            running = asyncio.ensure_future(ask(stub, 30))
            await eventually(lambda: model.running == 1)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ModelInfer(request(0))
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "2 requests are being worked on" in refused.value.details()
            assert (await stub.ServerLive(pb.ServerLiveRequest())).live
            assert (await stub.ModelReady(pb.ModelReadyRequest(name="slow"))).ready
            labels = {"method": "ModelInfer", "code": "RESOURCE_EXHAUSTED"}
            assert registry.get_sample_value("grpc_server_handled_total", labels) == 1
            assert registry.get_sample_value("requests_in_flight") == 2
            places.leave()
            assert (await stub.ModelInfer(request(0))).model_name == "slow"
            running.cancel()
            await eventually(lambda: registry.get_sample_value("requests_in_flight") == 0)

    async def ask(stub, seconds):
        await stub.ModelInfer(request(seconds))

    asyncio.run(scenario())
