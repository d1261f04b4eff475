"""KServe's ModelServer with our REST and gRPC front ends."""

from __future__ import annotations

import sys

import grpc
import uvloop
from kserve import ModelServer
from kserve.metrics import PREDICT_HIST_TIME
from kserve.model import BaseKServeModel
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

from inference_services.serving.grpc_service import InferenceService
from inference_services.serving.model import ServedModel
from inference_services.serving.options import Options
from inference_services.serving.rest_server import RestServer
from inference_services.serving.workers import Worker

# gRPC decodes a message before any of our code sees it; above this its own limit answers.
_GRPC_MESSAGE = 16 * 1024 * 1024
# Beyond this calls are refused without a look at them, health checks too; inference has its own limit far below.
_MOST_CALLS = 1000


class KServeServer(ModelServer):  # type: ignore[misc]
    """KServe's ModelServer on an address of one's choice.

    Args:
        model: What it serves.
        options: How.
        worker: Which of several processes behind one port this is; None if it is the only one.
    """

    def __init__(self, model: ServedModel, options: Options, worker: Worker | None = None) -> None:
        super().__init__(
            http_port=options.http_port,
            grpc_port=options.grpc_port,
            enable_grpc=options.enable_grpc and bool(model.inputs),
            grace_period=options.grace_period,
        )
        self._model = model
        self._options = options
        self._shared = worker is not None
        self._rest = RestServer(model, options, PREDICT_HIST_TIME)
        self.register_model(_Registered(model))
        if worker is not None:
            worker.join(self._rest)

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then lets running requests finish.

        Raises:
            SystemExit: A port is taken.
        """
        uvloop.run(self._rest.run(self._start_grpc if self.enable_grpc else None))

    async def _start_grpc(self) -> grpc.aio.Server:
        options, rest = self._options, self._rest
        server = grpc.aio.server(
            maximum_concurrent_rpcs=_MOST_CALLS + 4 * options.max_concurrency,
            options=[
                ("grpc.max_receive_message_length", _GRPC_MESSAGE),
                ("grpc.max_send_message_length", _GRPC_MESSAGE),
                ("grpc.so_reuseport", int(self._shared)),
            ],
        )
        service = InferenceService(
            self._model, rest.reader, options, rest.metrics, rest.log, rest.places, rest.predict_seconds
        )
        add_GRPCInferenceServiceServicer_to_server(service, server)
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            server.add_insecure_port(f"{host}:{options.grpc_port}")
        except RuntimeError:
            sys.exit(f"gRPC: cannot bind {host}:{options.grpc_port}: is the port taken? Give another --grpc_port")
        await server.start()
        return server


class _Registered(BaseKServeModel):  # type: ignore[misc]
    """The model as KServe's repository knows it."""

    def __init__(self, model: ServedModel) -> None:
        super().__init__(model.name)
        self._model = model
        self.ready = True

    async def healthy(self) -> bool:
        """Whether it can answer."""
        return await self._model.healthy()
