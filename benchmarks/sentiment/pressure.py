"""More than a server can do: 2,000 clients at once, and three times its capacity."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.figures import Figure, figure
from benchmarks.load import Load
from benchmarks.sentiment.services import Service
from benchmarks.sentiment.throughput import CLIENTS, Effort
from benchmarks.servers import MemoryWatch

Progress = Callable[[str], None]

CONNECTIONS = 2_000
REFUSALS = (429, 503, 504)
DEADLINE_S = 1.0
OVERLOAD = 3
_PROBE_RATE = 50.0
_CALM_S, _AFTER_S = 10.0, 8.0
_WINDOW_S, _WINDOWS = 0.25, 4


def many_connections(service: Service, texts: Path, effort: Effort, progress: Progress) -> dict[str, Figure]:
    """2,000 clients that ask for a while, and how the server is before, meanwhile and afterwards."""
    progress("the quiet server")
    service.load(texts, effort.seconds, clients=CLIENTS)
    before = service.server.rss_mb()
    calm = service.load(texts, _CALM_S, rate=_PROBE_RATE)
    progress(f"{CONNECTIONS:,} connections for {effort.pressure_seconds:g} s")
    # A second generator asks now and then all the while: it is the one that sees when all is as before.
    with ThreadPoolExecutor(1) as other, MemoryWatch(service.server) as memory:
        probe = other.submit(
            service.load, texts, effort.pressure_seconds + _AFTER_S, rate=_PROBE_RATE, warmup=0, timeout=5
        )
        crowd = service.load(texts, effort.pressure_seconds, clients=CONNECTIONS, warmup=0, obey_retry_after=True)
        after = probe.result()
    over = float((crowd.at + crowd.latency).max())
    seconds = recovery_seconds(after, over, calm.percentile(0.99))
    failures = crowd.failures(*REFUSALS)
    growth = max(memory.samples) - before
    progress(
        f"{crowd.requests:,} requests by status {crowd.statuses}, memory +{growth:.0f} MB, normal after {seconds:.2f} s"
    )
    return {
        "concurrent_2000": figure(
            failures,
            "requests",
            f"of {crowd.requests:,} on {CONNECTIONS:,} simultaneous connections in {effort.pressure_seconds:g} s, "
            f"closed loop, whose answer was none of 200, {', '.join(map(str, REFUSALS))}; refused clients wait as long "
            f"as Retry-After says and up to half as long again, as a good client does. By status: {_words(crowd)}",
        ),
        "concurrent_2000_rss_growth_mb": figure(
            growth,
            "MB",
            "largest resident memory meanwhile and in the 8 s after, less that after a run of 32 clients",
            baseline=before,
        ),
        "concurrent_2000_recovery_s": figure(
            seconds,
            "s",
            "from the last answer to the 2,000 connections until the p99 of a stream of 50 requests/s is for a second "
            f"no more than 1.5 times what it was on the quiet server, {calm.percentile(0.99) * 1e3:.3g} ms, plus 1 ms"
            + ("" if math.isfinite(seconds) else f"; it was not so within the {_AFTER_S:g} s that were watched"),
        ),
        "concurrent_2000_rate": figure(crowd.rate, "requests/s", "answers 200 to the 2,000 connections"),
    }


def recovery_seconds(probe: Load, over: float, normal: float) -> float:
    """Seconds from a moment until a steady stream's p99 is normal for a second; infinite if it never is."""
    limit = 1.5 * normal + 0.001
    begin = over
    while begin + _WINDOW_S * _WINDOWS <= probe.end:
        part = probe.between(begin, begin + _WINDOW_S * _WINDOWS)
        if part.requests and not part.failures() and part.percentile(0.99) <= limit:
            return begin - over
        begin += _WINDOW_S
    return float("inf")


def overload(service: Service, texts: Path, effort: Effort, progress: Progress) -> dict[str, Figure]:
    """Three times as much as the server can do, with a deadline."""
    goodputs, refused, late, tails, peaks = [], [], [], [], []
    for _ in range(effort.rounds):
        progress("the server's own peak, then three times as much")
        peak = service.load(texts, effort.seconds, clients=CLIENTS).rate
        load = service.load(
            texts,
            2 * effort.seconds,
            rate=OVERLOAD * peak,
            warmup=2,
            timeout=5,
            headers={"x-request-timeout": f"{DEADLINE_S:g}"},
        )
        if load.failures(*REFUSALS):
            raise RuntimeError(f"overload: requests failed; their number by status: {load.statuses}")
        good = load.goodput(DEADLINE_S)
        peaks.append(peak)
        goodputs.append(good / peak)
        refused.append(load.failures() / load.requests)
        late.append(1 - good / load.rate)
        tails.append(load.percentile(0.99))
        progress(f"{good:.0f}/s of {peak:.0f}/s, statuses {load.statuses}, p99 {tails[-1]:.3f} s")
    ratio = statistics.median(goodputs)
    return {
        "goodput_overload": figure(
            ratio,
            "fraction",
            f"answers 200 within {DEADLINE_S:g} s per second at {OVERLOAD} times the server's own rate at {CLIENTS} "
            "clients, over that rate; open loop, the deadline in x-request-timeout; median of "
            f"{effort.rounds}; of the answers 200, {statistics.median(late):.1%} were late",
            baseline=statistics.median(peaks),
            ratio=ratio,
        ),
        "overload_refused_share": figure(
            statistics.median(refused), "fraction", "requests of goodput_overload that were refused: 429, 503 or 504"
        ),
        "overload_p99_s": figure(
            statistics.median(tails), "s", "latency of the answers 200 of goodput_overload, from when they were due"
        ),
    }


def _words(load: Load) -> str:
    return ", ".join(f"{status}: {number:,}" for status, number in load.statuses.items())
