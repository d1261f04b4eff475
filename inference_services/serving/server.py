"""Starts a server: one model, REST and gRPC, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import grpc
import orjson
import uvicorn
import uvloop
from kserve import ModelServer
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from prometheus_client import REGISTRY

from blueprints.model_package import ModelPackage, PackageError, open_package
from inference_services.serving.docs import documentation
from inference_services.serving.grpc_service import InferenceService
from inference_services.serving.logs import configure_logs
from inference_services.serving.metrics import RequestMetrics, publish_model
from inference_services.serving.model import ServedModel
from inference_services.serving.openapi import openapi
from inference_services.serving.options import AddFlags, Options
from inference_services.serving.protocol import standard_operations
from inference_services.serving.rest import RestApplication
from inference_services.serving.tensors import TensorReader

# gRPC decodes a message before any of our code sees it; above this its own limit answers.
_GRPC_MESSAGE = 16 * 1024 * 1024

# After SIGTERM, clients on idle connections have this long to send one more request and be told to go elsewhere.
_LINGER_S = 1.0

_log = logging.getLogger("serving")


class Server(ModelServer):  # type: ignore[misc]
    """KServe's ModelServer on an address of one's choice, with our REST and gRPC front ends.

    Args:
        model: What it serves.
        options: How.
    """

    def __init__(self, model: ServedModel, options: Options) -> None:
        super().__init__(
            http_port=options.http_port,
            grpc_port=options.grpc_port,
            enable_grpc=options.enable_grpc and bool(model.inputs),
            grace_period=options.grace_period,
        )
        configure_logs()
        self.register_model(model)
        self._model = model
        self._options = options
        self._metrics = RequestMetrics(REGISTRY)
        publish_model(REGISTRY, model.name, model.version, model.role)
        if model.predictions is not None:
            REGISTRY.register(model.predictions)
        self._reader = TensorReader(model.inputs, model.outputs, max_rows=options.max_rows)

    def application(self) -> RestApplication:
        """The REST side as an ASGI application."""
        model = self._model
        operations = [
            *model.operations(),
            *standard_operations(model, self._reader, REGISTRY, max_rows=self._options.max_rows),
        ]
        document = openapi(f"{model.name} {model.role}", model.version, operations, model.schemas)
        operations += documentation(orjson.dumps(document))
        return RestApplication(operations, self._options, self._metrics, (model.name, model.version))

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then lets running requests finish.

        From then on it takes no new connection, and every answer asks its client to close the one it came on; those
        that stay idle are closed a moment later, when nobody is likely to send on them at that very instant.

        Raises:
            SystemExit: A port is taken.
        """
        self._model.start()
        uvloop.run(self._serve_all())

    async def _serve_all(self) -> None:
        options = self._options
        await self._model.start_up()
        application = self.application()
        rest = _RestServer(
            uvicorn.Config(
                application,
                host=options.host,
                port=options.http_port,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=options.grace_period,
                timeout_keep_alive=75,
                backlog=1024,
            )
        )
        rpc = await self._start_grpc() if self.enable_grpc else None
        stopping: list[asyncio.Task[None]] = []

        def stop() -> None:
            application.draining = True
            rest.should_exit = True
            if rpc is not None:
                stopping.append(asyncio.ensure_future(rpc.stop(options.grace_period)))

        for received in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(received, stop)
        try:
            _log.info(
                "serving",
                extra={
                    "fields": {
                        "model": self._model.name,
                        "model_version": self._model.version,
                        "role": self._model.role,
                        "http": f"{options.host}:{options.http_port}",
                        "grpc": f"{options.host}:{options.grpc_port}" if rpc else None,
                    }
                },
            )
            await rest.serve()
        finally:
            if not stopping:
                stop()
            await asyncio.gather(*stopping)
            await self._model.shut_down()

    async def _start_grpc(self) -> grpc.aio.Server:
        options = self._options
        server = grpc.aio.server(
            maximum_concurrent_rpcs=options.max_concurrency,
            options=[
                ("grpc.max_receive_message_length", _GRPC_MESSAGE),
                ("grpc.max_send_message_length", _GRPC_MESSAGE),
                ("grpc.so_reuseport", 0),
            ],
        )
        service = InferenceService(self._model, self._reader, options, self._metrics)
        add_GRPCInferenceServiceServicer_to_server(service, server)
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            server.add_insecure_port(f"{host}:{options.grpc_port}")
        except RuntimeError:
            sys.exit(f"gRPC: cannot bind {host}:{options.grpc_port}: is the port taken? Give another --grpc_port")
        await server.start()
        return server


class _RestServer(uvicorn.Server):
    """Uvicorn that drains, and leaves signals to the process: it would end it before gRPC and the model are closed."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more connections, gives those that are open a moment to be done with, then closes them."""
        for server in self.servers:
            server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while self.server_state.connections:  # noqa: ASYNC110  # uvicorn tells nobody of their end
                    await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing."""
        yield


def serve(build: Callable[[ModelPackage, Options], ServedModel], add_flags: AddFlags | None = None) -> None:
    """Starts a server from its command line: opens and verifies the model package, builds the model, serves it.

    Args:
        build: Makes the model of a package.
        add_flags: Adds flags of the model, which are then in `Options.model_flags`.

    Raises:
        SystemExit: The package is refused or a port is taken; the reason is on stderr.
    """
    options = Options.parse(add_flags=add_flags)
    try:
        model = build(open_package(options.model_dir), options)
    except PackageError as error:
        sys.exit(f"model package refused: {error}")
    Server(model, options).run()
