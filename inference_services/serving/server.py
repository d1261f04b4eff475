"""Starts a server from its command line: one process, or several behind one port."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable

from blueprints.model_package import ModelPackage
from inference_services.serving.http_server import reserve
from inference_services.serving.model import ServedModel
from inference_services.serving.options import AddFlags, Options
from inference_services.serving.rest_server import build_or_exit
from inference_services.serving.workers import Supervisor, Worker


def serve(build: Callable[[ModelPackage, Options], ServedModel], add_flags: AddFlags | None = None) -> None:
    """Opens and verifies the model package, builds the model, and serves it until SIGTERM.

    With `--workers` above 1 this process starts as many others that do so, and watches over them.

    Args:
        build: Makes the model of a package.
        add_flags: Adds flags of the model, which are then in `Options.model_flags`.

    Raises:
        SystemExit: The package is refused or a port is taken; the reason is on stderr.
    """
    options = Options.parse(add_flags=add_flags)
    worker = Worker.current()
    if options.workers > 1 and worker is None:
        with contextlib.ExitStack() as held:
            # The workers share their ports with whoever asks: here is the last chance to see that somebody has them.
            held.enter_context(_reserve_or_exit(options.host, options.http_port, "--http_port"))
            if options.enable_grpc:
                held.enter_context(_reserve_or_exit(options.host, options.grpc_port, "--grpc_port"))
            raise SystemExit(Supervisor(options.workers, grace=options.grace_period).run())

    from inference_services.serving.kserve_server import KServeServer

    KServeServer(build_or_exit(build, options), options, worker).run()


def _reserve_or_exit(host: str, port: int, flag: str) -> socket.socket:
    try:
        return reserve(host, port)
    except OSError as error:
        sys.exit(f"cannot bind {host}:{port}: {error.strerror}; give another {flag}")
