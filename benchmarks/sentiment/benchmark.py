"""The figures of the sentiment blueprint: the usual service, the blueprint's servers, the bare model."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.sentiment import environments, footprint, known_server, plot, pressure, throughput
from benchmarks.sentiment.material import Material, prepare
from benchmarks.sentiment.quality import quality
from benchmarks.sentiment.services import Service, predictor, usual_service
from benchmarks.sentiment.throughput import STUDENT, TEACHER, USUAL, USUAL_ONE_THREAD, Effort
from benchmarks.servers import PROJECT
from blueprints.workspace import Workspace

Progress = Callable[[str], None]
PLOT = PROJECT / "docs" / "sentiment-latency-throughput.png"
_OPEN_FILES = 8_192


def measure(progress: Progress) -> dict[str, Figure]:
    """Trains if need be, then measures everything; about twenty minutes without the training.

    Args:
        progress: Told what is measured next.
    """
    material = prepare(Workspace.current(), progress)
    return quality(material) | measure_serving(material, Effort(), PLOT, progress)


def measure_serving(material: Material, effort: Effort, picture: Path, progress: Progress) -> dict[str, Figure]:
    """Measures the servers.

    Args:
        material: Models and texts.
        effort: How long to measure.
        picture: Where the latency-throughput plot goes.
        progress: Told what is measured next.
    """
    _allow_open_files()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        logs = Path(scratch)
        progress("the serving environment")
        python = environments.locked_environment(logs / "environment", environments.SERVING_LOCK)
        figures = {"image_mb": footprint.image_figure(logs / "environment", environments.SERVING_LOCK)}
        figures |= footprint.ready_figures(python, material.teacher, logs / "ready.log", progress)
        with _services(material, logs, python, progress) as services:
            figures |= _beside_each_other(services, material, effort, picture, progress)
        with predictor(TEACHER, python, material.teacher, logs / "pressed.log") as service:
            figures |= pressure.many_connections(service, material.texts, effort, progress)
            figures |= pressure.overload(service, material.texts, effort, progress)
        figures |= throughput.batching_regret(material, python, logs, effort, progress)
        figures |= footprint.edge_figures(material.student, material.texts, logs, progress)
    return figures


def _beside_each_other(
    services: dict[str, Service], material: Material, effort: Effort, picture: Path, progress: Progress
) -> dict[str, Figure]:
    throughput.check_answers(services, material.texts)
    measured = throughput.throughput(services, material.texts, effort, progress)
    figures = throughput.throughput_figures(
        measured, material.words[material.texts], {name: service.setting for name, service in services.items()}
    )
    figures |= footprint.memory_figures(services[TEACHER])
    drawn = {name: service for name, service in services.items() if name != known_server.NAME}
    rates = {name: statistics.median([load.rate for load in measured[name]]) for name in drawn}
    peak = throughput.highest_rate(services[USUAL], rates[USUAL], material.texts, effort)
    figures |= throughput.tails(services, peak, material.texts, effort, progress)
    points = throughput.curves(drawn, rates | {USUAL: peak}, material.texts, effort, progress)
    plot.latency_throughput(points, f"{material.words[material.texts]}; open loop; {_machine()}", picture)
    return figures | throughput.efficiency(services[TEACHER], material.teacher, material.texts, effort, progress)


@contextlib.contextmanager
def _services(material: Material, logs: Path, python: Path, progress: Progress) -> Iterator[dict[str, Service]]:
    """All services, up at the same time; the known server only if it can be installed."""
    known = _known_server(material, logs, progress)
    with contextlib.ExitStack() as stack:
        found = [
            usual_service(USUAL, material.python, material.web, material.weights, logs / "usual.log"),
            usual_service(
                USUAL_ONE_THREAD, material.python, material.web, material.weights, logs / "one-thread.log", threads=1
            ),
            predictor(TEACHER, python, material.teacher, logs / "teacher.log"),
            predictor(STUDENT, python, material.student, logs / "student.log"),
        ]
        services = [stack.enter_context(one) for one in (*found, *known)]
        yield {service.name: service for service in services}


def _known_server(
    material: Material, logs: Path, progress: Progress
) -> list[contextlib.AbstractContextManager[Service]]:
    """The known server at its best, to be started; none if it cannot be installed or does not start."""
    log = logs / "known.log"
    progress(f"the best setting of {known_server.NAME}")
    try:
        python = known_server.environment(logs / "known")
        setting = known_server.best_setting(python, material.teacher, material.texts, log, progress)
    except RuntimeError as error:
        progress(f"without {known_server.REQUIREMENT}: {error}")
        return []
    return [known_server.known_server(python, material.teacher, log, setting)]


def _allow_open_files() -> None:
    """Two thousand connections are as many open files, in the generator and in the server, which inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, hard), hard))


def _machine() -> str:
    names = [line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {names[0] if names else platform.machine()}, which the client shares"


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []
