"""A load generator for one URL, as a process of its own: `python -m benchmarks.load URL BODY CLIENTS REQUESTS`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """What one run of the generator saw.

    Attributes:
        rate: Requests per second.
        latencies: Seconds of every request, sorted.
        errors: Answers other than 200.
    """

    rate: float
    latencies: list[float]
    errors: int

    def percentile(self, share: float) -> float:
        """Latency that this share of the requests did not exceed, in seconds."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def run(url: str, body: Path, *, clients: int, requests: int, timeout_s: float = 120) -> Load:
    """Sends requests from a second process; each client waits for its answer before it asks again.

    Raises:
        RuntimeError: The generator failed.
    """
    command = [sys.executable, "-m", "benchmarks.load", url, str(body), str(clients), str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-500:]}")
    return Load(**json.loads(done.stdout))


async def _drive(url: str, body: bytes, clients: int, requests: int) -> Load:
    import aiohttp

    latencies: list[float] = []
    errors = 0
    # One shared iterator is a queue: each request is drawn by exactly one client.
    tickets = iter(range(requests))

    async def client(session: aiohttp.ClientSession, mine: Iterator[int]) -> None:
        nonlocal errors
        for _ in mine:
            begun = time.perf_counter()
            async with session.post(url, data=body) as answer:
                await answer.read()
                errors += answer.status != 200
            latencies.append(time.perf_counter() - begun)

    settings = {"headers": {"content-type": "application/json"}, "timeout": aiohttp.ClientTimeout(total=60)}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients), **settings) as session:  # type: ignore[arg-type]
        begun = time.perf_counter()
        await asyncio.gather(*(client(session, tickets) for _ in range(clients)))
        seconds = time.perf_counter() - begun
    return Load(rate=requests / seconds, latencies=sorted(latencies), errors=errors)


def main() -> None:
    """Drives the load and prints what it saw as JSON."""
    import uvloop

    url, body, clients, requests = sys.argv[1:]
    load = uvloop.run(_drive(url, Path(body).read_bytes(), int(clients), int(requests)))
    sys.stdout.write(json.dumps({"rate": load.rate, "latencies": load.latencies, "errors": load.errors}))


if __name__ == "__main__":
    main()
