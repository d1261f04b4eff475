"""A steady stream of requests, as a process of its own: `python -m benchmarks.steady URL BODIES RATE SECONDS FILE`.

BODIES has one request's body a line; they are sent in turn. Open loop: requests leave at their times whether earlier
ones have been answered or not, so a slow server does not slow the stream down. Each answer is one line of JSON in FILE:
`at` (Unix time of sending), `seconds`, `status` (0 if there was no answer) and `version` (of the model that answered).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

_TIMEOUT_S = 15


@dataclass(frozen=True)
class Answer:
    """One request of the stream.

    Attributes:
        at: Unix time at which it was sent.
        seconds: Until its answer.
        status: HTTP status; 0 if there was no answer.
        version: Version of the model that answered, empty if there was none.
    """

    at: float
    seconds: float
    status: int
    version: str

    @property
    def good(self) -> bool:
        """Whether it was answered as it should be."""
        return self.status == 200


@dataclass(frozen=True)
class Stream:
    """A stream that is running."""

    file: Path

    def answers(self, since: float = 0) -> list[Answer]:
        """All answers so far to requests sent at `since` or later."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        # The last line may be half written.
        found = [Answer(**json.loads(line)) for line in lines if line.endswith("}")]
        return [answer for answer in found if answer.at >= since]


@contextlib.contextmanager
def stream(url: str, bodies: Path, *, rate: float, seconds: float, file: Path) -> Iterator[Stream]:
    """Sends requests at a rate (requests/s) until the context ends, for `seconds` at the most."""
    command = [sys.executable, "-m", "benchmarks.steady", url, str(bodies), str(rate), str(seconds), str(file)]
    process = subprocess.Popen(command)
    try:
        yield Stream(file)
    finally:
        process.terminate()
        process.wait(timeout=2 * _TIMEOUT_S)


async def _drive(url: str, bodies: Sequence[bytes], rate: float, seconds: float, out: TextIO) -> None:
    import aiohttp
    from yarl import URL

    there = URL(url)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def ask(session: aiohttp.ClientSession, body: bytes) -> None:
        at, begun, status, version = time.time(), time.perf_counter(), 0, ""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(there.with_host("127.0.0.1"), data=body) as answer:
                content = await answer.read()
                status = answer.status
                if status == 200:
                    version = json.loads(content).get("model_version", "")
        line = {"at": at, "seconds": time.perf_counter() - begun, "status": status, "version": version}
        out.write(json.dumps(line) + "\n")

    headers = {"content-type": "application/json", "host": there.authority}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256), headers=headers, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        begun = time.monotonic()
        sent = 0
        while not stop.is_set() and time.monotonic() - begun < seconds:
            group.create_task(ask(session, bodies[sent % len(bodies)]))
            sent += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, begun + sent / rate - time.monotonic()))


def main() -> None:
    """Drives the stream."""
    import uvloop

    url, bodies, rate, seconds, file = sys.argv[1:]
    with Path(file).open("w", buffering=1) as out:
        lines = Path(bodies).read_bytes().splitlines()
        uvloop.run(_drive(url, lines, float(rate), float(seconds), out))


if __name__ == "__main__":
    main()
