"""Starts a server from its command line: one process, or several behind one port."""

from __future__ import annotations

from collections.abc import Callable

from blueprints.model_package import ModelPackage
from inference_services.serving.model import ServedModel
from inference_services.serving.options import AddFlags, Options
from inference_services.serving.rest_server import bind_or_exit, build_or_exit
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
        # The workers share the port: here is the last chance to see that somebody else has it.
        bind_or_exit(options).close()
        raise SystemExit(Supervisor(options.workers, grace=options.grace_period).run())

    from inference_services.serving.kserve_server import KServeServer

    KServeServer(build_or_exit(build, options), options, worker).run()
