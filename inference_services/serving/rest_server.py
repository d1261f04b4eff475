"""Serves one model over REST until SIGTERM, with gRPC beside it where there is gRPC."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol

import orjson
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from blueprints.model_package import ModelPackage, PackageError, open_package
from inference_services.serving.admission import Places
from inference_services.serving.docs import documentation
from inference_services.serving.http_server import HttpServer, bind, take_no_more
from inference_services.serving.logs import configure_logs
from inference_services.serving.metrics import RequestMetrics, publish_model
from inference_services.serving.model import ServedModel
from inference_services.serving.openapi import openapi
from inference_services.serving.options import Options
from inference_services.serving.protocol import standard_operations
from inference_services.serving.request_log import RequestLog
from inference_services.serving.rest import RestApplication
from inference_services.serving.tensors import TensorReader

_log = logging.getLogger("serving")


class Rpc(Protocol):
    """A gRPC server that is running."""

    async def stop(self, grace: float | None) -> None:
        """Ends it; running calls have this many seconds."""


class RestServer:
    """What every server process is made of.

    Args:
        model: What it serves.
        options: How.
        predict_seconds: Times v2 inference; labelled with the model's name.

    Attributes:
        metrics: Where answers are counted.
        log: Where requests are written.
        places: The places of requests, of whichever protocol.
        reader: Checks v2 requests.
        predict_seconds: See above.
        registry: What `/metrics` shows.
        all_ready: Whether those that share the port are ready too.
        on_ready: Called once it takes connections.
    """

    def __init__(self, model: ServedModel, options: Options, predict_seconds: Histogram) -> None:
        configure_logs()
        self._model = model
        self._options = options
        self.metrics = RequestMetrics(REGISTRY)
        self.log = RequestLog()
        self.places = Places(options.max_concurrency, self.metrics.in_flight)
        self.reader = TensorReader(model.inputs, model.outputs, max_rows=options.max_rows)
        self.predict_seconds = predict_seconds.labels(model_name=model.name)
        self.registry: CollectorRegistry = REGISTRY
        self.all_ready: Callable[[], bool] = lambda: True
        self.on_ready: Callable[[], None] = lambda: None
        publish_model(REGISTRY, model.name, model.version, model.role)
        if model.predictions is not None:
            REGISTRY.register(model.predictions)

    async def run(self, start_rpc: Callable[[], Awaitable[Rpc]] | None = None) -> None:
        """Serves until SIGTERM or SIGINT, then lets running requests finish.

        From then on it takes no new connection, and every answer asks its client to close the one it came on; those
        that stay idle are closed a moment later, when nobody is likely to send on them at that very instant.

        Args:
            start_rpc: Starts the gRPC server.

        Raises:
            SystemExit: A port is taken.
        """
        options, model = self._options, self._model
        listening = bind_or_exit(options, shared=options.workers > 1)
        ended = asyncio.Event()
        for received in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(received, ended.set)
        await model.start_up()
        application = self._application()
        rest = HttpServer(application)
        rpc = await start_rpc() if start_rpc is not None else None
        await rest.listen(listening)
        self.on_ready()
        fields = {
            "model": model.name,
            "model_version": model.version,
            "role": model.role,
            "http": f"{options.host}:{options.http_port}",
            "grpc": f"{options.host}:{options.grpc_port}" if rpc else None,
        }
        _log.info("serving", extra={"fields": fields})
        await ended.wait()
        application.draining = True
        if options.workers == 1:
            take_no_more(listening)
        ends = [rest.drain(options.grace_period)]
        if rpc is not None:
            ends.append(rpc.stop(options.grace_period))
        await asyncio.gather(*ends)
        await model.shut_down()
        self.log.close()

    def _application(self) -> RestApplication:
        model, options = self._model, self._options

        async def ready() -> bool:
            return self.all_ready() and await model.healthy()

        operations = [
            *model.operations(),
            *standard_operations(
                model, self.reader, self.registry, self.predict_seconds, ready, max_rows=options.max_rows
            ),
        ]
        document = openapi(f"{model.name} {model.role}", model.version, operations, model.schemas)
        operations += documentation(orjson.dumps(document))
        return RestApplication(operations, options, self.metrics, (model.name, model.version), self.log, self.places)


def bind_or_exit(options: Options, *, shared: bool = False) -> socket.socket:
    """The socket of the REST port.

    Args:
        options: Address and port.
        shared: Whether other processes bind it too.

    Raises:
        SystemExit: The port is taken.
    """
    try:
        return bind(options.host, options.http_port, shared=shared)
    except OSError as error:
        sys.exit(f"REST: cannot bind {options.host}:{options.http_port}: {error.strerror}; give another --http_port")


def build_or_exit(build: Callable[[ModelPackage, Options], ServedModel], options: Options) -> ServedModel:
    """The model of the package that the command line names, verified.

    Raises:
        SystemExit: The package is refused.
    """
    try:
        return build(open_package(options.model_dir), options)
    except PackageError as error:
        sys.exit(f"model package refused: {error}")
