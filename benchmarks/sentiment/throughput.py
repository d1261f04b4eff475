"""Throughput and latency of the services beside each other: in turns, same client, same texts."""

from __future__ import annotations

import contextlib
import operator
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, figure
from benchmarks.load import Load
from benchmarks.sentiment import bare
from benchmarks.sentiment.material import Material
from benchmarks.sentiment.services import LONGEST, Service, predictor

Progress = Callable[[str], None]

CLIENTS = 32
SHARE_OF_PEAK = 0.8
LADDER = (0.2, 0.4, 0.6, 0.75, 0.85, 0.95)
"""Offered rates of the curves, as shares of a service's own rate at 32 clients."""

_COMPARED = 100
_POINT_REQUESTS = 60
_SUSTAINED = 0.95
_LOWERED = 12

USUAL, USUAL_ONE_THREAD, TEACHER, STUDENT = "usual", "usual, one thread", "int8 teacher", "int8 student"
Services = Mapping[str, Service]


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: Turns of each service; figures are their medians.
        seconds: Length of one turn at 32 clients.
        tail_seconds: Length of one turn at the fixed rate.
        point_seconds: Length of one point of a curve.
        pressure_seconds: How long 2,000 clients ask.
    """

    rounds: int = 3
    seconds: float = 5
    tail_seconds: float = 12
    point_seconds: float = 4
    pressure_seconds: float = 60


@dataclass(frozen=True)
class Point:
    """One point of a latency-throughput curve.

    Attributes:
        offered: Requests/s that were sent.
        rate: Answers/s.
        p50: Median latency in seconds.
        p99: Its 99th percentile.
    """

    offered: float
    rate: float
    p50: float
    p99: float


def in_turns(services: Sequence[Service], rounds: int, turn: Callable[[Service], Load]) -> list[list[Load]]:
    """Measures services in turns, so that what slows the machine down slows all of them.

    Raises:
        RuntimeError: A service did not answer as it should.
    """
    runs: list[list[Load]] = [[] for _ in services]
    for _ in range(rounds):
        for service, kept in zip(services, runs, strict=True):
            load = turn(service)
            if load.failures():
                raise RuntimeError(f"{service.name}: requests failed; their number by status: {load.statuses}")
            kept.append(load)
    return runs


def check_answers(services: Services, texts: Path) -> None:
    """Makes sure that all services classify: the student as the others for most texts, the others nearly always.

    Raises:
        RuntimeError: A service answers otherwise than the usual one.
    """
    bodies = texts.read_bytes().splitlines()[:_COMPARED]
    labels = {name: [service.label(body) for body in bodies] for name, service in services.items()}
    for name, found in labels.items():
        same = sum(map(operator.eq, found, labels[USUAL])) / len(bodies)
        if same < (0.8 if name == STUDENT else 0.9):
            raise RuntimeError(f"{name} and {USUAL} agree on {same:.0%} of {len(bodies)} texts: not the same model")


def throughput(services: Services, texts: Path, effort: Effort, progress: Progress) -> dict[str, list[Load]]:
    """All services at 32 clients, closed loop, by name."""
    progress(f"throughput at {CLIENTS} clients: {', '.join(services)}")
    runs = in_turns(
        list(services.values()),
        effort.rounds,
        lambda service: service.load(texts, effort.seconds, clients=CLIENTS),
    )
    measured = dict(zip(services, runs, strict=True))
    progress(", ".join(f"{name} {_rate(loads):.0f}/s" for name, loads in measured.items()))
    return measured


def throughput_figures(measured: Mapping[str, list[Load]], mix: str, settings: Mapping[str, str]) -> dict[str, Figure]:
    """What the loads of `throughput` say; `settings` tell how a service was set, by its name."""
    how = (
        f"requests/s at {CLIENTS} clients, closed loop, one text a request, {mix}; against the usual service (FastAPI "
        "sync endpoint, transformers pipeline, torch fp32, default threads) with the weights that the teacher was "
        "quantized from; in turns, median of the rounds' ratios"
    )
    usual = measured[USUAL]
    figures = {
        "throughput_vs_seed": _ratio(measured[TEACHER], usual, f"int8 teacher: {how}"),
        "throughput_vs_seed_student": _ratio(measured[STUDENT], usual, f"int8 student: {how}"),
    }
    for name, loads in measured.items():
        if name not in {USUAL, TEACHER, STUDENT, USUAL_ONE_THREAD}:
            figures[f"throughput_vs_{name.lower()}"] = _ratio(
                measured[TEACHER],
                loads,
                f"int8 teacher against {name} with the same model, the best of a grid of its settings: "
                f"{settings[name]}; otherwise as above",
            )
    rates = {"rate": TEACHER, "rate_student": STUDENT, "rate_seed_one_thread": USUAL_ONE_THREAD}
    for figure_name, name in rates.items():
        figures[figure_name] = figure(
            _rate(measured[name]),
            "requests/s",
            f"{name}, the same runs; baseline: the usual service",
            baseline=_rate(usual),
            ratio=_median_ratio(measured[name], usual),
        )
    return figures


def tails(services: Services, peak: float, texts: Path, effort: Effort, progress: Progress) -> dict[str, Figure]:
    """Latency of the usual service, the teacher and the student, at a rate near the usual one's limits.

    Args:
        services: All of them.
        peak: The usual service's own peak: most answers/s of a closed loop.
        texts: Requests.
        effort: How long to measure.
        progress: Told what is measured next.

    Returns:
        Figures at `SHARE_OF_PEAK` of the peak; and, named `…_sustained`, at the first of lower rates that the usual
        service keeps up with in every round, if it does not keep up with that. A closed loop never has more requests in
        work than it has clients; an open loop may, and what then waits makes the usual service slower.
    """
    figures: dict[str, Figure] = {}
    for lowered in range(_LOWERED):
        offered = SHARE_OF_PEAK * peak * 0.9**lowered
        progress(f"latency at {offered:.0f} requests/s")
        names = (USUAL, TEACHER, STUDENT)
        runs = in_turns(
            [services[name] for name in names],
            effort.rounds,
            lambda service, rate=offered: service.load(texts, effort.tail_seconds, rate=rate, warmup=2),  # type: ignore[misc]
        )
        kept = [load.rate / offered for load in runs[0]]
        if not lowered:
            figures |= _tail_figures(runs, offered, "of the usual service's own peak", effort, "")
        if min(kept) >= _SUSTAINED:
            words = "of the usual service's own peak, lowered until it kept up in every round"
            return figures | _tail_figures(runs, offered, words, effort, "_sustained")
    raise RuntimeError(f"{USUAL} does not keep up with {offered:.1f} requests/s: is the machine busy?")


def _tail_figures(
    runs: Sequence[Sequence[Load]], offered: float, share: str, effort: Effort, suffix: str
) -> dict[str, Figure]:
    usual, *ours = runs
    kept = statistics.median([load.rate / offered for load in usual])
    how = (
        f"open loop at {offered:.4g} requests/s, evenly spaced, {SHARE_OF_PEAK:g} {share} (it answered {kept:.0%} of "
        f"them meanwhile); in turns, medians of {effort.rounds} rounds; latency from the moment at which a request was "
        "due"
    )
    figures = {}
    for name, loads in zip(("", "_student"), ours, strict=True):
        ratio = statistics.median([a.percentile(0.99) / b.percentile(0.99) for a, b in zip(loads, usual, strict=True)])
        figures[f"p99_vs_seed{name}{suffix}"] = figure(ratio, "ratio", how, baseline=1.0, ratio=ratio)
        for part in (0.5, 0.99):
            (mine, theirs) = (statistics.median([load.percentile(part) for load in side]) for side in (loads, usual))
            figures[f"p{part * 100:.0f}_s{name}{suffix}"] = figure(
                mine, "s", "the same runs; baseline: the usual service", baseline=theirs, ratio=mine / theirs
            )
    return figures


def highest_rate(service: Service, at_32_clients: float, texts: Path, effort: Effort) -> float:
    """A service's own peak: some serve fewer clients faster than many."""
    rates = [service.load(texts, effort.seconds, clients=clients).rate for clients in (1, 2, 8)]
    return max(at_32_clients, *rates)


