"""What a transformer does when its predictor's connection breaks: once more, and only then give up."""

import asyncio
import contextlib
import socket
import time

import grpc
import numpy as np
import orjson
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc

from inference_services.serving.errors import RequestError
from inference_services.serving.options import Options
from inference_services.serving.predictor_client import GrpcPredictor, RestPredictor
from tests.ports import free_port

INPUTS = {"income": np.array([1.0, 2.0])}
BUSY = b'{"detail": [{"loc": ["server"], "msg": "busy", "type": "unavailable"}]}'
ANSWER = orjson.dumps({"outputs": [{"name": "score", "datatype": "FP64", "shape": [2], "data": [0.1, 0.2]}]})


def reset(writer):
    """Resets a connection, as the kernel does for a killed server."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


def answer(writer, status, body):
    writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))


async def hang(_):
    await asyncio.sleep(30)


BEHAVIOURS = {
    "reset": reset,
    "close": lambda writer: writer.close(),
    "half": lambda writer: (writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"), writer.close()),
    "hang": hang,
    "busy": lambda writer: answer(writer, 503, BUSY),
    "answer": lambda writer: answer(writer, 200, ANSWER),
}


@contextlib.asynccontextmanager
async def rest_server(*behaviours):
    """Behaves like this on one request after the other, the last from then on; yields its port and its calls."""
    calls = []

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
                calls.append(behaviours[min(len(calls), len(behaviours) - 1)])
                if (waiting := BEHAVIOURS[calls[-1]](writer)) is not None and asyncio.iscoroutine(waiting):
                    await waiting

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], calls
    finally:
        server.close()


def rest(*behaviours, timeout=2.0):
    async def scenario():
        async with rest_server(*behaviours) as (port, calls):
            client = RestPredictor(Options(predictor_host=f"127.0.0.1:{port}", predictor_timeout=timeout), "m", "1")
            try:
                return await client.infer(INPUTS, ["score"], "id"), calls
            except RequestError as error:
                return error, calls
            finally:
                await client.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize("how", ["reset", "close", "half"])
def test_a_request_whose_connection_broke_is_sent_again(how):
    outputs, calls = rest(how, "answer")
    assert outputs["score"].tolist() == [0.1, 0.2]
    assert calls == [how, "answer"]


def test_it_is_sent_again_once_only():
    error, calls = rest("close", "close", "answer")
    assert error.status == 503
    assert calls == ["close", "close"]


def test_an_answer_is_never_asked_for_again():
    error, calls = rest("busy")
    assert error.status == 503
    assert calls == ["busy"]


def test_both_attempts_together_keep_the_time_out():
    begun = time.monotonic()
    error, calls = rest("close", "hang", timeout=0.5)
    assert error.status == 503
    assert calls == ["close", "hang"]
    assert time.monotonic() - begun < 1


def test_no_predictor_at_all_is_told_at_once():
    async def scenario():
        client = RestPredictor(Options(predictor_host=f"127.0.0.1:{free_port()}"), "m", "1")
        try:
            with pytest.raises(RequestError, match="does not answer"):
                await client.infer(INPUTS, ["score"], "id")
        finally:
            await client.close()

    begun = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - begun < 1


class _Flaky(pb_grpc.GRPCInferenceServiceServicer):
    def __init__(self, failures, code=grpc.StatusCode.UNAVAILABLE):
        self.failures = failures
        self.code = code
        self.calls = 0

    async def ModelInfer(self, request, context):  # noqa: N802  # the protocol's name
        self.calls += 1
        if self.calls <= self.failures:
            await context.abort(self.code, "ends")
        response = pb.ModelInferResponse()
        response.outputs.add(name="score", datatype="FP64", shape=[2])
        response.raw_output_contents.append(np.array([0.1, 0.2]).tobytes())
        return response


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
@pytest.mark.parametrize(("failures", "answered"), [(1, True), (9, False)])
def test_grpc_asks_again_when_a_server_is_gone(failures, answered, code):
    async def scenario():
        server, flaky = grpc.aio.server(), _Flaky(failures, code)
        pb_grpc.add_GRPCInferenceServiceServicer_to_server(flaky, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        client = GrpcPredictor(Options(predictor_host=f"127.0.0.1:{port}"), "m", "1")
        try:
            return (await client.infer(INPUTS, ["score"], "id"))["score"].tolist(), flaky.calls
        except RequestError as error:
            return error, flaky.calls
        finally:
            await client.close()
            await server.stop(0)

    outcome, calls = asyncio.run(scenario())
    assert (outcome == [0.1, 0.2]) == answered
    assert calls == (2 if answered else 3)
