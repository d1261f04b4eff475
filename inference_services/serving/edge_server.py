"""Serves a model over REST from one process and a minimal environment: without kserve, without gRPC."""

from __future__ import annotations

from collections.abc import Callable

import uvloop
from prometheus_client import Histogram

from blueprints.model_package import ModelPackage
from inference_services.serving.model import ServedModel
from inference_services.serving.options import AddFlags, Options
from inference_services.serving.rest_server import RestServer, build_or_exit


def serve(build: Callable[[ModelPackage, Options], ServedModel], add_flags: AddFlags | None = None) -> None:
    """Starts a server from its command line.

    Args:
        build: Makes the model of a package.
        add_flags: Adds flags of the model, which are then in `Options.model_flags`.

    Raises:
        SystemExit: The package is refused or the port is taken; the reason is on stderr.
    """
    options = Options.parse(add_flags=add_flags)
    if options.workers > 1:
        raise SystemExit(f"--workers {options.workers}: the edge server is one process")
    model = build_or_exit(build, options)
    seconds = Histogram("request_predict_seconds", "Time of v2 inference", ["model_name"])
    uvloop.run(RestServer(model, options, seconds).run())