def curves(
    services: Services, peaks: Mapping[str, float], texts: Path, effort: Effort, progress: Progress
) -> dict[str, list[Point]]:
    """Latency at a ladder of offered rates, by service; rates that a service does not keep up with are left out."""
    found: dict[str, list[Point]] = {name: [] for name in services}
    for share in LADDER:
        progress(f"latency at {share:.0%} of each service's own peak")
        for name, service in services.items():
            offered = share * peaks[name]
            load = service.load(texts, max(effort.point_seconds, _POINT_REQUESTS / offered), rate=offered)
            if load.rate >= _SUSTAINED * offered or not found[name]:
                found[name].append(Point(offered, load.rate, load.percentile(0.5), load.percentile(0.99)))
    return found


def efficiency(service: Service, package: Path, texts: Path, effort: Effort, progress: Progress) -> dict[str, Figure]:
    """The server against the bare model on as many threads."""
    cores = len(os.sched_getaffinity(0))
    progress("the bare model, every setting")
    scanned = {one: bare.measure(package, texts, one, 1.5) for one in bare.settings(cores)}
    best = max(scanned, key=scanned.__getitem__)
    progress("the bare model's best setting and the server in turns")
    served, alone = [], []
    for _ in range(effort.rounds):
        served.append(service.load(texts, effort.seconds, clients=CLIENTS).rate)
        alone.append(bare.measure(package, texts, best, effort.seconds))
    ratio = statistics.median([ours / theirs for ours, theirs in zip(served, alone, strict=True)])
    how = (
        f"requests/s of the int8 teacher at {CLIENTS} clients over texts/s of the same classifier in a loop in a "
        f"process of its own on {cores} threads, best of {len(scanned)} settings: {best.workers} calls at a time with "
        f"{best.threads} threads and {best.batch} texts each; in turns, median of pairs. The server shares the cores "
        "with the client"
    )
    return {
        "server_efficiency": figure(ratio, "fraction", how, baseline=1.0, ratio=ratio),
        "bare_model_rate": figure(statistics.median(alone), "texts/s", "the second side of server_efficiency"),
    }


def batching_regret(
    material: Material, python: Path, logs: Path, effort: Effort, progress: Progress
) -> dict[str, Figure]:
    """The automatic batching against the best of a grid of fixed settings, chosen on other runs than it is judged on.

    A setting that won by luck is thereby found out.
    """
    kinds = {"short": material.short_texts, "long": material.long_texts}
    screened: dict[str, dict[tuple[str, ...], float]] = {kind: {} for kind in kinds}
    for flags in _grid(len(os.sched_getaffinity(0))):
        progress(f"short and long texts with {' '.join(flags)}")
        with predictor(
            "fixed", python, material.teacher, logs / "fixed.log", _QUEUE, *flags, environment=_TAKES_LONG
        ) as service:
            for kind, texts in kinds.items():
                screened[kind][flags] = service.load(texts, effort.seconds / 2, clients=CLIENTS).rate
    figures = {}
    for kind, texts in kinds.items():
        finalists = sorted(screened[kind], key=screened[kind].__getitem__)[-2:]
        progress(f"{kind} texts: automatic against {' and '.join(' '.join(flags) for flags in finalists)}")
        with contextlib.ExitStack() as stack:
            services = [
                stack.enter_context(
                    predictor(
                        f"{kind} {number}", python, material.teacher, log, _QUEUE, *flags, environment=_TAKES_LONG
                    )
                )
                for number, flags in enumerate(((), *finalists))
                for log in (logs / f"{kind}-{number}.log",)
            ]
            turn = partial(Service.load, bodies=texts, seconds=effort.seconds, clients=CLIENTS)
            automatic, *fixed = in_turns(services, effort.rounds, turn)
        ratios = {flags: _median_ratio(loads, automatic) for flags, loads in zip(finalists, fixed, strict=True)}
        best = max(ratios, key=ratios.__getitem__)
        figures[f"auto_batching_regret_{kind}"] = figure(
            ratios[best],
            "ratio",
            f"requests/s with {' '.join(best)} over those of the automatic setting, {material.words[texts]}, {CLIENTS} "
            f"clients, int8 teacher; the best of {len(screened[kind])} settings after a first round, then in turns",
            baseline=1.0,
            ratio=ratios[best],
        )
    regret = max(one["value"] or 0.0 for one in figures.values())
    figures["auto_batching_regret"] = figure(
        regret, "ratio", "the larger of auto_batching_regret_short and _long", baseline=1.0, ratio=regret
    )
    return figures


_TAKES_LONG = {"MAX_CHARACTERS": str(LONGEST)}
# On a slow machine 32 long texts are more than the second of work that may wait by default; nobody shall be refused.
_QUEUE = "--max_queue_seconds=20"


def _grid(cores: int) -> list[tuple[str, ...]]:
    """Fixed settings: a core a call or all cores for one, and how many texts are filled into a call."""
    layouts = sorted({(cores, 1), (1, cores)})
    return [
        (f"--slots={slots}", f"--threads={threads}", f"--max_batch={batch}")
        for slots, threads in layouts
        for batch in (1, 2, 4, 8, 16)
    ]


def _ratio(ours: list[Load], theirs: list[Load], how: str) -> Figure:
    ratio = _median_ratio(ours, theirs)
    return figure(ratio, "ratio", how, baseline=1.0, ratio=ratio)


def _median_ratio(ours: list[Load], theirs: list[Load]) -> float:
    return statistics.median([a.rate / b.rate for a, b in zip(ours, theirs, strict=True)])


def _rate(loads: list[Load]) -> float:
    return statistics.median([load.rate for load in loads])
